"""A world of its own for a test: a directory, keys, passwords, a simulated carrier, the gateway as a process.

Everything is reached from outside, as an application, a carrier and an operator reach it. A gateway that
stops on request must exit with 0, leave evidence that verifies, and have no error in its log; `stop` asserts
it, so every test does.

Waiting is polling with a deadline: nothing here sleeps longer than it must.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec

from bench.carrier_ledger import CarrierReport
from bench.carrier_options import CarrierOptions
from gateway.control_client import request
from gateway.password import hash_password
from storage.history import VerifyReport
from storage.keys import initialise_master_key
from storage.verify import verify

HOST: Final = "127.0.0.1"
SYSTEM_ID: Final = "hukou"
PASSWORD: Final = "secret"
SOURCE: Final = "10639110"
CARRIER: Final = "cmcc"

REPOSITORY: Final = Path(__file__).resolve().parents[2]

# Both bounds are for a machine that does many other things meanwhile; a quiet one needs a tenth.
START_S: Final = 20.0
STOP_S: Final = 25.0
_POLL_S: Final = 0.01

# Below the ports that Linux gives to outgoing connections, so that no client takes one that a restart needs.
_PORTS: Final = range(20_000, 32_000)

Value = TypeVar("Value")
Table = Mapping[str, object]


def until(what: str, look: Callable[[], Value | None], timeout_s: float = 10.0) -> Value:
    """What `look` gives as soon as it is true. AssertionError naming `what` when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not (value := look()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(_POLL_S)
    return value


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free port")


@functools.cache
def _hash_line(password: str) -> str:
    return hash_password(password.encode())


class SimulatedCarrier:
    """bench/carrier.py as a process of its own, on one port for all its lives."""

    def __init__(self, port: int, options: Table) -> None:
        self.port = port
        self.options = {
            "name": CARRIER,
            "port": port,
            "password": PASSWORD,
            "receipt_delay_s": 0.01,
            "kept_max": 10_000,
            **options,
        }
        msgspec.convert(self.options, CarrierOptions)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "bench", "carrier", json.dumps(self.options)]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._line()["event"] == "listening"

    def report(self) -> CarrierReport:
        """The carrier's own account of what came to pass."""
        return msgspec.convert(self._ask(command="report")["carriers"][CARRIER], CarrierReport)

    def reply(self, subscriber: str, destination: str, text: str) -> None:
        """A subscriber sends a message to the application at `destination`."""
        line = self._ask(
            command="reply", carrier=CARRIER, subscriber=subscriber, destination=destination, text=text
        )
        assert line == {"event": "reply"}

    def kept(self, destination: str) -> list[bytes]:
        """The submit_sm frames that went to `destination`, as the carrier got them."""
        field = b"\0" + destination.encode() + b"\0"
        frames = [bytes.fromhex(frame) for frame in self.report().kept]
        return [frame for frame in frames if b"\1" + field[1:] in frame or field in frame]

    def stop(self) -> None:
        """Ends the process; its connections are cut."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=STOP_S)  # at the end of its input it says its last line and ends
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise

    def _ask(self, **command: object) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line


class World:
    """A gateway and what is around it. The carrier runs from the construction, the gateway from `start`."""

    def __init__(
        self,
        directory: Path,
        tables: Mapping[str, Table] | None = None,
        *,
        carrier: Table | None = None,
        carrier_up: bool = True,
        state_dir: Path | None = None,
    ) -> None:
        """`tables`: what to change in the configuration; "account" and "carrier" name those of the world.
        `carrier`: what to change in CarrierOptions. `carrier_up`: False leaves its port to others."""
        self.directory = directory
        self.state_dir = state_dir or directory / "state"
        self.config_file = directory / "jingxin.toml"
        self.log_file = directory / "gateway.log"
        self.options: tuple[str, ...] = ()  # of `jingxin run`
        self.port, self.http_port, carrier_port = free_ports(3)
        self.carrier = SimulatedCarrier(carrier_port, carrier or {})
        self.tables: dict[str, dict[str, object]] = {
            "gateway": {"name": "test-gw", "state_dir": str(self.state_dir)},
            "listener": {"port": self.port},
            "http": {"port": self.http_port},
            # Zeroed in a moment, and enough for a hundred thousand records.
            "evidence": {"master_key_file": "secrets/master", "segment_mib": 32},
            "account": {
                "system_id": SYSTEM_ID,
                "password_file": f"secrets/{SYSTEM_ID}",
                "networks": ["127.0.0.1/32"],
                "sources": [SOURCE],
                "rate_per_s": 100_000,
            },
            "carrier": {
                "name": CARRIER,
                "network": "mobile",
                "host": HOST,
                "port": carrier_port,
                "system_id": "gw",
                "password_file": f"secrets/{CARRIER}",
                "sessions": 2,
                "window": 64,
                "rate_per_s": 100_000,
                "reconnect_min_s": 0.1,
                "reconnect_max_s": 0.5,
            },
        }
        for name, table in (tables or {}).items():
            self.tables.setdefault(name, {}).update(table)
        self.more_accounts: list[Table] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._write_secrets()
        if carrier_up:
            self.carrier.start()

    # -- files ----------------------------------------------------------------------------------------------

    def _write_secrets(self) -> None:
        secrets = self.directory / "secrets"
        secrets.mkdir(exist_ok=True)
        self.write_secret(SYSTEM_ID, _hash_line(PASSWORD) + "\n")
        self.write_secret(CARRIER, PASSWORD + "\n")
        if not (secrets / "master").exists():
            initialise_master_key(secrets / "master")

    def write_secret(self, name: str, text: str) -> None:
        path = self.directory / "secrets" / name
        path.touch(0o600)
        path.write_text(text)

    def add_account(self, system_id: str, password: str, **changes: object) -> None:
        """Another account like the first one, but for `changes`; before `start`."""
        self.write_secret(system_id, _hash_line(password) + "\n")
        table = {"system_id": system_id, "password_file": f"secrets/{system_id}", **changes}
        self.more_accounts.append({**self.tables["account"], **table})

    def write_config(self) -> None:
        arrays: dict[str, list[Table]] = {
            "account": [self.tables["account"], *self.more_accounts],
            "carrier": [self.tables["carrier"]],
        }
        lines: list[str] = []
        for name, table in self.tables.items():
            for entry in arrays.get(name, [table]):
                lines.append(f"[[{name}]]" if name in arrays else f"[{name}]")
                # A JSON value of these types is a TOML value too.
                lines += [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
        self.config_file.write_text("\n".join(lines) + "\n")

    # -- the gateway's life ---------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, ready: bool = True) -> None:
        """Returns when /readyz says ready, or without `ready`, when applications can connect."""
        self.write_config()
        self._log = self.log_file.open("ab")
        self._process = subprocess.Popen(
            [*self._command("run"), *self.options],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        until("the gateway is ready", lambda: self._alive() and self.readiness()[0 if ready else 1], START_S)

    def _command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "gateway", name, "-c", str(self.config_file)]

    def _alive(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the gateway ended with {self._process.returncode}"
        return True

    def run_to_its_end(
        self, name: str = "run", timeout_s: float = START_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a world that does not let the gateway start."""
        self.write_config()
        return subprocess.run(
            self._command(name),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._process is not None
        self._process.terminate()

    def stop(self) -> VerifyReport:
        """SIGTERM; asserts exit status 0, sound evidence and a log without errors."""
        self.terminate()
        assert self._process is not None
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._forget()
        assert status == 0
        report = self.verify()
        assert report.sound, report
        assert self.complaints() == []
        return report

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def end(self) -> None:
        """Ends everything that still runs, and says what the gateway said: shown for tests that fail."""
        try:
            if self._process is not None:
                self.stop()
        finally:
            self.carrier.stop()
            if self.log_file.exists():
                sys.stdout.write(f"--- {self.log_file.name}\n{self.log()[-20_000:]}\n")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # -- what it says ---------------------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_file.read_text()

    def complaints(self) -> list[str]:
        """Lines of the log that no test should bring about: errors, tracebacks, words of libraries."""
        return [
            line
            for line in self.log().splitlines()
            if not line.startswith("{") or json.loads(line)["level"] in ("error", "critical")
        ]

    def verify(self) -> VerifyReport:
        return verify(self.state_dir / "evidence")

    def readiness(self) -> tuple[bool, dict[str, bool]]:
        """Whether /readyz says 200, and which of its conditions are met; empty while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/readyz", timeout=5) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as unready:
            with unready:
                status, body = unready.code, unready.read()
        except (urllib.error.URLError, ConnectionError):
            return False, {}
        assert status in (200, 503)
        conditions = json.loads(body)["conditions"]
        met = {condition["name"]: condition["met"] for condition in conditions}
        return status == 200, met if met["listener"] else {}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def status(self) -> dict[str, Any]:
        """What `jingxin status` shows."""
        return request(self.state_dir / "control.sock", "status")

    def rss_mib(self) -> float:
        """Resident memory of the gateway."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
