"""Ten million messages in the ledger: made under kills, settled, searched."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import msgspec

from bench.outcome import Bounds, Outcome, outcome
from bench.past import SUBSCRIBERS, Past, Written, number_hash
from storage.ledger.ledger import BATCH_RECORDS, LEDGER_NAME, dump, read_ledger, rebuild
from storage.ledger.schema import table
from storage.ledger.search import Wanted, search
from storage.proofs.notary import Notary
from storage.proofs.note import LOG, Signer
from storage.settlement.calendar import Period, parse_period
from storage.settlement.contract import shipped_contract

KILLS: Final = 20
_KILLS_SHORT: Final = 4
STATEMENT_S_MAX: Final = 60.0
STATEMENT_MIB_MAX: Final = 500
SEARCH_MS_MAX: Final = 50.0

_NAME: Final = "past"
_SEARCHES: Final = 200


def settlement(*, short: bool) -> Outcome:
    """Half a year of messages: projected with 20 kills, a statement of it, and searches by number."""
    messages, kills = (20_000, _KILLS_SHORT) if short else (10_000_000, KILLS)
    bounds = Bounds()
    period = parse_period("6", shipped_contract().settlement)
    with tempfile.TemporaryDirectory(prefix="jingxin-past-", dir=os.environ.get("JINGXIN_BENCH_DIR")) as name:
        directory = Path(name)
        begun_s = monotonic()
        written = Past(directory / "evidence").write(period, messages)
        wrote_s = monotonic() - begun_s
        sign_s = _sign(directory, period)
        figures = _project(directory, written, bounds, kills, compare=short)
        figures |= _settle(directory, written, bounds, short=short)
        figures |= _search(directory, bounds, short=short)
        octets = (directory / LEDGER_NAME).stat().st_size
    figures |= {
        "messages": messages,
        "records": written.records,
        "write_s": round(wrote_s, 1),
        "sign_s": round(sign_s, 1),
        "ledger_octets_a_message": round(octets / messages),
    }
    return outcome("settlement", short=short, bounds=bounds, figures=figures)


def _sign(directory: Path, period: Period) -> float:
    begun_s = monotonic()
    after_us = period.end_us + 5 * 86_400_000_000
    with Notary(directory / "evidence", directory / "proofs", _NAME, signer()) as notary:
        notary.recover()
        while notary.step(after_us):
            pass
    return monotonic() - begun_s


def signer() -> Signer:
    return Signer(_NAME, LOG, bytes(32))


_PROJECT: Final = """
import sys
from pathlib import Path
from storage.ledger import ledger as module
from storage.ledger.ledger import Ledger
module.BATCH_RECORDS = int(sys.argv[3])
with Ledger.open(Path(sys.argv[1]), Path(sys.argv[2])) as ledger:
    while ledger.step():
        print(ledger.applied_index, flush=True)
"""


def _project(
    directory: Path, written: Written, bounds: Bounds, wanted: int, *, compare: bool
) -> dict[str, Any]:
    """Bring the ledger up while the process that does it is killed again and again."""
    chance = random.Random(2026)
    path, evidence = directory / LEDGER_NAME, directory / "evidence"
    batch = min(BATCH_RECORDS, written.records // 200)  # so that many a kill finds its moment
    marks = sorted(chance.randrange(written.records) for _ in range(wanted))
    begun_s, kills = monotonic(), 0
    done = False
    while not done:
        child = subprocess.Popen(
            [sys.executable, "-c", _PROJECT, str(path), str(evidence), str(batch)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        with child:
            for line in child.stdout:
                if marks and int(line) >= marks[0]:
                    marks.pop(0)
                    sleep(chance.random() * 0.1)  # somewhere in the next transactions
                    child.send_signal(signal.SIGKILL)
                    kills += 1
                    break
            else:
                done = True
    bounds.equal("kills", kills, wanted)
    took_s = monotonic() - begun_s
    with closing(read_ledger(path)) as connection:
        months = [name for (name,) in connection.execute("SELECT name FROM month").fetchall()]
        for kind, expected in (
            ("part", written.parts),
            ("attempt", written.parts),
            ("receipt", written.receipts),
            ("report", written.reports),
            ("reply", written.replies),
        ):
            rows = sum(
                connection.execute(f"SELECT count(*) FROM {table(kind, month)}").fetchone()[0]  # noqa: S608
                for month in months
            )
            bounds.equal(f"rows of {kind}", rows, expected)
    if compare:
        whole = directory / "whole.db"
        rebuild(whole, evidence)
        bounds.equal("the same as made at once", _digest(path) == _digest(whole), True)
    return {
        "project_s": round(took_s, 1),
        "project_messages_per_s": round(written.parts / took_s),
        "kills": kills,
    }


def _digest(path: Path) -> str:
    digest = sha256()
    with closing(read_ledger(path)) as connection:
        for line in dump(connection):
            digest.update(line)
    return digest.hexdigest()


_SETTLE: Final = """
import sys
from contextlib import closing
from pathlib import Path
from bench.settlement_scenarios import signer
from gateway.causes import cause_by, sources
from gateway.outcomes import OutcomeTable
from storage.ledger.ledger import read_ledger
from storage.reader import LogReader
from storage.settlement.calendar import parse_period
from storage.settlement.contract import shipped_contract
from storage.settlement.issue import tied_checkpoint
from storage.settlement.statement import cut_of, make_statement
directory = Path(sys.argv[1])
contract = shipped_contract()
period = parse_period("6", contract.settlement)
with LogReader(directory / "evidence") as reader, closing(read_ledger(directory / "ledger.db")) as ledger:
    before_us = cut_of(contract, period, 0).before_us
    checkpoint, final = tied_checkpoint(directory / "proofs", reader, signer().verifier, before_us)
    statement = make_statement(ledger, contract, period, checkpoint, reader.identity, final=final,
        causes=sources(None), cause_of=cause_by(OutcomeTable.load(None)))
sys.stdout.buffer.write(statement.encode())
"""


def _settle(directory: Path, written: Written, bounds: Bounds, *, short: bool) -> dict[str, Any]:
    """The statement in a process of its own: how long it takes, how much memory, and its figures."""
    begun_s = monotonic()
    made = subprocess.run([sys.executable, "-c", _SETTLE, str(directory)], stdout=subprocess.PIPE, check=True)
    took_s = monotonic() - begun_s
    statement = msgspec.json.decode(made.stdout)
    total = statement["total_mt"]
    for state, units in written.states.items():
        bounds.equal(state, total[state], units)
    bounds.equal("accepted", total["accepted"], written.parts)
    bounds.equal("replies", statement["total_mo"]["accepted"], written.replies)
    bounds.equal("amount", statement["amount"], (written.parts + written.replies) * 300)
    bounds.equal("final", statement["final"], True)
    # The largest of all children so far: those that projected are among them.
    mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if not short:
        bounds.at_most("statement_s", round(took_s, 1), STATEMENT_S_MAX)
    bounds.at_most("statement_mib", round(mib), STATEMENT_MIB_MAX)
    return {"statement_s": round(took_s, 1), "children_mib_max": round(mib)}


def _search(directory: Path, bounds: Bounds, *, short: bool) -> dict[str, Any]:
    chance = random.Random(7)
    times = []
    found = 0
    with closing(read_ledger(directory / LEDGER_NAME)) as connection:
        for _ in range(_SEARCHES):
            wanted = Wanted(number_hash=number_hash(chance.randrange(SUBSCRIBERS)))
            begun_s = monotonic()
            found += len(list(search(connection, wanted, 100)))
            times.append((monotonic() - begun_s) * 1e3)
    times.sort()
    slowest = times[-1]
    if not short:
        bounds.at_least("found", found, 1)
    bounds.at_most("search_ms", round(slowest, 1), SEARCH_MS_MAX)
    return {"search_ms_p50": round(times[len(times) // 2], 2), "search_ms_max": round(slowest, 2)}
