"""A running gateway whose file changes and whose links and accounts are drained, by command and by signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from protocol.smpp.codes import CommandStatus
from tests.integration.application import Application, submit_sm
from tests.integration.traffic import Traffic
from tests.integration.world import (
    CARRIER,
    PASSWORD,
    REPOSITORY,
    SYSTEM_ID,
    SimulatedCarrier,
    Table,
    World,
    free_ports,
    until,
)

ROK = CommandStatus.ESME_ROK

OTHER: Final = "cucc"  # the second carrier
MESSAGES: Final = 200  # by all applications, between two changes


class TwoCarriers(World):
    """A world with another carrier, of which the gateway knows when it stands in `more_carriers`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, {"account": {"sessions_max": 64}})
        self.other = SimulatedCarrier(free_ports(1)[0], {})
        self.other.start()
        self.write_secret(OTHER, PASSWORD + "\n")
        self.more_carriers: list[Table] = []
        # Like the first one, for the same network.
        changes = {"name": OTHER, "port": self.other.port, "password_file": f"secrets/{OTHER}", "sessions": 1}
        self.other_table: dict[str, object] = {**self.tables["carrier"], **changes}

    def write_config(self) -> None:
        super().write_config()
        with self.config_file.open("a") as file:
            for table in self.more_carriers:
                lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
                file.write("\n".join(["[[carrier]]", *lines]) + "\n")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`jingxin …` for this gateway."""
        return subprocess.run(
            [*self._command(arguments[0]), *arguments[1:]],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def reload(self) -> dict[str, list[str]]:
        """Write the file and have it applied; returns what changed, without what did not, nor warnings."""
        self.write_config()
        done = self.command("reload", "--json")
        assert done.returncode == 0, done.stderr
        changed: Mapping[str, list[str]] = json.loads(done.stdout)
        return {what: names for what, names in changed.items() if names and what != "warnings"}

    def steer(self, command: str, target: str) -> None:
        """Drain or resume."""
        done = self.command(command, target)
        assert (done.returncode, done.stderr) == (0, "")

    def links(self) -> dict[str, str]:
        return {link["link"]: link["state"] for link in self.status()["links"]}

    def end(self) -> None:
        try:
            super().end()
        finally:
            self.other.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TwoCarriers]:
    world = TwoCarriers(tmp_path)
    with world:
        world.start()
        yield world


class SteadyTraffic(Traffic):
    """They submit without end, each with one session.

    A message that is refused, or a session that ends, ends its thread and fails the test.
    """

    def __init__(self, port: int, system_id: str = SYSTEM_ID) -> None:
        super().__init__(port)
        self._system_id = system_id

    def _work(self, number: int) -> None:
        try:
            with Application(self._port) as application:
                assert application.bind(system_id=self._system_id) == ROK
                while not self._stop.is_set():
                    response = application.submit(submit_sm(number))
                    assert response.command_status == ROK, CommandStatus(response.command_status)
                    with self._lock:
                        self.accepted.append(response.message_id)
                        self.receipts.update(application.receipts())
                with suppress(ConnectionError):  # a receipt may cross our goodbye: it comes again
                    application.unbind()
                with self._lock:
                    self.receipts.update(application.receipts())
        except (OSError, AssertionError) as error:
            with self._lock:
                self.failures.append(repr(error))


def end_well(world: TwoCarriers, traffic: Traffic) -> None:
    """Ends the gateway; each message was sent once and has its receipt, and no bind was lost."""
    assert traffic.failures == []
    accepted = set(traffic.accepted)
    with Application(world.port) as application:
        assert application.bind() == ROK
        while not traffic.receipts.union(application.receipts()) >= accepted:
            application.receive()
        application.unbind()
    assert world.carrier.report().submits + world.other.report().submits == len(accepted)
    report = world.stop()
    assert (report.accepted, report.open) == (len(accepted), 0)
    assert report.outcomes == {"delivered": len(accepted)}
    assert [carrier.report().lost_sessions for carrier in (world.carrier, world.other)] == [0, 0]


def test_changes_under_traffic(world: TwoCarriers) -> None:
    """Accounts and carriers come, change and go; no session drops, nothing is lost and nothing sent twice."""
    with SteadyTraffic(world.port) as traffic:
        traffic.await_more(MESSAGES)
        world.more_carriers = [world.other_table]
        world.add_account("jiaoguan", PASSWORD, rate_per_s=5)
        assert world.reload() == {"accounts_added": ["jiaoguan"], "carriers_added": [OTHER]}
        traffic.await_more(MESSAGES)
        world.tables["carrier"] |= {"rate_per_s": 2_000, "window": 32, "throttle_pause_s": 2}
        world.more_accounts.clear()
        assert world.reload() == {"accounts_removed": ["jiaoguan"], "carriers_changed": [CARRIER]}
        traffic.await_more(MESSAGES)
        assert world.carrier.report().binds == 2
        first, world.tables["carrier"] = world.tables["carrier"], world.other_table
        world.more_carriers.clear()
        assert world.reload() == {"carriers_removed": [CARRIER]}
        traffic.await_more(MESSAGES)
        world.tables["carrier"] = first
        assert world.reload() == {"carriers_added": [CARRIER], "carriers_removed": [OTHER]}
        traffic.await_more(MESSAGES)
        world.more_carriers = [world.other_table]  # it has kept some receipts
        assert world.reload() == {"carriers_added": [OTHER]}
    end_well(world, traffic)


def test_drains_under_traffic(world: TwoCarriers) -> None:
    world.more_carriers = [world.other_table]
    world.reload()
    until("it is bound", lambda: set(world.links().values()) == {"bound"})
    with SteadyTraffic(world.port) as traffic:
        for target in (f"{CARRIER}#0", f"{CARRIER}#1"):
            traffic.await_more(MESSAGES)
            world.steer("drain", target)
        assert world.links() == {f"{CARRIER}#0": "drained", f"{CARRIER}#1": "drained", f"{OTHER}#0": "bound"}
        traffic.await_more(MESSAGES)
        world.steer("resume", CARRIER)
        until("it is back", lambda: set(world.links().values()) == {"bound"})
        world.steer("drain", f"carrier:{OTHER}")
        traffic.await_more(MESSAGES)
        assert world.links() == {f"{CARRIER}#0": "bound", f"{CARRIER}#1": "bound", f"{OTHER}#0": "drained"}
        world.steer("resume", OTHER)  # it has kept some receipts
    end_well(world, traffic)


def test_another_rate_is_in_force_within_a_second(world: TwoCarriers) -> None:
    with SteadyTraffic(world.port) as traffic:
        traffic.await_more(MESSAGES)
        world.tables["carrier"]["rate_per_s"] = 50
        assert world.reload() == {"carriers_changed": [CARRIER]}
        before, began = world.carrier.report().submits, time.monotonic()
        until("150 more are sent", lambda: world.carrier.report().submits >= before + 150)
        assert time.monotonic() - began > 1.9  # a burst of 50, and then 50 a second
        world.tables["carrier"]["rate_per_s"] = 100_000
        world.reload()
    end_well(world, traffic)


def test_a_file_that_cannot_be_used_says_so_and_changes_nothing(world: TwoCarriers) -> None:
    binds = world.carrier.report().binds
    evidence = world.status()["evidence_records"]
    world.tables["account"]["rate_per_s"] = 1
    # The command reads the file too; what only the gateway can tell, it answers.
    for table, key, value, error in (
        (
            "listener",
            "port",
            world.port + 1,
            f"listener.port: {world.port + 1} instead of {world.port} needs",
        ),
        ("carrier", "password_file", "secrets/none", "carrier[cmcc].password_file: "),
        ("carrier", "colour", "red", "carrier[cmcc].colour: unknown key: "),
    ):
        was = dict(world.tables[table])
        world.tables[table][key] = value
        world.write_config()
        done = world.command("reload")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"jingxin: {world.config_file}: {error}")
        assert done.stderr.count("\n") == 1
        os.kill(world.pid, signal.SIGHUP)
        told = until("the log says why", lambda: refusals(world))
        assert told[-1].startswith(f"{world.config_file}: {error}")
        world.log_file.write_text("")  # what it said was meant; any other complaint is not
        world.tables[table] = was
    with Application(world.port) as application:
        assert application.bind() == ROK
        application.submit_all(submit_sm(number) for number in range(10))
        application.await_deliveries(10)
        application.unbind()
    assert (world.carrier.report().binds, world.carrier.report().submits) == (binds, 10)
    assert world.status()["evidence_records"] > evidence


def refusals(world: World) -> list[str]:
    lines = [json.loads(line) for line in world.log().splitlines() if line.startswith("{")]
    return [line["error"] for line in lines if line["event"] == "not reloaded"]


def test_accounts_by_signal(world: TwoCarriers) -> None:
    """A password, the networks, an account that comes and one that is drained."""
    world.add_account("jiaoguan", PASSWORD)
    world.write_secret(SYSTEM_ID, (world.directory / "secrets" / "jiaoguan").read_text())
    with ExitStack() as stack:
        standing, other = (stack.enter_context(Application(world.port)) for _ in range(2))
        assert standing.bind() == ROK
        world.add_account("oa", "another")
        world.write_secret(SYSTEM_ID, (world.directory / "secrets" / "oa").read_text())
        world.write_config()
        os.kill(world.pid, signal.SIGHUP)
        until("it is there", lambda: "oa" in world.status()["accounts"])
        assert other.bind() == CommandStatus.ESME_RINVPASWD
        assert other.bind(password="another") == ROK
        assert standing.submit(submit_sm(receipt=False)).command_status == ROK
        draining = threading.Thread(target=world.steer, args=("drain", SYSTEM_ID))
        draining.start()
        assert standing.closed_by_gateway()
        assert other.closed_by_gateway()
        draining.join()
        with Application(world.port) as again:
            assert again.bind(password="another") == CommandStatus.ESME_RBINDFAIL
            world.steer("resume", SYSTEM_ID)
            assert again.bind(password="another") == ROK
            world.tables["account"]["networks"] = ["198.51.100.0/24"]
            assert world.reload() == {"accounts_changed": [SYSTEM_ID]}
            assert again.closed_by_gateway()


def test_a_stop_in_the_middle_of_a_change(world: TwoCarriers) -> None:
    """Links that are on their way out, and files that are still being read, do not hold it up."""
    world.more_carriers = [world.other_table]
    world.reload()
    world.tables["carrier"] = world.other_table
    world.more_carriers.clear()
    world.write_config()
    for _ in range(3):
        os.kill(world.pid, signal.SIGHUP)
    world.stop()
