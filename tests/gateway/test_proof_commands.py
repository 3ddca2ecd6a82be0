"""From keys to a proof in the other party's hands, by command, as the two parties would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway.cli import run
from gateway.password import hash_password
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.notary import Notary
from storage.proofs.note import LOG, Note
from storage.proofs.signing_key import read_signing_key
from storage.records import Accepted, Dispatched, Receipt, Record, Sent, encode
from tests.gateway.test_cli import CONFIG
from tests.storage.scaffold import NOON_US, LogDriver

NUMBER = 1  # of the message


def history() -> list[Record]:
    return [
        Accepted(NOON_US, "hukou", 1, 0, "cmcc", bytes(16), 1, 1, 0, 0, b""),
        Dispatched(NOON_US, [("cmcc", 0, [NUMBER])]),
        Sent(NUMBER, NOON_US, 0, b"17"),
        Receipt(NOON_US, NUMBER, "cmcc", 0, b"17", 2, b"DELIVRD", b"000", b"", b"", True, b"", b""),
    ]


class Parties:
    """Party B with its gateway's files, party A with what it was given."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.config = directory / "gw.toml"
        self.config.write_text(CONFIG)
        self.state = directory / "var"
        self.proofs = self.state / "proofs"
        self.log_key = directory / "secrets" / "signing.pub"
        self._capsys = capsys

    def does(self, *arguments: object, status: int = 0) -> str:
        """Runs a command, which ends so; what it prints, to whichever of the two."""
        assert run([str(each) for each in arguments]) == status, self._capsys.readouterr()
        out, err = self._capsys.readouterr()
        return err if status else out

    def sign(self, *records: Record) -> None:
        """The gateway writes, the ledger signs."""
        evidence = self.state / "evidence"
        evidence.mkdir(parents=True, exist_ok=True)
        with LogDriver(evidence) as driver:
            driver.log.recover()
            driver.write(*map(encode, records))
        signer = read_signing_key(self.directory / "secrets" / "signing", LOG)
        with Notary(evidence, self.proofs, "hn-gw-1", signer) as notary:
            notary.recover()
            notary.step(NOON_US)

    def witness(self, status: int = 0) -> str:
        """Party A looks at the proofs."""
        arguments = ("--proofs", self.proofs, "--key", self.log_key, "--memory", self.directory / "memory")
        key = self.directory / "party-a"
        if not key.exists():
            self.does("keys", "witness", key, "--name", "party-a")
        return self.does("evidence", "witness", *arguments, "--signing-key", key, status=status)


@pytest.fixture
def parties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Parties:
    both = Parties(tmp_path, capsys)
    both.does("keys", "init", "-c", both.config)
    return both


def trust(parties: Parties) -> str:
    """Party B configures the witness; returns its key."""
    key = (parties.directory / "party-a.pub").read_text().strip()
    parties.config.write_text(CONFIG.replace("[evidence]", f'[evidence]\nwitnesses = ["{key}"]'))
    return key


def test_keys_are_made_once_and_told_apart(parties: Parties) -> None:
    secrets = parties.directory / "secrets"
    assert {path.name: path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {
        "master": 0o600,
        "signing": 0o600,
        "signing.pub": 0o644,
    }
    before = (secrets / "signing").read_bytes()
    assert "exists already" in parties.does("keys", "init", "-c", parties.config, status=1)
    public = (secrets / "signing.pub").read_bytes()
    (secrets / "signing.pub").unlink()
    made = parties.does("keys", "init", "-c", parties.config)
    assert made == f"made {secrets}/signing.pub again, from the key beside it\n"
    assert (secrets / "signing.pub").read_bytes() == public
    (secrets / "signing").rename(secrets / "lost")
    said = parties.does("keys", "init", "-c", parties.config, status=1)
    assert f"{secrets}/signing.pub stands without its private key" in said
    assert (secrets / "signing.pub").read_bytes() == public
    assert (secrets / "lost").read_bytes() == before


def test_no_key_is_made_beside_what_another_one_has_begun(parties: Parties) -> None:
    secrets = parties.directory / "secrets"
    parties.sign(*history())
    for path in secrets.iterdir():
        path.rename(parties.directory / path.name)
    said = parties.does("keys", "init", "-c", parties.config, status=1)
    assert said.startswith(
        f"jingxin: {secrets}/signing is gone, and has signed {parties.proofs}: put it back"
    )
    (parties.state / "evidence" / "keys").mkdir(exist_ok=True)
    said = parties.does("keys", "init", "-c", parties.config, status=1)
    assert said.startswith(f"jingxin: {secrets}/master is gone, and what {parties.state}/evidence/keys seals")
    assert list(secrets.iterdir()) == []


def test_a_wrong_key_accuses_nobody(parties: Parties) -> None:
    parties.sign(*history())
    parties.witness()
    other = parties.directory / "party-a.pub"
    files = ("--evidence", parties.state / "evidence", "--proofs", parties.proofs)
    said = parties.does("evidence", "verify", *files, "--key", other, status=1)
    assert "/checkpoint: it is signed by hn-gw-1+" in said
    assert said.endswith(": name the verifier key of this log\n")
    said = parties.does("evidence", "verify", *files, "--key", parties.log_key, "--witness", other)
    assert "witnessed nothing by party-a: no cosignature of it is kept" in said


def test_a_private_key_is_never_printed(parties: Parties) -> None:
    parties.sign(*history())
    key = parties.directory / "secrets" / "signing"
    files = ("--evidence", parties.state / "evidence", "--proofs", parties.proofs)
    for given in (key, key.read_text()):
        said = parties.does("evidence", "verify", *files, "--key", given, status=1)
        assert "that is the private key" in said
        assert key.read_text().split("+")[-1].strip() not in said


@pytest.mark.parametrize("gone", ["checkpoints", "all of it"])
def test_what_is_said_to_be_signed_has_to_be(gone: str, parties: Parties) -> None:
    parties.sign(*history())
    if gone == "checkpoints":
        shutil.rmtree(parties.proofs / "checkpoints")
        said = parties.does("evidence", "verify", "-c", parties.config, status=1)
    else:
        shutil.rmtree(parties.proofs)
        files = ("--evidence", parties.state / "evidence", "--proofs", parties.proofs)
        said = parties.does("evidence", "verify", *files, "--key", parties.log_key, status=1)
    assert f"{parties.proofs}/checkpoints: at octet 0: there is no checkpoint" in said


def test_check_looks_at_the_key_that_signs(parties: Parties) -> None:
    for name, text in (("hukou", hash_password(b"secret")), ("cmcc", "secret")):
        path = parties.directory / "secrets" / name
        path.touch(0o600)
        path.write_text(text)
    check = ("check", "-c", parties.config)
    assert "nothing is signed" not in parties.does(*check)
    key = parties.directory / "secrets" / "signing"
    octets = key.read_bytes()
    key.write_bytes(b"garbage")
    assert "evidence.signing_key_file: " in parties.does(*check, status=1)
    key.write_bytes(octets)
    parties.config.write_text(CONFIG.replace("hn-gw-1", "hn-gw-2"))
    assert "it is the key of hn-gw-1, and the gateway is called hn-gw-2" in parties.does(*check, status=1)
    key.unlink()
    assert f"warning: {key} is missing: nothing is signed\n" in parties.does(*check)


def test_verify_says_how_far_the_log_is_proven(parties: Parties) -> None:
    verify = ("evidence", "verify", "-c", parties.config)
    parties.sign(*history())
    assert "proven    4 records: 1 checkpoints, 1 tiles\n" in parties.does(*verify)
    facts = json.loads(parties.does(*verify, "--json"))
    assert facts["proven"] == {"checkpoints": 1, "size": 4, "tiles": 1, "witnessed": {}}
    # The other party has the files and the key, and no configuration.
    files = ("--evidence", parties.state / "evidence", "--proofs", parties.proofs)
    assert "proven    4 records" in parties.does("evidence", "verify", *files, "--key", parties.log_key)
    assert "by --key KEY" in parties.does("evidence", "verify", *files, status=2)
    alone = parties.does("evidence", "verify", "--evidence", parties.state / "evidence")
    assert "proven    nothing: no checkpoint" in alone


def test_verify_names_what_was_changed(parties: Parties) -> None:
    parties.sign(*history())
    tile = parties.proofs / "tile" / "0" / "000.p" / "4"
    tile.write_bytes(tile.read_bytes()[:32] + bytes(32) + tile.read_bytes()[64:])
    said = parties.does("evidence", "verify", "-c", parties.config, status=1)
    reason = "the tile has another hash of record 2"
    assert said == f"jingxin: {tile}: at octet 32: {reason}: restore the file from a copy\n"


def test_a_message_is_proved_to_whoever_has_the_key(parties: Parties) -> None:
    parties.sign(*history())
    file = parties.directory / "message.tlog-proof"
    parties.does("evidence", "prove", "-c", parties.config, NUMBER, "-o", file)
    assert file.read_text().startswith("c2sp.org/tlog-proof@v1\nextra ")
    said = parties.does("evidence", "check-proof", file, "--key", parties.log_key)
    first, *records, last = said.splitlines()
    assert last == "These records are in that log. Whether the message has others, this file cannot show."
    assert first == "signed by hn-gw-1: 4 records of hn-gw-1"
    assert [line.split()[2] for line in records] == ["accepted", "dispatched", "sent", "receipt"]
    facts = json.loads(parties.does("evidence", "check-proof", file, "--key", parties.log_key, "--json"))
    assert (facts["log"], facts["size"], facts["signed_by"]) == ("hn-gw-1", 4, ["hn-gw-1"])
    assert [each["type"] for each in facts["records"]] == ["accepted", "dispatched", "sent", "receipt"]
    file.write_bytes(file.read_bytes().replace(b"index 0", b"index 1"))
    refused = parties.does("evidence", "check-proof", file, "--key", parties.log_key, status=1)
    reason = "the first record in the line extra is not the one at the index"
    assert refused == f"jingxin: {file}: {reason}\n"


def test_a_message_that_is_not_signed_yet_cannot_be_proved(parties: Parties) -> None:
    prove = ("evidence", "prove", "-c", parties.config, 5)
    parties.sign(*history())
    with LogDriver(parties.state / "evidence") as driver:
        driver.log.recover()
        driver.write(encode(history()[0]))
    assert parties.does(*prove, status=1) == (
        "jingxin: record 5 is in no checkpoint yet: the ledger signs every second\n"
    )


def test_a_witness_sees_the_log_grow_and_its_word_is_kept(parties: Parties) -> None:
    parties.sign(*history())
    given = parties.directory / "cosigned"
    given.write_text(parties.witness())
    keep = ("evidence", "cosigned", "-c", parties.config, given)
    assert "none of the witnesses" in parties.does(*keep, status=1)
    key = trust(parties)
    assert parties.does(*keep) == "party-a has seen 4 records\n"
    said = parties.does("evidence", "verify", "-c", parties.config)
    assert "\nwitnessed 4 records by party-a at " in said
    file = parties.directory / "message.tlog-proof"
    parties.does("evidence", "prove", "-c", parties.config, NUMBER, "-o", file)
    said = parties.does("evidence", "check-proof", file, "--key", parties.log_key, "--witness", key)
    assert said.splitlines()[1].startswith("signed by party-a, who saw it at ")
    parties.sign(*history()[:1])
    assert Checkpoint.parse(Note.parse(parties.witness().encode()).text).size == 5


def test_a_witness_refuses_another_history(parties: Parties) -> None:
    parties.sign(*history())
    parties.witness()
    for path in sorted(parties.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    parties.sign(*history()[:3], history()[0])
    said = parties.witness(status=1)
    assert said.startswith(
        "jingxin: the log of 4 records does not extend the one of 4 that was cosigned last"
    )


def test_a_ledger_that_was_never_here_has_nothing_to_witness(parties: Parties) -> None:
    assert "nothing is signed yet: `jingxin ledger` does that" in parties.witness(status=1)
