"""`jingxin demo`: the gateway at its work, with four simulated carriers and an application around it.

Everything lies in a temporary directory, which stays: the evidence in it can be looked at afterwards.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gateway.config import read, signing_key_file
from gateway.trial import (
    CARRIER_SYSTEM_ID,
    HOST,
    PASSWORD,
    SOURCE,
    SYSTEM_ID,
    Child,
    TrialCarrier,
    TrialError,
    TrialGateway,
    bench_command,
    free_port,
    gateway_command,
    verify_evidence,
    wait_until_ready,
    write_configuration,
)
from storage.proofs.note import LOG
from storage.proofs.signing_key import make_signing_key

PORT: Final = 2775
HTTP_PORT: Final = 9464

# Ten seconds: long enough to watch, short enough to wait for.
MESSAGES: Final = 6000
RATE_PER_S: Final = 600

# Small, since the directory stays behind.
_SEGMENT_MIB: Final = 16
_SILENT_S: Final = 30.0

# Each carrier with a habit of its own, as in the field: how it writes ids, where receipts come back, what it
# says when a message fails (MK:0001 is CMPP's code for "no such subscriber").
_COMMON: Final = {
    "system_id": CARRIER_SYSTEM_ID,
    "response_delay_s": 0.004,
    "response_jitter_s": 0.012,
    "receipt_delay_s": 0.15,
    "receipt_jitter_s": 0.6,
}
_CARRIERS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "cmcc": ("mobile", "移动", {"ids": "decimal", "stats": {"MK:0001": 0.010}}),
    "cucc": ("unicom", "联通", {"ids": "hex_decimal", "stats": {"UNDELIV": 0.012}}),
    "ctcc": ("telecom", "电信", {"ids": "twenty_digits", "receipt_session": "other"}),
    "cbn": ("broadnet", "广电", {"ids": "uuid", "stats": {"EXPIRED": 0.005}, "receipts_first": 0.1}),
}


class _Interrupted(Exception):
    """Ctrl-C, or SIGTERM."""


def run(*, serve: bool) -> int:
    """The whole demo, or with `serve` a gateway to bind to until Ctrl-C; returns the exit status."""
    console = Console()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _Interrupted

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _Demo(console).run(serve=serve)
    except TrialError as error:
        print(f"jingxin: demo: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    except _Interrupted:
        return 130
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class _Demo:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.directory = Path(tempfile.mkdtemp(prefix="jingxin-demo-"))
        self.port = free_port(PORT)
        self.http_port = free_port(HTTP_PORT)
        for wanted, got in ((PORT, self.port), (HTTP_PORT, self.http_port)):
            if got != wanted:
                console.print(f"port {wanted} is taken: using {got}")

    def run(self, *, serve: bool) -> int:
        interrupted = False
        report: dict[str, Any] = {}
        with ExitStack() as children:
            # The gateway ends before the carriers, so that nothing is in flight when they go.
            carriers = self._start_carriers()
            children.callback(carriers.end)
            gateway = Child("gateway", gateway_command("run", "-c", str(self.config)), self._log("gateway"))
            children.callback(gateway.end)
            wait_until_ready(gateway, self.http_port)
            try:
                if serve:
                    self._serve(gateway)
                else:
                    report = self._send(children)
            except _Interrupted:
                interrupted = True
                self.console.print("ending …")
        if report:
            self._show(report)
        passed, said = verify_evidence(self.config)
        self.console.print(f"evidence in {self.directory / 'state' / 'evidence'}", soft_wrap=True)
        verdict = "passed" if passed else "FAILED"
        self.console.print(f"jingxin evidence verify -c {self.config}: {verdict}", soft_wrap=True)
        shown = [line for line in said.splitlines() if not passed or line.startswith("proven")]
        self.console.print("\n".join(shown), markup=False, soft_wrap=True)
        complete = serve or (bool(report) and report["receipts"] == report["accepted"] == MESSAGES)
        if not complete and not interrupted:
            self.console.print("not every message has its receipt", style="red")
        if interrupted and not serve:
            return 130
        return 0 if passed and complete else 1

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _start_carriers(self) -> Child:
        options = [{"name": name, **_COMMON, **habit} for name, (_, _, habit) in _CARRIERS.items()]
        carriers = Child("carriers", bench_command("carrier", *options), self._log("carriers"))
        ports = carriers.read(_SILENT_S)["ports"]
        self.config = write_configuration(
            self.directory,
            TrialGateway(port=self.port, http_port=self.http_port, segment_mib=_SEGMENT_MIB),
            [
                TrialCarrier(name=name, network=network, port=ports[name])
                for name, (network, _, _) in _CARRIERS.items()
            ],
        )
        tables = read(self.config)
        make_signing_key(signing_key_file(tables), tables.gateway.name, LOG)
        return carriers

    # -- the application ------------------------------------------------------------------------------------

    def _send(self, children: ExitStack) -> dict[str, Any]:
        """Send the messages, and wait for their receipts."""
        options = {
            "port": self.port,
            "system_id": SYSTEM_ID,
            "password": PASSWORD,
            "source": f"{SOURCE}001",
            "sessions": 2,
            "rate_per_s": RATE_PER_S,
            "count": MESSAGES,
            "progress_s": 0.1,
        }
        load = Child("application", bench_command("load", options), self._log("application"))
        children.callback(load.end)
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("remaining"),
        )
        with Progress(*columns, console=self.console) as progress:
            accepted = progress.add_task("accepted", total=MESSAGES)
            receipts = progress.add_task("receipts", total=MESSAGES)
            while (line := load.read(_SILENT_S))["event"] == "progress":
                progress.update(accepted, completed=line["accepted"])
                progress.update(receipts, completed=line["receipts"])
            progress.update(accepted, completed=line["accepted"])
            progress.update(receipts, completed=line["receipts"])
        if line["failure"]:
            raise TrialError(f"application: {line['failure']}: look into {self.directory}")
        return line

    def _show(self, report: dict[str, Any]) -> None:
        title = f"{report['receipts']:,} receipts for {report['submitted']:,} messages"
        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("carrier")
        for heading in ("submitted", "accepted", "delivered", "failed"):
            table.add_column(heading, justify="right")
        table.add_column("submit→\nresponse, ms\np50 / p99", justify="right")
        table.add_column("submit→\nreceipt, ms\np50 / p99", justify="right")
        for name, (network, title, _) in _CARRIERS.items():
            row = report["networks"][network]
            table.add_row(
                f"{name} {title}",
                *(f"{row[key]:,}" for key in ("submitted", "accepted", "delivered", "failed")),
                f"{row['response_ms']['p50']:,.1f} / {row['response_ms']['p99']:,.1f}",
                f"{row['receipt_ms']['p50']:,.0f} / {row['receipt_ms']['p99']:,.0f}",
            )
        self.console.print(table)

    # -- serve ----------------------------------------------------------------------------------------------

    def _serve(self, gateway: Child) -> None:
        """Stay up until Ctrl-C."""
        grid = Table.grid(padding=(0, 2))
        for key, value in (
            ("host", HOST),
            ("port", str(self.port)),
            ("system_id", SYSTEM_ID),
            ("password", PASSWORD),
            ("source", f"{SOURCE}, and up to 12 digits more"),
            ("destination", "any Chinese mobile number, such as 13800138000"),
            ("metrics", f"http://{HOST}:{self.http_port}/metrics"),
            ("status", f"jingxin status -c {self.config}"),
            ("log", str(gateway.log)),
        ):
            grid.add_row(key, value)
        self.console.print("A gateway with four simulated carriers is up. Bind as transceiver to:")
        self.console.print(grid, soft_wrap=True)
        self.console.print("Ctrl-C ends it.")
        status = gateway.process.wait()
        raise TrialError(f"gateway: ended with status {status}: {gateway.last_words()}")
