"""Statements, reports and the ledger's tables by command, as both parties would use them."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import run
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import published
from storage.proofs.note import LOG, Note
from storage.settlement.contract import shipped_text
from storage.settlement.issue import check_version, note_text, read_version
from tests.storage.settlement.story import NAME, SIGNER, Story

FILE = f"""
[gateway]
name = "{NAME}"
state_dir = "state"
[evidence]
master_key_file = "secrets/master"
"""


class Parties:
    """Party B with its gateway's files, party A with what it was given; `does` is either at a terminal."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.config = directory / "gw.toml"
        self.config.write_text(FILE)
        self.state = directory / "state"
        self._capsys = capsys
        (directory / "secrets").mkdir()
        key = directory / "secrets" / "signing"
        seed = base64.b64encode(bytes((LOG,)) + bytes(range(32))).decode()
        key.write_text(f"PRIVATE+KEY+{NAME}+{SIGNER.verifier.key_id.hex()}+{seed}\n")
        key.chmod(0o600)
        self.public = directory / "secrets" / "signing.pub"
        self.public.write_text(f"{SIGNER.verifier}\n")
        self.story = Story(self.state)
        self.story.at("2026-06-10 08:00:00").deliver(98)
        self.story.deliver(2, b"MK:0012")
        self.story.sign()
        self.story.project()

    def does(self, *arguments: object, status: int = 0) -> str:
        """Returns what is said, on both outputs."""
        assert run([str(argument) for argument in arguments]) == status
        said = self._capsys.readouterr()
        return said.out + said.err

    def answers(self, *arguments: object, status: int = 0) -> Any:
        assert run([*map(str, arguments), "--json"]) == status
        return json.loads(self._capsys.readouterr().out)

    def settle(self) -> None:
        self.story.settle()
        self.story.project()


@pytest.fixture
def parties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Parties]:
    parties = Parties(tmp_path, capsys)
    with parties.story:
        yield parties


def test_a_statement_is_made_listed_and_checked(parties: Parties) -> None:
    made = parties.answers("statement", "make", "-c", parties.config, "--period", 6)
    assert (made["final"], made["version"], made["new_version"]) == (False, 1, True)
    assert (made["amount_yuan"], made["reduction_yuan"], made["due_yuan"]) == ("3.0000", "0.0000", "3.0000")
    answer = parties.answers("statement", "verify", made["directory"], "-c", parties.config)
    assert (answer["agrees"], answer["final"]) == (True, False)
    said = parties.does("statement", "make", "-c", parties.config, "--period", "2026-06")
    assert "new version     no" in said
    assert "jingxin: not final: the evidence has not gone beyond the time up to which receipts count" in said
    parties.settle()
    made = parties.answers("statement", "make", "-c", parties.config, "--period", "2026-06..2026-11")
    assert (made["final"], made["version"], made["success_rate"]) == (True, 2, "0.980000")
    directory = Path(made["directory"])
    assert {path.name for path in directory.iterdir()} == {
        *("statement.json", "statement.note", "statement.xlsx", "statement.pdf"),
        *("contract.toml", "status_codes.csv"),
    }
    assert (directory / "contract.toml").read_text() == parties.does("statement", "contract")
    listed = parties.answers("statement", "list", "-c", parties.config)["statements"]
    assert [(each["version"], each["final"], each["due_yuan"]) for each in listed] == [
        (1, False, "3.0000"),
        (2, True, "3.0000"),
    ]
    answer = parties.answers("statement", "verify", directory, "-c", parties.config)
    assert (answer["agrees"], answer["final"]) == (True, True)
    # A draft on a checkpoint of one's choice is none any more, once everybody finds the same one.
    answer = parties.answers("statement", "verify", directory.with_name("v1"), "-c", parties.config, status=1)
    assert (answer["agrees"], answer["final"]) == (False, False)
    assert {"path": "final", "stated": "false", "computed": "true"} in answer["differences"]
    told = parties.answers("statement", "diff", directory.with_name("v1"), directory)["differences"]
    assert {"where": "final", "one": "false", "other": "true"} in told


def test_the_other_party_checks_with_files_and_a_key(parties: Parties, tmp_path: Path) -> None:
    parties.settle()
    made = parties.answers("statement", "make", "-c", parties.config, "--period", 6)
    theirs = tmp_path / "party-a"
    theirs.mkdir()
    shutil.copytree(parties.story.proofs, theirs / "proofs")
    shutil.copytree(parties.story.evidence, theirs / "evidence")
    shutil.copytree(made["directory"], theirs / "v1")
    files = (
        "--evidence",
        theirs / "evidence",
        "--proofs",
        theirs / "proofs",
        "--key",
        parties.public,
    )
    assert parties.answers("statement", "verify", theirs / "v1", *files)["agrees"] is True
    # Another contract gives other figures.
    contract = theirs / "contract.toml"
    text = parties.does("statement", "contract").replace('count_on = "accepted"', 'count_on = "delivered"')
    contract.write_text(text)
    answer = parties.answers("statement", "verify", theirs / "v1", *files, "--contract", contract, status=1)
    found = {each["path"]: (each["stated"], each["computed"]) for each in answer["differences"]}
    assert found["amount"] == ("30000", "29400")
    assert answer["agrees"] is False
    # A figure that somebody has changed is not looked at any further.
    path = theirs / "v1" / "statement.json"
    path.write_bytes(path.read_bytes().replace(b'"due":30000', b'"due":20000'))
    said = parties.does("statement", "verify", theirs / "v1", *files, status=1)
    assert said.startswith(
        f"jingxin: {theirs}/v1: statement.json is not the one that statement.note signs, or"
    )
    assert said.endswith("restore both from a copy\n")
    # Evidence of which a record was changed.
    shutil.copy(Path(made["directory"]) / "statement.json", path)
    segment = next((theirs / "evidence").glob("*.seg"))
    octets = bytearray(segment.read_bytes())
    octets[octets.index(b"MK:0012")] ^= 1
    segment.write_bytes(octets)
    said = parties.does("statement", "verify", theirs / "v1", *files, status=1)
    assert "agrees          no" in said
    assert "jingxin: the evidence is not sound: `jingxin evidence verify` says where" in said


def test_a_statement_is_made_again_from_the_copies_in_its_version(parties: Parties, tmp_path: Path) -> None:
    contract, codes, scratch = tmp_path / "agreed.toml", tmp_path / "codes.csv", tmp_path / "scratch"
    contract.write_text(parties.does("statement", "contract").replace("\n\n", "\r\n\n", 1), newline="")
    codes.write_text("carrier,code,class,sub,retry,conf,meaning\ncmcc,MK:0012,policy,,no,high,here\n")
    scratch.mkdir()
    parties.config.write_text(
        f'{FILE}[settlement]\ncontract_file = "agreed.toml"\n[outcomes]\nfile = "codes.csv"\n'
    )
    parties.settle()
    made = parties.answers("statement", "make", "-c", parties.config, "--period", 6)
    version = Path(made["directory"])
    assert (version / "contract.toml").read_bytes() == contract.read_bytes()
    assert (version / "operator_codes.csv").read_bytes() == codes.read_bytes()
    statement = json.loads((version / "statement.json").read_bytes())
    assert statement["total"]["causes"] == {"policy": 2}
    assert [each["sha256"] for each in statement["sources"]] == [
        sha256((version / name).read_bytes()).hexdigest()
        for name in ("contract.toml", "status_codes.csv", "operator_codes.csv")
    ]
    # What the parties agree on later changes nothing of it, unless it is named.
    verify = ("statement", "verify", version, "-c", parties.config, "--scratch", scratch)
    contract.write_text(contract.read_text().replace('count_on = "accepted"', 'count_on = "delivered"'))
    codes.write_text(codes.read_text().replace("policy", "content"))
    assert parties.answers(*verify)["agrees"] is True
    assert list(scratch.iterdir()) == []
    for option, file, where in (
        ("--contract", contract, "amount"),
        ("--codes", codes, "total.causes.policy"),
    ):
        answer = parties.answers(*verify, option, file, status=1)
        assert where in [each["path"] for each in answer["differences"]]
    # Copies that somebody has changed are found, whether or not they are used; so is what is missing.
    for name in (
        "contract.toml",
        "status_codes.csv",
        "operator_codes.csv",
        "statement.xlsx",
        "statement.pdf",
    ):
        path = version / name
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            said = parties.does(*verify, "--contract", contract, status=1)
            assert said == f"jingxin: {path}: not the file that was signed: restore it from a copy\n"
        path.unlink()
        assert parties.does(*verify, status=1) == f"jingxin: {path}: missing: restore it from a copy\n"
        path.write_bytes(whole)
    assert parties.answers(*verify)["agrees"] is True


def test_copies_that_are_not_those_of_the_statement_are_refused_though_signed(parties: Parties) -> None:
    parties.settle()
    made = parties.answers("statement", "make", "-c", parties.config, "--period", 6)
    version = Path(made["directory"])
    issued = read_version(version)
    checked = check_version(issued, SIGNER.verifier)
    for name, octets in (
        ("contract.toml", checked.files["contract.toml"].replace(b'"accepted"', b'"delivered"')),
        ("status_codes.csv", None),
        ("operator_codes.csv", checked.files["status_codes.csv"]),
    ):
        files = {**checked.files, name: octets}
        for each, content in files.items():
            (version / each).unlink(missing_ok=True)
            if content is not None:
                (version / each).write_bytes(content)
        digests = {each: sha256(content).digest() for each, content in files.items() if content is not None}
        text = note_text(NAME, "2026-06..2026-11", 1, issued.digest, b"", digests)
        (version / "statement.note").write_bytes(Note(text, (SIGNER.sign(text),)).encode())
        said = parties.does("statement", "verify", version, "-c", parties.config, status=1)
        assert said == f"jingxin: {version / name}: not the file that it rests on\n"
        (version / name).unlink(missing_ok=True)


def test_what_is_no_statement_is_told_in_one_line(parties: Parties) -> None:
    made = parties.answers("statement", "make", "-c", parties.config, "--period", 6)
    path = Path(made["directory"]) / "statement.json"
    whole = path.read_bytes()
    commands = (
        ("list", "-c", parties.config),
        ("make", "-c", parties.config, "--period", 6),
        ("diff", path.parent, path.parent),
        ("verify", path.parent, "-c", parties.config),
    )
    for octets in (b"", b"\xff", whole[:-9], whole.replace(b'"due":', b'"due": ')):
        path.write_bytes(octets)
        for command in commands:
            said = parties.does("statement", *command, status=1)
            assert said.startswith(f"jingxin: {path}: not as a statement is written: ")
            assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("make", "--period", "7x"), "no period '7x': allowed are a number such as 6, a month such as"),
        (("make", "--period", "2026-07..2026-12"), "2026-07..2026-12 is no settlement period, and would be"),
        (("make", "--period", "7"), "period 7 (2026-12..2027-05) is outside of the term, 2023-12-01 to"),
        (
            ("make", "--period", "1"),
            "the evidence begins in 2026-06: there is nothing to settle in",
        ),
        (("make", "--period", "2022-01"), "no settlement period contains 2022-01: allowed is a month from"),
    ],
)
def test_what_cannot_be_made(arguments: tuple[str, ...], reason: str, parties: Parties) -> None:
    said = parties.does("statement", *arguments, "-c", parties.config, status=1)
    assert said.startswith(f"jingxin: {reason}")
    assert said.count("\n") == 1


def test_a_ledger_that_is_behind_makes_no_statement(parties: Parties) -> None:
    parties.story.deliver()
    parties.story.sign()
    said = parties.does("statement", "make", "-c", parties.config, "--period", 6, status=1)
    assert said.startswith("jingxin: the ledger has ")
    assert said.endswith("let `jingxin ledger` catch up, then try again\n")


def test_the_tables_are_made_anew_and_dumped(parties: Parties) -> None:
    before = parties.does("ledger", "dump", "-c", parties.config)
    assert before.count("\n") > 300  # a part, an attempt and a receipt for each message
    made = parties.answers("ledger", "rebuild", "-c", parties.config)
    assert parties.does("ledger", "dump", "-c", parties.config) == before
    assert made["rows"] == before.count("\n")
    assert "name the configuration with -c FILE" in parties.does("ledger", status=2)


def test_reports_are_shown_and_written(parties: Parties, tmp_path: Path) -> None:
    report = parties.answers("report", "sla", "-c", parties.config, "--period", "2026-06..2026-06")
    assert report["stretches"][0]["service"]["rates"][0]["rate"] == "0.980000"
    # It can be recomputed: the root that was signed, and the files that it rests on, are in it.
    checkpoint = Checkpoint.parse(published(parties.state / "proofs").text)
    assert report["evidence"]["records"] == checkpoint.size
    assert base64.b64decode(report["evidence"]["root"]) == checkpoint.root
    assert [source["name"] for source in report["sources"]] == ["contract", "status codes"]
    output = tmp_path / "report"
    said = parties.does("report", "annual", "-c", parties.config, "--year", 3, "-o", output)
    assert "2025-12..2026-11" in said
    assert json.loads((output / "report.json").read_bytes())["year"] == 3
    assert (output / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_a_report_is_made_again_by_the_other_party(parties: Parties, tmp_path: Path) -> None:
    for name, command in (
        ("june", ("sla", "--period", "2026-06..2026-06")),
        ("year", ("annual", "--year", 3)),
    ):
        given = tmp_path / name
        parties.does("report", *command, "-c", parties.config, "-o", given)
        evidence = shutil.copytree(parties.state / "evidence", tmp_path / f"evidence of {name}")
        proofs = shutil.copytree(parties.state / "proofs", tmp_path / f"proofs of {name}")
        files = ("--evidence", evidence, "--proofs", proofs, "--key", parties.public)
        answer = parties.answers("report", "verify", given, *files)
        assert (answer["agrees"], answer["evidence_sound"]) == (True, True)
        assert parties.answers("report", "verify", given, "-c", parties.config)["agrees"] is True
        said = parties.does("report", *command, "-c", parties.config, "-o", given, status=1)
        assert said == f"jingxin: {given}: there is something already: allowed is a new directory\n"
        printed = (given / "report.pdf").read_bytes()
        (given / "report.pdf").write_bytes(printed + b"\n")
        answer = parties.answers("report", "verify", given, *files, status=1)
        assert [each["path"] for each in answer["differences"]] == ["report.pdf"]
        whole = (given / "report.json").read_bytes()
        (given / "report.json").write_bytes(whole.replace(b'"penalty":0', b'"penalty":1'))
        answer = parties.answers("report", "verify", given, *files, status=1)
        penalty, print_ = answer["differences"]
        assert (penalty["path"].split(".")[-2:], penalty["stated"]) == (["penalties", "penalty"], "1")
        assert print_["computed"].startswith("nothing, since report.json contradicts itself: penalty is not")
        (given / "report.json").write_bytes(whole)
        (given / "report.pdf").unlink()
        assert parties.answers("report", "verify", given, *files)["agrees"] is True
        (given / "report.pdf").write_bytes(printed)
        whole = (given / "report.json").read_bytes()
        assert whole.count(b'"delivered":98') == 2  # of the carrier, and of all
        (given / "report.json").write_bytes(whole.replace(b'"delivered":98', b'"delivered":99'))
        answer = parties.answers("report", "verify", given, *files, status=1)
        *figures, print_ = answer["differences"]
        assert [(each["stated"], each["computed"]) for each in figures] == [("99", "98")] * 2
        assert print_["path"] == "report.pdf"
        (given / "report.json").write_bytes(whole[:-1])
        assert "no report as it is written" in parties.does("report", "verify", given, *files, status=1)
        (given / "report.json").write_bytes(whole.replace(b'"records":', b'"records":1'))
        assert "with the root that is named was signed" in parties.does(
            "report", "verify", given, *files, status=1
        )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            ("sla", "--period", "2026-05..2026-05"),
            "the evidence begins in 2026-06: there is nothing to say of",
        ),
        (
            ("annual", "--year", "1"),
            "the evidence begins in 2026-06: there is nothing to say of 2023-12..2024-11",
        ),
        (("sla", "--period", "2023-11..2023-11"), "2023-11..2023-11 is outside of the term, 2023-12-01 to"),
        (("annual", "--year", "4"), "2026-12..2027-11 is outside of the term, 2023-12-01 to 2026-11-30"),
        (("sla", "--period", "2026-11..2026-11"), "the evidence goes to 2026-06"),
    ],
)
def test_of_months_without_evidence_nothing_is_said(
    command: tuple[str, ...], reason: str, parties: Parties, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    said = parties.does("report", *command, "-c", parties.config, "-o", output, status=1)
    assert said.startswith(f"jingxin: {reason}"), said
    assert list(output.iterdir()) == []


def test_what_a_report_lacks_and_what_is_taken_on_trust_is_said(
    parties: Parties, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report"
    command = ["report", "annual", "-c", str(parties.config), "--year", "3", "-o", str(output)]
    assert run(command) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "jingxin: the evidence begins in 2026-06: of months before it has nothing"
    assert said[1].startswith(
        "jingxin: not final: the months, and the time after them for late receipts, are"
    )
    assert run(["report", "verify", str(output), "-c", str(parties.config)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "jingxin: the contract is the copy beside it, with 0.0300 yuan a message as signed: --contract FILE"
        " takes yours"
    ]
    contract = ["--contract", str(output / "contract.toml")]
    assert run(["report", "verify", str(output), "-c", str(parties.config), *contract]) == 0
    assert capsys.readouterr().err == ""


def test_differences_name_the_term_on_a_terminal(parties: Parties, tmp_path: Path) -> None:
    first = parties.answers("statement", "make", "-c", parties.config, "--period", 6)["directory"]
    dearer = tmp_path / "contract.toml"
    dearer.write_text(shipped_text().replace("price_mt = 300", "price_mt = 310"))
    said = parties.does("statement", "verify", first, "-c", parties.config, "--contract", dearer, status=1)
    assert "terms[billing.price_mt].value" in said


def test_a_month_is_moved_out_of_the_tables(parties: Parties, tmp_path: Path) -> None:
    june = ("ledger", "detach", "-c", parties.config, "2026-06", "-o", tmp_path / "june.db")
    said = parties.does(*june, status=1)
    assert "2026-06 is the only month, which goes on: nothing can be detached\n" in said
    parties.settle()
    assert parties.answers(*june)["month"] == "2026-06"
    said = parties.does("statement", "make", "-c", parties.config, "--period", 6, status=1)
    assert said.startswith("jingxin: 2026-06 was moved out of the ledger, and its messages would be missing:")
    parties.does("ledger", "rebuild", "-c", parties.config)
    assert parties.answers("statement", "make", "-c", parties.config, "--period", 6)["final"] is True
