"""A gateway with its carriers and its load, as processes that a scenario can measure, cut and kill."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec

from bench.carrier_ledger import CarrierReport
from bench.carrier_options import CarrierOptions
from bench.check import Findings, check
from bench.load_ledger import LoadLedgerFile, LoadReport
from bench.load_options import LoadOptions
from bench.messages import NETWORKS
from gateway.control_client import ControlError, request
from gateway.ledger_daemon import NICE
from gateway.trial import (
    CARRIER_SYSTEM_ID,
    HOST,
    PASSWORD,
    SOURCE,
    SYSTEM_ID,
    Child,
    Keys,
    TrialCarrier,
    TrialError,
    TrialGateway,
    bench_command,
    free_ports,
    gateway_command,
    verify_evidence,
    wait_until_ready,
    write_configuration,
)
from storage.proofs.checkpoints import signed_records

_ANSWER_S: Final = 60.0
_LINKS_S: Final = 20.0
_LOOK_S: Final = 0.02
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

# More uncertain parts than a scenario can make: each carrier has at most two windows in flight at a kill.
_UNCERTAIN_MAX: Final = 10_000


# How the ledgers of load and carriers are compared (bench/check.py).
Check = Callable[[LoadLedgerFile, Sequence[CarrierReport], Collection[str]], Findings]


class Rest(NamedTuple):
    """What there is to see when a world has come to rest. verified: as of `World.verify`."""

    carriers: list[CarrierReport]
    uncertain: set[str]
    findings: Findings
    verified: tuple[bool, str]


class World:
    """One gateway, four carriers and at most one load at a time, in a directory of their own.

    The gateway has a core for itself, where there are two; carriers and load share another one.
    """

    def __init__(
        self,
        habits: Sequence[dict[str, Any]] = ({},),
        *,
        links: int = 2,
        link_window: int = 200,
        segment_mib: int = 256,
        sync_delay_s: float = 0.0,
        state_dir: str = "state",
        carrier_keys: Keys | None = None,
        account_keys: Keys | None = None,
        tables: str = "",
        activated: bool = False,
    ) -> None:
        """`habits`: options of the carriers, gone round for the four networks. `sync_delay_s`: what each sync
        of the evidence takes in addition. `carrier_keys`, `account_keys`, `tables`: more of the gateway's
        configuration: keys of every carrier and of the account, and further tables in TOML. `activated`: the
        world listens for its gateway, and hands the socket over, as systemd does."""
        self._habits = habits
        self._links = links
        self._link_window = link_window
        self._segment_mib = segment_mib
        self._sync_delay_s = sync_delay_s
        self._state_dir = state_dir
        self._carrier_keys = carrier_keys or {}
        self._account_keys = account_keys or {}
        self._tables = tables
        self._activated = activated
        self._listening: socket.socket | None = None
        self._stack = ExitStack()
        cores = sorted(os.sched_getaffinity(0))
        self._gateway_cores = cores[:1] if len(cores) > 1 else ()
        self._other_cores = cores[1:2]
        self._spent_s = 0.0  # CPU of the gateways that have ended

    def __enter__(self) -> Self:
        with self._stack:
            self.directory = Path(tempfile.mkdtemp(prefix="jingxin-bench-"))
            self._stack.callback(shutil.rmtree, self.directory)
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        options = [
            CarrierOptions(name=name, system_id=CARRIER_SYSTEM_ID, **self._habits[number % len(self._habits)])
            for number, name in enumerate(NETWORKS)
        ]
        self.carriers = Child(
            "carriers",
            bench_command("carrier", *options),
            self.directory / "carriers.log",
            cores=self._other_cores,
        )
        self._stack.callback(self.carriers.end)
        ports = self.carriers.read(_ANSWER_S)["ports"]
        self.port, self.http_port = free_ports(2)
        if self._activated:
            self._listening = self._stack.enter_context(socket.create_server((HOST, self.port), backlog=512))
        self.config = write_configuration(
            self.directory,
            TrialGateway(
                port=self.port,
                http_port=self.http_port,
                segment_mib=self._segment_mib,
                state_dir=self._state_dir,
                account_keys=self._account_keys,
                tables=self._tables,
            ),
            [
                TrialCarrier(
                    name=name,
                    network=name,
                    port=ports[name],
                    sessions=self._links,
                    window=self._link_window,
                    keys=self._carrier_keys,
                )
                for name in NETWORKS
            ],
        )
        self.start_gateway()
        self._stack.callback(lambda: self.gateway.end())
        self.wait_for_links()

    # -- the gateway ----------------------------------------------------------------------------------------

    def start_gateway(self) -> None:
        """Start it and return at once."""
        command = gateway_command("run", "-c", str(self.config))
        if self._sync_delay_s:
            command[1:3] = ["-m", "bench.slow_disk", str(self._sync_delay_s)]
        self.gateway = Child(
            "gateway",
            command,
            self.directory / "gateway.log",
            cores=self._gateway_cores,
            listening=self._listening,
        )

    def restart_gateway(self) -> None:
        """Ask it to end, in order, and start the next one."""
        self._spent_s += self._running_cpu_s()
        self.gateway.end()
        self.start_gateway()

    def kill_gateway(self) -> None:
        """kill -9."""
        self._spent_s += self._running_cpu_s()
        self.gateway.kill()

    # -- the ledger -----------------------------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        """Where evidence and proofs are."""
        return self.config.parent / self._state_dir

    def start_ledger(self) -> None:
        """Start a ledger by itself, not on the gateway's core."""
        command = gateway_command("ledger", "-c", str(self.config))
        log = self.directory / "ledger.log"
        self.ledger = Child("ledger", command, log, cores=self._other_cores)
        self._stack.callback(self.ledger.end)

    def end_ledger(self) -> None:
        """Ask it to end, once it has signed what there is."""
        self.ledger.end()

    def start_counting(self) -> None:
        """Start what needs a core and nothing else, where and as the ledger would be."""
        code = f"import os\nos.nice({NICE})\nwhile True: pass"
        log = self.directory / "counting.log"
        self.counting = Child("counting", [sys.executable, "-c", code], log, cores=self._other_cores)
        self._stack.callback(self.counting.kill)

    def end_counting(self) -> None:
        self.counting.kill()

    def signed_records(self) -> int:
        """How many records the newest checkpoint speaks of."""
        return signed_records(self.state_dir / "proofs")

    # -- the gateway's neighbours ---------------------------------------------------------------------------

    def wait_for_links(self) -> None:
        """Return when the gateway is ready and every link is bound."""
        wait_until_ready(self.gateway, self.http_port)
        deadline = monotonic() + _LINKS_S
        while any(link["state"] != "bound" for link in self.ask("status")["links"]):
            if monotonic() > deadline:
                raise TrialError(f"gateway: not all links are bound: {self.gateway.last_words()}")
            sleep(_LOOK_S)

    def wait_for_sessions(self) -> None:
        """Return when an application is bound."""
        deadline = monotonic() + _LINKS_S
        while not any(account["sessions"] for account in self.ask("status")["accounts"].values()):
            if monotonic() > deadline:
                raise TrialError(f"gateway: no application has bound: {self.gateway.last_words()}")
            sleep(_LOOK_S)

    def ask(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """One command over the control socket."""
        try:
            return request(self.state_dir / "control.sock", command, arguments)
        except ControlError as error:
            raise TrialError(str(error)) from error

    def uncertain(self) -> set[str]:
        """The ids of the uncertain parts."""
        answer = self.ask("uncertain_list", {"limit": _UNCERTAIN_MAX})
        return {part["id"] for part in answer["parts"]}

    def end(self, compare: Check = check) -> Rest:
        """Ends the gateway in order, once the load is finished; what its carriers, its lists and its evidence
        say."""
        carriers, uncertain = self.carrier_reports(), self.uncertain()
        findings = compare(self.load_ledger(), carriers, uncertain)
        self.gateway.end()
        return Rest(carriers, uncertain, findings, self.verify())

    def verify(self) -> tuple[bool, str]:
        """Whether `jingxin evidence verify` passes, and what it says."""
        return verify_evidence(self.config)

    @property
    def cpu_s(self) -> float:
        """CPU that the gateway has used, all of its lives and threads together; right within 10 ms."""
        return self._spent_s + self._running_cpu_s()

    def _running_cpu_s(self) -> float:
        stat = Path(f"/proc/{self.gateway.process.pid}/stat").read_text(encoding="ascii")
        # proc(5): utime and stime are fields 14 and 15; the name, field 2, may hold blanks.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    @property
    def rss_mib(self) -> float:
        """Memory that the gateway has now."""
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    # -- carriers and load ----------------------------------------------------------------------------------

    def carrier_reports(self) -> list[CarrierReport]:
        """The ledgers of the four carriers as they stand."""
        carriers = self.carriers.ask({"command": "report"}, _ANSWER_S)["carriers"]
        return [msgspec.convert(carriers[name], CarrierReport) for name in NETWORKS]

    def cut_carriers(self) -> int:
        """Abort every connection of the carriers; returns how many there were."""
        sessions: int = self.carriers.ask({"command": "cut"}, _ANSWER_S)["sessions"]
        return sessions

    def tell_carriers(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command to the simulator (bench/carrier_commands.py); its answer."""
        answer = self.carriers.ask({"command": command, **arguments}, _ANSWER_S)
        if answer["event"] == "error":
            raise TrialError(f"carriers: {answer['error']}")
        return answer

    def start_load(self, name: str = "load", **options: Any) -> Child:
        """Start a load generator; `options` are those of LoadOptions, but for where to bind and as whom."""
        load = LoadOptions(
            port=self.port,
            system_id=SYSTEM_ID,
            password=PASSWORD,
            source=f"{SOURCE}001",
            ledger=str(self._ledger_path(name)),
            **options,
        )
        child = Child(
            name, bench_command("load", load), self.directory / f"{name}.log", cores=self._other_cores
        )
        self._stack.callback(child.end)
        return child

    def finish_load(self, load: Child, timeout_s: float) -> LoadReport:
        """Wait for the result of the load. TrialError when it failed."""
        deadline = monotonic() + timeout_s
        while (line := load.read(max(0.1, deadline - monotonic())))["event"] != "result":
            pass
        report = msgspec.convert(line, LoadReport)
        if report.failure:
            raise TrialError(f"load: {report.failure}")
        return report

    def load_ledger(self, name: str = "load") -> LoadLedgerFile:
        """What became of each message, by a load generator's account, after its end."""
        return msgspec.json.decode(self._ledger_path(name).read_bytes(), type=LoadLedgerFile)

    def _ledger_path(self, name: str) -> Path:
        return self.directory / f"{name}-ledger.json"
