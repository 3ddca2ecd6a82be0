"""Statements on disk: versions that stay, notes over them, and checks that find every octet that is wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from storage.errors import NoSuchRecord
from storage.proofs.note import LOG, Note, Signer
from storage.reader import LogReader
from storage.settlement.calendar import parse_period
from storage.settlement.check import Finding, check_statement, differences
from storage.settlement.contract import shipped_contract
from storage.settlement.issue import (
    NOTE_NAME,
    STATEMENT_NAME,
    Issued,
    StatementError,
    check_version,
    issue,
    note_text,
    read_version,
    tied_checkpoint,
    versions,
)
from storage.settlement.statement import Statement, cut_of
from tests.storage.settlement.story import CAUSES, SIGNER, Story, cause_of

PERIOD = "2026-06..2026-11"
INPUTS = {"contract.toml": b"what was agreed", "codes.csv": bytes(range(256)) * 8}


def render(version: int, digest: str) -> dict[str, bytes]:
    return {"statement.txt": f"{version} {digest}".encode()}


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story(tmp_path) as story:
        story.at("2026-06-10 08:00:00").deliver(3)
        story.deliver(1, b"MK:0012", carrier="cucc", account="oa")
        yield story


def put(story: Story) -> tuple[Issued, bool]:
    return issue(story.directory / "statements", story.statement(), SIGNER, INPUTS, render)


def findings(story: Story, issued: Issued) -> list[Finding]:
    report, found = check_statement(
        issued, story.evidence, story.proven(), shipped_contract(), CAUSES, cause_of
    )
    assert report.sound
    return found


def test_versions_stay_and_name_the_one_before(story: Story) -> None:
    story.sign()
    first, is_new = put(story)
    assert is_new
    assert (first.version, first.directory.name) == (1, "v1")
    again, is_new = put(story)
    assert not is_new
    assert again.digest == first.digest
    story.settle()
    second, is_new = put(story)
    assert is_new
    assert second.version == 2
    directory = story.directory / "statements"
    assert [issued.digest for issued in versions(directory, PERIOD)] == [first.digest, second.digest]
    assert (first.directory / STATEMENT_NAME).read_bytes() == first.statement
    assert (second.directory / "statement.txt").read_text() == f"2 {second.digest.hex()}"
    assert check_version(first, SIGNER.verifier).former == b""
    checked = check_version(second, SIGNER.verifier)
    assert checked.former == first.digest
    assert checked.files == {**INPUTS, **render(2, second.digest.hex())}
    assert second.note.text.split("\n")[4].startswith("codes.csv ")
    assert sha256(second.statement).digest() == second.digest
    (first.directory).rename(directory / "v1")
    with pytest.raises(StatementError, match="a version is missing: restore it from a copy"):
        versions(directory, PERIOD)


def test_no_month_gets_two_statements(story: Story) -> None:
    story.sign()
    put(story)
    statement = msgspec.structs.replace(story.statement(), first_month="2026-03", last_month="2026-08")
    statements = story.directory / "statements"
    with pytest.raises(StatementError, match=r"months of 2026-03..2026-08 have a statement, and would be"):
        issue(statements, statement, SIGNER, INPUTS, render)
    (statements / PERIOD).rename(story.directory / "aside")
    (statements / PERIOD / "v1.part").mkdir(parents=True)  # what a crash left is no statement
    assert issue(statements, statement, SIGNER, INPUTS, render)[1]


def test_what_a_crash_left_of_a_version_is_no_version(story: Story) -> None:
    story.sign()
    part = story.directory / "statements" / PERIOD / "v1.part"
    part.mkdir(parents=True)
    (part / STATEMENT_NAME).write_bytes(b"half")
    (part / "strange").write_bytes(b"left over")
    issued, _ = put(story)
    assert {path.name for path in issued.directory.iterdir()} == {
        STATEMENT_NAME,
        NOTE_NAME,
        "statement.txt",
        *INPUTS,
    }
    assert not part.exists()

    def fails(version: int, digest: str) -> dict[str, bytes]:
        raise ValueError(f"no font for {version} {digest}")

    story.settle()
    with pytest.raises(ValueError, match="no font"):
        issue(story.directory / "statements", story.statement(), SIGNER, INPUTS, fails)
    assert len(versions(story.directory / "statements", PERIOD)) == 1
    assert put(story)[0].version == 2


def test_two_at_once_make_no_version_between_them(story: Story) -> None:
    story.sign()
    statement = story.statement()

    def meanwhile(version: int, digest: str) -> dict[str, bytes]:
        with pytest.raises(StatementError, match="another statement is being made: try again"):
            put(story)
        return render(version, digest)

    issued, is_new = issue(story.directory / "statements", statement, SIGNER, INPUTS, meanwhile)
    assert is_new
    assert check_version(issued, SIGNER.verifier).statement == statement
    assert put(story) == (issued, False)


def test_which_checkpoint_a_statement_is_tied_to(story: Story) -> None:
    contract = shipped_contract()
    before_us = cut_of(contract, parse_period("6", contract.settlement), 0).before_us

    def tied() -> tuple[int, bool]:
        with LogReader(story.evidence) as reader:
            checkpoint, final = tied_checkpoint(story.proofs, reader, SIGNER.verifier, before_us)
        return checkpoint.size, final

    with pytest.raises(NoSuchRecord):
        tied()
    story.sign()
    newest = tied()
    assert newest[1] is False
    # Signed on the day of the cut, but of records from before it: the log has not gone on yet.
    story.at("2026-12-03 23:59:59").deliver()
    story.at("2026-12-04 00:00:05").sign()
    assert tied() == (newest[0] + 4, False)
    story.deliver()
    story.at("2026-12-04 00:00:06").sign()
    final = tied()
    assert final == (newest[0] + 8, True)
    story.at("2026-12-24").deliver()
    story.sign()
    assert tied() == final  # for ever
    other = Signer("hn-gw-1", LOG, bytes(32)).verifier
    with LogReader(story.evidence) as reader, pytest.raises(StatementError, match="has not signed"):
        tied_checkpoint(story.proofs, reader, other, before_us)


def test_the_check_agrees_with_what_was_made(story: Story) -> None:
    story.sign()
    draft, _ = put(story)
    assert findings(story, draft) == []  # not final
    # An honest one stays so while the log goes on, until there is a checkpoint that everybody finds.
    story.at("2026-06-11").deliver()
    story.sign()
    assert findings(story, draft) == []
    story.settle()
    assert findings(story, put(story)[0]) == []
    assert Finding("final", "false", "true") in findings(story, draft)


def test_the_ledger_of_the_check_is_made_where_it_is_told(story: Story, tmp_path: Path) -> None:
    story.settle()
    issued, _ = put(story)
    scratch = tmp_path / "scratch"
    arguments = issued, story.evidence, story.proven(), shipped_contract(), CAUSES, cause_of
    with pytest.raises(FileNotFoundError, match="scratch"):
        check_statement(*arguments, scratch=scratch)
    scratch.mkdir()
    assert check_statement(*arguments, scratch=scratch)[1] == []
    assert list(scratch.iterdir()) == []


def altered(whole: bytes, step: int = 1) -> Iterator[bytes]:
    """With one octet changed, and at every seventh place one removed or inserted too."""
    for place in range(0, len(whole), step):
        yield whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        if place % 7 == 0:
            yield whole[:place] + whole[place + 1 :]
            yield whole[:place] + b"?" + whole[place:]


def test_every_octet_of_a_version_counts(story: Story) -> None:
    story.settle()
    issued, _ = put(story)
    assert findings(story, issued) == []
    for octets in altered(issued.statement):
        with pytest.raises(StatementError):
            check_version(issued._replace(statement=octets), SIGNER.verifier)
    steps = {STATEMENT_NAME: 599, NOTE_NAME: 1, "statement.txt": 1, "contract.toml": 1, "codes.csv": 97}
    assert {path.name for path in issued.directory.iterdir()} == set(steps)
    for name, step in steps.items():
        path = issued.directory / name
        whole = path.read_bytes()
        for octets in altered(whole, step):
            path.write_bytes(octets)
            with pytest.raises(StatementError):
                check_version(read_version(issued.directory), SIGNER.verifier)
        with pytest.raises(StatementError, match=str(issued.directory)):
            findings(story, read_version(issued.directory))  # the last of them
        path.write_bytes(whole)
    assert findings(story, read_version(issued.directory)) == []


def test_a_version_holds_what_its_note_names_and_nothing_else(story: Story) -> None:
    story.settle()
    issued, _ = put(story)

    def refusal() -> str:
        with pytest.raises(StatementError) as raised:
            check_version(read_version(issued.directory), SIGNER.verifier)
        return str(raised.value).removeprefix(f"{issued.directory}")

    extra = issued.directory / "extra"
    extra.mkdir()
    assert refusal() == "/extra: not of this version: remove it"
    extra.rmdir()
    for name in ("contract.toml", "statement.txt"):
        path = issued.directory / name
        octets = path.read_bytes()
        path.unlink()
        assert refusal() == f"/{name}: missing: restore it from a copy"
        path.mkdir()
        assert refusal() == f"/{name}: missing: restore it from a copy"
        path.rmdir()
        path.write_bytes(octets + b"\n")
        assert refusal() == f"/{name}: not the file that was signed: restore it from a copy"
        path.write_bytes(octets)
    for name in (STATEMENT_NAME, NOTE_NAME):
        (issued.directory / name).rename(issued.directory.parent / name)
        assert f"{name}': restore it from a copy" in refusal()
        (issued.directory.parent / name).rename(issued.directory / name)
    (issued.directory / STATEMENT_NAME).write_bytes(b"{")
    assert refusal().startswith(f"/{STATEMENT_NAME}: not as a statement is written: ")
    with pytest.raises(StatementError, match=r"no version of a statement: name one, such as .*/v"):
        read_version(issued.directory.parent)
    with pytest.raises(StatementError, match="no version of a statement: its directory is called v1, v2 …"):
        read_version(issued.directory.parent.parent)


def test_the_versions_of_a_period_are_a_chain(story: Story, tmp_path: Path) -> None:
    story.sign()
    first, _ = put(story)
    story.settle()
    second, _ = put(story)
    alone = tmp_path / "party-a" / "v2"
    shutil.copytree(second.directory, alone)
    # Whoever has the key can make another first version, but not the one that the second names.
    statement = msgspec.structs.replace(first.read(), due=1)
    other = forged(first, statement)
    (first.directory / STATEMENT_NAME).write_bytes(other.statement)
    (first.directory / NOTE_NAME).write_bytes(other.note.encode())
    reason = f"{first.directory}: not the statement that v2 was made after: restore it from a copy"
    with pytest.raises(StatementError, match=re.escape(reason)):
        versions(story.directory / "statements", PERIOD)
    with pytest.raises(StatementError, match=re.escape(reason)):
        put(story)
    for issued in (second, other):
        with pytest.raises(StatementError, match=re.escape(reason)):
            findings(story, issued)
    assert findings(story, read_version(alone)) == []
    shutil.rmtree(first.directory)
    assert findings(story, second) == []
    # A second version that says that it is the first, and a first one of another period.
    only = forged(Issued(second.directory, 2, b"", second.note), second.read())
    with pytest.raises(StatementError, match=r"is not the one that statement\.note signs"):
        findings(story, only)
    elsewhere = story.directory / "statements" / "2026-06..2026-07"
    shutil.move(second.directory.parent, elsewhere)
    (elsewhere / "v2").rename(elsewhere / "v1")
    with pytest.raises(StatementError, match=f"v1: a statement of {PERIOD}, not of 2026-06..2026-07"):
        versions(story.directory / "statements", elsewhere.name)


def forged(issued: Issued, statement: Statement, signer: Signer = SIGNER) -> Issued:
    """A statement that somebody signed who has the key."""
    octets = statement.encode()
    files = {
        path.name: sha256(path.read_bytes()).digest()
        for path in issued.directory.iterdir()
        if path.name not in (STATEMENT_NAME, NOTE_NAME)
    }
    text = note_text("hn-gw-1", PERIOD, issued.version, sha256(octets).digest(), b"", files)
    return Issued(issued.directory, issued.version, octets, Note(text, (signer.sign(text),)))


def test_figures_that_do_not_follow_from_the_records_are_found_though_signed(story: Story) -> None:
    story.settle()
    issued, _ = put(story)
    statement = Statement.decode(issued.statement)
    replace = msgspec.structs.replace
    total = replace(statement.total, delivered=4, failed=0, causes={})
    assert findings(story, forged(issued, replace(statement, total=total, due=9_999))) == [
        Finding("due", "9999", "1200"),
        Finding("total.causes.terminal", "nothing", "1"),
        Finding("total.delivered", "4", "3"),
        Finding("total.failed", "0", "1"),
    ]
    line = replace(statement.lines[0], figures=replace(statement.lines[0].figures, accepted=5))
    (found,) = findings(story, forged(issued, replace(statement, lines=(line, *statement.lines[1:]))))
    assert found == Finding("lines[2026-06 mt mobile hukou document].figures.accepted", "5", "3")
    removed = findings(story, forged(issued, replace(statement, lines=statement.lines[1:])))
    assert [each.path for each in removed] == ["lines[2026-06 mt mobile hukou document]"]


def test_statements_that_nobody_has_to_look_at(story: Story) -> None:
    story.settle()
    issued, _ = put(story)
    statement = Statement.decode(issued.statement)
    replace = msgspec.structs.replace
    stranger = Signer("hn-gw-1", LOG, bytes(32))
    with pytest.raises(StatementError, match="not signed by"):
        findings(story, forged(issued, statement, stranger))
    elsewhere = replace(statement.evidence, records=3)
    with pytest.raises(StatementError, match="no checkpoint of 3 records"):
        findings(story, forged(issued, replace(statement, evidence=elsewhere)))
    # Final, and tied to a later checkpoint than the first one behind the cut.
    story.at("2026-12-20").deliver()
    story.sign()
    with LogReader(story.evidence) as reader:
        later, _ = tied_checkpoint(story.proofs, reader, SIGNER.verifier, story.now_us)
    evidence = replace(
        statement.evidence, records=later.size, root=msgspec.json.decode(msgspec.json.encode(later.root))
    )
    with pytest.raises(StatementError, match=r"final, and tied to \d+ records instead of \d+"):
        findings(story, forged(issued, replace(statement, evidence=evidence)))


def test_differences_of_two_versions_are_told_by_place(story: Story) -> None:
    story.sign()
    before = story.statement()
    story.at("2026-06-11").deliver(2)
    story.sign()
    found = {each.path: (each.stated, each.computed) for each in differences(before, story.statement())}
    assert found["total.accepted"] == ("4", "6")
    assert found["charges[accepted].units_mt"] == ("4", "6")
    assert found["service[2026-06].rates[literal].successful"] == ("3", "5")
    assert differences(before, before) == []
