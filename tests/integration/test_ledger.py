"""The ledger beside the gateway: what it signs while messages pass, and whatever ends it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from protocol.smpp.codes import CommandStatus
from storage.history import VerifyReport
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import CHECKPOINT_NAME
from storage.proofs.note import LOG, Note
from storage.proofs.signing_key import make_signing_key, public_path, read_verifier_key
from storage.proofs.verify_tree import Proofs
from storage.verify import verify
from tests.integration.application import Application, submit_sm
from tests.integration.conftest import MakeWorld
from tests.integration.world import World, until

COUNT = 500


def signing_world(make_world: MakeWorld) -> World:
    world = make_world()
    make_signing_key(world.directory / "secrets" / "signing", "test-gw", LOG)
    return world


def proofs(world: World) -> Path:
    return world.state_dir / "proofs"


def signed_size(world: World) -> int:
    path = proofs(world) / CHECKPOINT_NAME
    return Checkpoint.parse(Note.parse(path.read_bytes()).text).size if path.exists() else 0


def proven(world: World) -> VerifyReport:
    key = read_verifier_key(public_path(world.directory / "secrets" / "signing"))
    return verify(world.state_dir / "evidence", proofs=Proofs(proofs(world), key))


def ledgers(world: World) -> list[int]:
    """The processes that run the ledger of this world."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[3:6] == [b"ledger", b"-c", str(world.config_file).encode()]:
            found.append(int(entry.name))
    return found


def ledger_pid(world: World) -> int:
    return until("the ledger runs", lambda: ledgers(world))[0]


def send(world: World, first: int = 0) -> None:
    with Application(world.port) as application:
        assert application.bind() == CommandStatus.ESME_ROK
        application.submit_all(submit_sm(first + number) for number in range(COUNT))
        application.await_deliveries(COUNT)
        application.unbind()


def test_all_that_happened_is_signed_when_both_have_stopped(make_world: MakeWorld) -> None:
    world = signing_world(make_world)
    world.start()
    send(world)
    assert "jingxin_evidence_unsigned_records " in world.metrics()
    until(
        "all of it is signed while it runs",
        lambda: "jingxin_evidence_unsigned_records 0.0\n" in world.metrics(),
    )
    until(
        "all of it is in the tables",
        lambda: "jingxin_ledger_missing_records 0.0\n" in world.metrics(),
    )
    status = world.status()
    assert status["signed_records"] == status["ledger_records"] == status["evidence_records"] > COUNT
    world.stop()
    assert ledgers(world) == []
    report = proven(world)
    assert (report.damage, report.outcomes) == (None, {"delivered": COUNT})
    assert report.proven is not None
    assert report.proven.size == report.records


def test_without_a_key_the_gateway_runs_and_says_so(make_world: MakeWorld) -> None:
    world = make_world()
    world.start()
    send(world)
    world.stop()
    assert "nothing is signed" in world.log()
    assert not proofs(world).exists()


def test_a_ledger_that_is_killed_comes_back_and_messages_pass_meanwhile(make_world: MakeWorld) -> None:
    world = signing_world(make_world)
    world.start()
    until("something is signed", lambda: signed_size(world))
    killed = ledger_pid(world)
    os.kill(killed, signal.SIGKILL)
    send(world)
    until("it has caught up", lambda: signed_size(world) > COUNT)
    assert ledger_pid(world) != killed
    assert "the ledger has ended" in world.log()
    world.kill()  # the gateway: the ledger does not outlive it
    until("no ledger is left", lambda: not ledgers(world))
    world.start()
    send(world, COUNT)
    until("it goes on from there", lambda: signed_size(world) > 4 * COUNT)
    world.kill()
    assert proven(world).damage is None


def test_no_index_that_was_signed_is_given_again(make_world: MakeWorld) -> None:
    """The evidence was put back from an older copy: the gateway does not go on from there."""
    world = signing_world(make_world)
    world.start()
    world.stop()
    copy = world.directory / "copy"
    shutil.copytree(world.state_dir / "evidence", copy, ignore=shutil.ignore_patterns("spare.*"))
    world.start()
    send(world)
    until("it is signed", lambda: signed_size(world) > COUNT)
    world.stop()
    shutil.rmtree(world.state_dir / "evidence")
    copy.rename(world.state_dir / "evidence")
    refused = world.run_to_its_end()
    assert refused.returncode == 1
    assert "were signed and are gone (if they are for good, move " in refused.stderr


def test_killed_at_any_moment_it_signs_one_history(make_world: MakeWorld) -> None:
    world = signing_world(make_world)
    world.start()
    chance = random.Random(4)
    for turn in range(4):
        pid = ledger_pid(world)
        send(world, turn * COUNT)
        time.sleep(chance.random())
        os.kill(pid, signal.SIGKILL)
        until("it has ended", lambda: pid not in ledgers(world))  # noqa: B023 - looked at in this turn
        assert proven(world).damage is None
    until("it has caught up", lambda: signed_size(world) > 4 * COUNT, 30.0)
    world.kill()
    assert proven(world).damage is None
