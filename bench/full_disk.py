"""The scenario of a disk that fills up while the gateway works, and gets room again."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import Any, Final

from bench.outcome import Bounds, Outcome
from bench.world import World
from gateway.trial import Child, TrialError, is_ready

_DISK_MIB: Final = 48
_SEGMENT_MIB: Final = 2

# The gateway meets the full disk at the segment ahead: two segments of 2,000 messages each may pass first.
_PATIENCE_S: Final = 30.0
_RATE_PER_S: Final = 800


class NoMount(Exception):
    """A small file system cannot be made here; the text says why."""


@contextmanager
def small_disk(octets: int) -> Iterator[Path]:
    """A file system of so many octets. Raises NoMount where this user may not mount one."""
    directory = Path(mkdtemp(prefix="jingxin-disk-"))
    options = f"size={octets},mode=0700"
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoMount(done.stderr.strip() or f"mount ended with status {done.returncode}")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)
    except FileNotFoundError as error:
        raise NoMount(f"{error.filename}: not found") from error
    finally:
        directory.rmdir()


def disk(*, short: bool) -> Outcome:
    """A disk that fills up while messages pass: refused with ESME_RSYSERR, nothing lost, and on it goes."""
    try:
        with small_disk(_DISK_MIB << 20) as state_dir:
            return _fill(state_dir, short=short)
    except NoMount as error:
        return Outcome(scenario="disk", short=short, skipped=f"no small disk: {error}")


def _fill(disk_dir: Path, *, short: bool) -> Outcome:
    bounds = Bounds()
    refused = 0
    with World(segment_mib=_SEGMENT_MIB, state_dir=str(disk_dir / "state")) as world:
        load = world.start_load(
            count=1_000_000, rate_per_s=_RATE_PER_S, window=400, progress_s=0.1, quiet_s=2.0
        )
        _wait(load, lambda line: line["accepted"] >= _RATE_PER_S)
        ballast = disk_dir / "ballast"
        _fill_up(ballast)
        full = _wait(load, lambda line: line["refused"].get("ESME_RSYSERR", 0) >= 100)
        ready_when_full = is_ready(world.http_port)
        # What was accepted before goes on to its end while new messages are refused.
        _wait(load, lambda line: line["receipts"] == line["accepted"])
        ballast.unlink()
        resumed = _wait(load, lambda line: line["accepted"] >= full["accepted"] + _RATE_PER_S)
        ready_again = is_ready(world.http_port)
        load.tell({"command": "finish"})
        report = world.finish_load(load, 60)
        refused = report.refused.pop("ESME_RSYSERR", 0)
        rest = world.end()
    bounds.sound(rest.findings, rest.verified)
    bounds.equal("ready_when_full", ready_when_full, False)
    bounds.equal("ready_again", ready_again, True)
    bounds.equal("refused_otherwise", sum(report.refused.values()), 0)
    bounds.equal("receipts", report.receipts, report.accepted)
    bounds.equal("uncertain", rest.findings.uncertain, 0)
    figures = {
        "accepted_until_full": full["accepted"],
        "refused_while_full": refused,
        "accepted_afterwards": report.accepted - resumed["accepted"] + _RATE_PER_S,
        "accepted": report.accepted,
        "receipts": report.receipts,
        "response_ms": report.response_ms,
    }
    return Outcome(scenario="disk", short=short, ok=not bounds.broken, broken=bounds.broken, figures=figures)


def _fill_up(ballast: Path) -> None:
    """Take all the room there is."""
    with ballast.open("wb", buffering=0) as file:
        for octets in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(octets)) == octets:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def _wait(load: Child, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first line of progress that has `reached` it. TrialError when none does in time."""
    deadline = monotonic() + _PATIENCE_S
    while not reached(line := load.read(_PATIENCE_S)):
        if line["event"] == "result" or monotonic() > deadline:
            raise TrialError(f"load: no progress: {line}")
    return line
