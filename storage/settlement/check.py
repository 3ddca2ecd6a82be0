"""Checking a statement or a report from the raw records, by anybody who has the files and the public key.

Nothing of the gateway's is believed: the records are checked up to their signed root, a ledger is made from
them in a directory of its own, and what follows from it must be the same, octet by octet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from storage.history import VerifyReport
from storage.keys import Keyring
from storage.ledger.ledger import Ledger, read_ledger
from storage.proofs.checkpoint import Checkpoint
from storage.proofs.checkpoints import signed
from storage.proofs.note import from_base64
from storage.proofs.verify_tree import Proofs
from storage.reader import LogReader
from storage.segment import FIRST_INDEX, segment_paths
from storage.settlement.assessment import Assessment, assess, assessment_period
from storage.settlement.calendar import Period, WrongPeriod, parse_period
from storage.settlement.contract import Contract
from storage.settlement.counts import CauseOf
from storage.settlement.issue import Issued, StatementError, check_version, tied_checkpoint
from storage.settlement.report import Report, evidence_at, make_report
from storage.settlement.statement import Evidence, Source, Statement, cut_of, make_statement
from storage.verify import verify

DIFFERENCES_MAX: Final = 200  # a screen or two: whoever has more has another statement


class Finding(msgspec.Struct, frozen=True):
    """One value that the records do not bear out. path: where it stands, such as `lines[3].figures.sent`."""

    path: str
    stated: str
    computed: str


def check_statement(
    issued: Issued,
    evidence: Path,
    proofs: Proofs,
    contract: Contract,
    causes: Sequence[Source],
    cause_of: CauseOf,
    progress: Callable[[int, int], None] | None = None,
    keyring: Keyring | None = None,
    scratch: Path | None = None,
) -> tuple[VerifyReport, list[Finding]]:
    """What the check of the evidence found, and the values of the statement that do not follow from it.

    scratch: where the ledger is made and removed again (default: TMPDIR), some GB for ten million messages.
    Raises StatementError for a version of which a file was altered, that is signed by somebody else, or is
    tied to no checkpoint of this log; the differences then do not matter.
    """
    statement = check_version(issued, proofs.log_key).statement
    checkpoint = _checkpoint_of(statement.evidence, proofs)
    _check_whole(evidence)
    report = verify(evidence, progress, keyring=keyring, proofs=proofs)
    if not report.sound:
        return report, []
    period = _period_of(statement, contract)
    cut = cut_of(contract, period, checkpoint.size)
    with LogReader(evidence) as reader:
        tied, final = tied_checkpoint(proofs.directory, reader, proofs.log_key, cut.before_us)
        if statement.final and tied != checkpoint:
            raise StatementError(
                f"{issued.directory}: final, and tied to {checkpoint.size} records instead of {tied.size}"
            )
        identity = reader.identity
    with _ledger_of(evidence, checkpoint.size, scratch) as connection:
        computed = make_statement(
            connection,
            contract,
            period,
            checkpoint,
            identity,
            # A draft on any checkpoint is honest until there is a final one; from then on nobody may stay
            # with another that pleases.
            final=final,
            causes=causes,
            cause_of=cause_of,
        )
    return report, differences(statement, computed)


def check_report(
    stated: Report | Assessment,
    evidence: Path,
    proofs: Proofs,
    contract: Contract,
    causes: Sequence[Source],
    cause_of: CauseOf,
    progress: Callable[[int, int], None] | None = None,
    scratch: Path | None = None,
) -> tuple[VerifyReport, list[Finding]]:
    """As check_statement, of a report or a yearly assessment. Nobody has signed these, but the log has signed
    the checkpoint that they name."""
    report = stated.report if isinstance(stated, Assessment) else stated
    checkpoint = _checkpoint_of(report.evidence, proofs)
    _check_whole(evidence)
    found = verify(evidence, progress, proofs=proofs)
    if not found.sound:
        return found, []
    with LogReader(evidence) as reader:
        known = evidence_at(reader, checkpoint)
    computed: Report | Assessment
    with _ledger_of(evidence, checkpoint.size, scratch) as connection:
        if isinstance(stated, Assessment):
            period = assessment_period(contract, stated.year)
            computed = make_report(connection, contract, period, known, causes, cause_of)
            computed = assess(connection, contract, stated.year, computed)
        else:
            period = _period_of(stated, contract)
            computed = make_report(connection, contract, period, known, causes, cause_of)
    return found, differences(stated, computed)


def _check_whole(evidence: Path) -> None:
    paths = segment_paths(evidence)
    first_index = int(paths[0].stem) if paths else FIRST_INDEX
    if first_index > FIRST_INDEX:
        raise StatementError(
            f"{evidence}: it begins with record {first_index}, and the figures follow from all of it:"
            " `jingxin evidence restore` puts archived segments beside these"
        )


@contextmanager
def _ledger_of(evidence: Path, records: int, scratch: Path | None) -> Iterator[sqlite3.Connection]:
    """A ledger of the first records, in a directory of its own."""
    with TemporaryDirectory(prefix="jingxin-statement-", dir=scratch) as directory:
        path = Path(directory) / "ledger.db"
        with Ledger.open(path, evidence, synchronous="OFF") as ledger:
            while ledger.step(records + 1):
                pass
        with closing(read_ledger(path)) as connection:
            yield connection


def _checkpoint_of(named: Evidence, proofs: Proofs) -> Checkpoint:
    """The checkpoint that is named, if the log has signed it."""
    try:
        checkpoint = Checkpoint(named.log, named.records, from_base64(named.root))
    except ValueError as error:
        raise StatementError(f"the root that is named {error}") from error
    text = checkpoint.text()
    for entry in signed(proofs.days, proofs.log_key.name):
        if entry.note.text == text and entry.note.signed_by((proofs.log_key,)):
            return checkpoint
    raise StatementError(
        f"{proofs.directory}: no checkpoint of {named.records} records with the root that is named was signed"
    )


def _period_of(stated: Statement | Report, contract: Contract) -> Period:
    try:
        return parse_period(f"{stated.first_month}..{stated.last_month}", contract.settlement)
    except WrongPeriod as error:
        raise StatementError(f"it is of no period: {error}") from error


def differences(stated: msgspec.Struct, computed: msgspec.Struct) -> list[Finding]:
    """Where two statements, or two reports, differ, at most DIFFERENCES_MAX places."""
    found: list[Finding] = []
    _compare("", msgspec.to_builtins(stated), msgspec.to_builtins(computed), found)
    return found


def _compare(path: str, stated: Any, computed: Any, found: list[Finding]) -> None:
    if stated == computed or len(found) >= DIFFERENCES_MAX:
        return
    if isinstance(stated, dict) and isinstance(computed, dict):
        for key in sorted(stated.keys() | computed.keys()):
            _compare(f"{path}.{key}".lstrip("."), stated.get(key), computed.get(key), found)
    elif isinstance(stated, list | tuple) and isinstance(computed, list | tuple):
        keyed_stated, keyed_computed = _keyed(stated), _keyed(computed)
        for key in [*keyed_stated, *(key for key in keyed_computed if key not in keyed_stated)]:
            _compare(f"{path}[{key}]", keyed_stated.get(key), keyed_computed.get(key), found)
    else:
        found.append(Finding(path, _shown(stated), _shown(computed)))


# What tells the elements of a list apart: lines by whose units they are, terms by their key.
_NAMES: Final = (
    "month",
    "direction",
    "carrier",
    "account",
    "category",
    "key",
    "name",
    "entry",
    "count_on",
    "first_month",
)


def _keyed(elements: Sequence[Any]) -> dict[str, Any]:
    keyed = {}
    for place, element in enumerate(elements):
        named = (
            [str(element[name]) for name in _NAMES if name in element] if isinstance(element, dict) else []
        )
        key = " ".join(name or "-" for name in named) or str(place)
        keyed[key if key not in keyed else f"{key} {place}"] = element
    return keyed


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
