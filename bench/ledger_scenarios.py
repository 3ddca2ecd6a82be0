"""What the ledger costs the gateway, and whether it keeps up with it."""

from __future__ import annotations

from statistics import median
from time import monotonic, process_time, sleep
from typing import Final

from bench.outcome import Bounds, Outcome, figures_of, outcome
from bench.world import World
from gateway.trial import TrialError
from storage.proofs.note import LOG
from storage.proofs.signing_key import make_signing_key, public_path, read_verifier_key
from storage.proofs.verify_tree import Proofs
from storage.reader import LogReader
from storage.segment import FIRST_INDEX
from storage.verify import verify

# How much more CPU a message may cost the gateway while a ledger reads what it writes, on another core.
CPU_SHARE_MAX: Final = 1.03
VERIFIED_PER_S_MIN: Final = 500_000

_CAUGHT_UP_S: Final = 30.0
_LOOK_S: Final = 0.2


def ledger(*, short: bool) -> Outcome:
    """Loads at full speed, in turns without a ledger, with one, which then has signed all of it, and with a
    process in its place that only counts: what that costs the gateway is the machine's doing."""
    bounds = Bounds()
    turns, count = (1, 2_000) if short else (9, 30_000)
    costs: dict[str, list[float]] = {"nothing": [], "ledger": [], "counting": []}
    sent = 0
    with World() as world:
        signing_key = world.directory / "secrets" / "signing"
        make_signing_key(signing_key, "trial", LOG)
        world.finish_load(world.start_load(count=2000), 60)
        sent += 2000
        for _ in range(turns):
            for beside, spent in costs.items():
                if beside == "ledger":
                    world.start_ledger()
                elif beside == "counting":
                    world.start_counting()
                before_s = world.cpu_s
                load = world.start_load(count=count, first=sent, sessions=4, window=100)
                report = world.finish_load(load, 120)
                spent.append((world.cpu_s - before_s) / count * 1e6)
                sent += count
                bounds.complete(report, count)
                if beside == "ledger":
                    behind_s = _wait_until_signed(world)
                    world.end_ledger()
                elif beside == "counting":
                    world.end_counting()
        world.gateway.end()
        world.start_ledger()
        _wait_until_signed(world)  # the end of the gateway too
        world.end_ledger()
        proofs = Proofs(world.state_dir / "proofs", read_verifier_key(public_path(signing_key)))
        found = verify(world.state_dir / "evidence", proofs=proofs)
    bounds.equal("damage", found.damage is not None, False)
    bounds.equal("signed", 0 if found.proven is None else found.proven.size, found.records)
    without, with_ledger, with_counting = (median(costs[each]) for each in ("nothing", "ledger", "counting"))
    if not short:
        bounds.at_most("cpu_share", round(with_ledger / without, 3), CPU_SHARE_MAX)
    figures = {
        "gateway_cpu_us_without": round(without, 1),
        "gateway_cpu_us": round(with_ledger, 1),
        "cpu_share": round(with_ledger / without, 3),
        "cpu_share_counting": round(with_counting / without, 3),
        "turns": {name: [round(each, 1) for each in spent] for name, spent in costs.items()},
        "signed_behind_s": round(behind_s, 2),
        "records": found.records,
        "checkpoints": 0 if found.proven is None else found.proven.checkpoints,
        **figures_of(report),
    }
    return outcome("ledger", short=short, bounds=bounds, figures=figures)


def verification(*, short: bool) -> Outcome:
    """The offline check of what a gateway wrote and a ledger signed: records for each second of one core."""
    bounds = Bounds()
    turns, count = (1, 2_000) if short else (5, 100_000)
    with World() as world:
        signing_key = world.directory / "secrets" / "signing"
        make_signing_key(signing_key, "trial", LOG)
        world.finish_load(world.start_load(count=2000), 60)
        before_s = world.cpu_s
        report = world.finish_load(world.start_load(count=count, first=2000, sessions=4, window=100), 120)
        gateway_us = (world.cpu_s - before_s) / count * 1e6
        world.gateway.end()
        world.start_ledger()
        _wait_until_signed(world)
        world.end_ledger()
        key = read_verifier_key(public_path(signing_key))
        spent = []
        for _ in range(turns):
            before_s = process_time()
            found = verify(world.state_dir / "evidence", proofs=Proofs(world.state_dir / "proofs", key))
            spent.append((process_time() - before_s) / found.records)
    bounds.complete(report, count)
    bounds.equal("sound", found.sound, True)
    bounds.equal("signed", 0 if found.proven is None else found.proven.size, found.records)
    records_per_s = round(1 / median(spent))
    if not short:
        bounds.at_least("records_per_s", records_per_s, VERIFIED_PER_S_MIN)
    figures = {
        "records_per_s": records_per_s,
        "turns_us": [round(each * 1e6, 2) for each in spent],
        "gateway_cpu_us": round(gateway_us, 1),  # how fast the machine is
        "records": found.records,
        "octets": found.octets,
    }
    return outcome("verify", short=short, bounds=bounds, figures=figures)


def _wait_until_signed(world: World) -> float:
    """Seconds until everything that is durable now is signed."""
    with LogReader(world.state_dir / "evidence") as reader:
        records = reader.next_index - FIRST_INDEX
    start = monotonic()
    while world.signed_records() < records:
        if monotonic() - start > _CAUGHT_UP_S:
            raise TrialError(f"ledger: {records} records, {world.signed_records()} are signed")
        sleep(_LOOK_S)
    return monotonic() - start
