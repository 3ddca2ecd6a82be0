"""A gateway to try things with: a directory with everything in it, and the processes around it.

The demo uses it, and so do the benchmarks.  Nothing of it is meant for messages that matter: the accounts and
their passwords are made up on the spot.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import msgspec

from gateway.password import hash_password
from storage.keys import initialise_master_key

HOST: Final = "127.0.0.1"
SYSTEM_ID: Final = "demo"
PASSWORD: Final = "demo"  # noqa: S105 - of a gateway that lives for minutes and listens on this host only
SOURCE: Final = "10639110"
CARRIER_SYSTEM_ID: Final = "gw"

# Bounds on what a process may take. A gateway restores some 100,000 open parts a second at its start.
_READY_S: Final = 60.0
_END_S: Final = 30.0
_LOOK_S: Final = 0.02


Keys = Mapping[str, str | int | float | bool | list[str]]


class TrialError(Exception):
    """The trial cannot go on; the message is one line."""


class TrialCarrier(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier account in the trial's configuration.  keys: further ones, and others in place of these."""

    name: str
    network: str
    port: int
    sessions: int = 2
    window: int = 100
    rate_per_s: int = 100_000
    keys: Keys = {}


class TrialGateway(msgspec.Struct, frozen=True, kw_only=True):
    """The rest of the trial's configuration; its rates are as high as a configuration may have them.

    account_keys: further keys of the account.  tables: further tables, in TOML.
    """

    port: int
    http_port: int
    rate_per_s: int = 100_000
    account_window: int = 1000
    report_window: int = 400
    segment_mib: int = 256
    response_timeout_s: float = 10.0
    state_dir: str = "state"
    account_keys: Keys = {}
    tables: str = ""


def write_configuration(directory: Path, gateway: TrialGateway, carriers: Sequence[TrialCarrier]) -> Path:
    """Puts configuration, passwords and master key into `directory`; returns the configuration's path."""
    secrets = directory / "secrets"
    secrets.mkdir(mode=0o700)
    _write_secret(secrets / "account", hash_password(PASSWORD.encode()))
    _write_secret(secrets / "carrier", "secret")
    initialise_master_key(secrets / "master")
    tables = [
        f"""[gateway]
name = "trial"
state_dir = "{gateway.state_dir}"

[listener]
host = "{HOST}"
port = {gateway.port}

[http]
host = "{HOST}"
port = {gateway.http_port}

[evidence]
master_key_file = "secrets/master"
segment_mib = {gateway.segment_mib}

[[account]]
system_id = "{SYSTEM_ID}"
password_file = "secrets/account"
networks = ["127.0.0.1/32"]
sources = ["{SOURCE}"]
sessions_max = 64
window = {gateway.account_window}
report_window = {gateway.report_window}
rate_per_s = {gateway.rate_per_s}
{_toml(gateway.account_keys)}"""
    ]
    for carrier in carriers:
        keys: Keys = {
            "name": carrier.name,
            "network": carrier.network,
            "host": HOST,
            "port": carrier.port,
            "system_id": CARRIER_SYSTEM_ID,
            "password_file": "secrets/carrier",
            "sessions": carrier.sessions,
            "window": carrier.window,
            "rate_per_s": carrier.rate_per_s,
            "response_timeout_s": gateway.response_timeout_s,
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 1.0,
        }
        tables.append("[[carrier]]\n" + _toml({**keys, **carrier.keys}))
    tables.append(gateway.tables)
    path = directory / "gateway.toml"
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def _toml(keys: Keys) -> str:
    """Keys and values as TOML has them, which for these types is as JSON has them."""
    return "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in keys.items())


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="ascii")


def free_port(preferred: int = 0) -> int:
    """`preferred` if nobody has it, otherwise a port that is free now; another process may still take it."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As the gateway will: a port whose last connection has just ended counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise TrialError(f"no port is free on {HOST}: stop something that listens there")


def free_ports(count: int) -> list[int]:
    """So many ports that are free now, no two the same."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


class Child:
    """A process of the trial, in a session of its own: Ctrl-C reaches the starter, who ends things in order.

    It ends when its starter is gone, however that happened. What it says on standard error stands in `log`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        cores: Collection[int] = (),
        listening: socket.socket | None = None,
    ) -> None:
        """`cores`: those it may run on; none: all. `listening`: a socket that is handed over to it, as
        systemd does."""
        descriptors = () if listening is None else (listening.fileno(),)
        leash = [sys.executable, "-m", "gateway.leash", str(os.getpid()), ",".join(map(str, cores))]
        leash += map(str, descriptors or ("",))
        self.name = name
        self.log = log
        self._rest = b""
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*leash, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                pass_fds=descriptors,
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def read(self, timeout_s: float) -> dict[str, Any]:
        """The next line of JSON that it says. TrialError when none comes in time, or it has ended."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = monotonic() + timeout_s
        chunks = [self._rest]
        while b"\n" not in chunks[-1]:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                self._rest = b"".join(chunks)
                raise TrialError(f"{self.name}: silent for {timeout_s:g} s: look into {self.log}")
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise TrialError(f"{self.name}: ended with status {self.process.wait()}: {self.last_words()}")
            chunks.append(chunk)
        line, _, self._rest = b"".join(chunks).partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer

    def tell(self, command: Mapping[str, Any]) -> None:
        """Write one line of JSON to its standard input."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(msgspec.json.encode(command) + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise TrialError(f"{self.name}: has ended: {self.last_words()}") from error

    def ask(self, command: Mapping[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
        """Write a command, and read the line that answers it."""
        self.tell(command)
        return self.read(timeout_s)

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"{self.log} is empty"

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.communicate()

    def end(self, timeout_s: float = _END_S) -> int:
        """Ask it to end, and kill it if it does not in time; returns its exit status."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                # What it still says is read, or it would wait for a reader for ever.
                self.process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.wait()


def gateway_command(*arguments: str) -> list[str]:
    """The command line of `jingxin`, with the interpreter that runs now."""
    return [sys.executable, "-m", "gateway", *arguments]


def bench_command(command: str, *options: msgspec.Struct | Mapping[str, Any]) -> list[str]:
    """The command line of the simulator or the load generator, each option a JSON object."""
    return [sys.executable, "-m", "bench", command, *(msgspec.json.encode(each).decode() for each in options)]


def wait_until_ready(gateway: Child, http_port: int, timeout_s: float = _READY_S) -> None:
    """Return when /readyz says so. TrialError when the gateway ends or takes too long."""
    deadline = monotonic() + timeout_s
    while not is_ready(http_port):
        if not gateway.alive:
            raise TrialError(f"{gateway.name}: did not start: {gateway.last_words()}")
        if monotonic() > deadline:
            raise TrialError(f"{gateway.name}: not ready after {timeout_s:g} s: {gateway.last_words()}")
        sleep(_LOOK_S)


def is_ready(http_port: int) -> bool:
    """What /readyz says now; False also when nobody answers."""
    connection = http.client.HTTPConnection(HOST, http_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def verify_evidence(config: Path) -> tuple[bool, str]:
    """Runs `jingxin evidence verify`; returns whether it passed, and what it said."""
    done = subprocess.run(
        gateway_command("evidence", "verify", "-c", str(config)), capture_output=True, text=True, check=False
    )
    return done.returncode == 0, (done.stdout + done.stderr).strip()
