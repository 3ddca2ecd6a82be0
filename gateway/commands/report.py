"""`jingxin report …`: how well the service ran, for any months and for a year of the contract (三.9)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from gateway.commands.evidence import OptionalConfig
from gateway.commands.options import ConfigOption, JsonOption, MonthsOption
from gateway.commands.progress import progress_bar
from gateway.commands.recheck import (
    CodesOption,
    ContractOption,
    EvidenceOption,
    ProofsOption,
    ScratchOption,
    believed,
    tell,
    tell_what_is_taken_on_trust,
)
from gateway.commands.result import show as show_result
from gateway.commands.statement import yuan
from gateway.commands.verifier import KeyOption
from gateway.config import read

if TYPE_CHECKING:
    import sqlite3

    from gateway.config import GatewayConfig
    from storage.settlement.assessment import Assessment, Basis
    from storage.settlement.check import Finding
    from storage.settlement.quality import Delays
    from storage.settlement.report import Report, Stretch
    from storage.settlement.service import Service
    from storage.settlement.statement import Evidence

app = typer.Typer(no_args_is_help=True, help="Service level and the yearly assessment.")

REPORT_NAME: Final = "report.json"
PRINTED_NAME: Final = "report.pdf"

FontOption = Annotated[
    Path | None,
    typer.Option("--font", metavar="FILE", help="With which it was printed (default: settlement.font_file)."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="Write report.json and report.pdf into this new directory as well, with copies of what they"
        " follow from.",
    ),
]


@app.command()
def sla(
    config: ConfigOption, period: MonthsOption, output: OutputOption = None, json: JsonOption = False
) -> None:
    """Rates, receipts, links, faults, complaints and what was late, in whole months."""
    from gateway.settlement_inputs import inputs_of
    from storage.ledger.ledger import LEDGER_NAME, read_ledger
    from storage.settlement.calendar import parse_months
    from storage.settlement.counts import evidence_begins
    from storage.settlement.report import make_report

    tables = read(config)
    inputs = inputs_of(tables)
    directory = _empty(output)
    span = parse_months(period, inputs.contract.settlement)
    with closing(read_ledger(tables.gateway.state_dir / LEDGER_NAME)) as ledger:
        evidence = _known(tables.gateway, ledger)
        report = make_report(ledger, inputs.contract, span, evidence, inputs.causes, inputs.cause_of)
        begins = evidence_begins(ledger)
    _give(report, directory, inputs.files, tables.settlement.font_file, _shown(report), as_json=json)
    _say_what_it_lacks(report, begins)


@app.command()
def annual(
    config: ConfigOption,
    year: Annotated[int, typer.Option("--year", min=1, max=99, help="Of the contract, from 1.")],
    output: OutputOption = None,
    json: JsonOption = False,
) -> None:
    """The yearly assessment: faults, how they were dealt with, support, satisfaction, and all of `sla`."""
    from gateway.settlement_inputs import inputs_of
    from storage.ledger.ledger import LEDGER_NAME, read_ledger
    from storage.settlement.assessment import assess, assessment_period
    from storage.settlement.counts import evidence_begins
    from storage.settlement.report import make_report

    tables = read(config)
    inputs = inputs_of(tables)
    directory = _empty(output)
    span = assessment_period(inputs.contract, year)
    with closing(read_ledger(tables.gateway.state_dir / LEDGER_NAME)) as ledger:
        evidence = _known(tables.gateway, ledger)
        report = make_report(ledger, inputs.contract, span, evidence, inputs.causes, inputs.cause_of)
        assessment = assess(ledger, inputs.contract, year, report)
        begins = evidence_begins(ledger)
    shown = {
        "year": year,
        "score": assessment.score,
        "pass_score": assessment.pass_score,
        "passed": assessment.passed,
        **_shown(report),
        "headings": [
            {"name": each.name, "weight": each.weight, "score": each.score, "basis": _basis(each.basis)}
            for each in assessment.headings
        ],
    }
    _give(assessment, directory, inputs.files, tables.settlement.font_file, shown, as_json=json)
    _say_what_it_lacks(report, begins)


@app.command()
def verify(
    report: Annotated[
        Path,
        typer.Argument(metavar="DIR", exists=True, file_okay=False, help="What `-o` has written."),
    ],
    config: OptionalConfig = None,
    evidence: EvidenceOption = None,
    proofs: ProofsOption = None,
    key: KeyOption = "",
    contract: ContractOption = None,
    codes: CodesOption = None,
    scratch: ScratchOption = None,
    font: FontOption = None,
    json: JsonOption = False,
) -> None:
    """Checks the evidence, makes the report again from its raw records, and compares; exits 1 where they
    differ. As `statement verify`; a report has no signature of its own. Its PDF is printed again too.
    """
    from gateway.settlement_inputs import copies_in, inputs_of_version
    from storage.proofs.verify_tree import Proofs
    from storage.settlement.assessment import Assessment, read_report
    from storage.settlement.check import check_report
    from storage.settlement.errors import SettlementError

    given = believed(config, evidence, proofs, key)
    if font is None and config is not None:
        font = read(config).settlement.font_file
    file = report / REPORT_NAME
    if not file.exists():
        raise SettlementError(
            f"{report}: there is no {REPORT_NAME}: allowed is what `jingxin report … -o` has written"
            " (`statement verify` checks a statement)"
        )
    octets = file.read_bytes()
    try:
        stated = read_report(octets)
    except ValueError as error:
        raise SettlementError(f"{file}: no report as it is written: {error}") from error
    sources = (stated.report if isinstance(stated, Assessment) else stated).sources
    inputs = inputs_of_version(report, sources, copies_in(report), contract, codes)
    with progress_bar("verifying") as progress:
        found, findings = check_report(
            stated,
            given.evidence,
            Proofs(given.proofs, given.key),
            inputs.contract,
            inputs.causes,
            inputs.cause_of,
            progress,
            scratch=scratch,
        )
    tell_what_is_taken_on_trust(inputs, contract, codes)
    findings += _compare_print(report / PRINTED_NAME, stated, font)
    tell(found, findings, {"sha256": sha256(octets).hexdigest()}, as_json=json)


def _compare_print(file: Path, what: Report | Assessment, font: Path | None) -> list[Finding]:
    """The PDF, if it is there, is the one that is printed from the JSON."""
    from storage.settlement.check import Finding
    from storage.settlement.fonts import FontMissing
    from storage.settlement.printed_report import printed_report
    from storage.settlement.tables import DoesNotAddUp

    if not file.exists():
        return []
    try:
        if file.read_bytes() == printed_report(what, font):
            return []
        printed = (
            f"what {REPORT_NAME} gives here; with the same font and version of the program it is the same"
        )
    except DoesNotAddUp as error:
        printed = f"nothing, since {REPORT_NAME} contradicts itself: {error}"
    except FontMissing as error:
        typer.echo(f"jingxin: {file} was not compared: {error}", err=True)
        return []
    return [Finding(path=file.name, stated="another print", computed=printed)]


def _known(gateway: GatewayConfig, ledger: sqlite3.Connection) -> Evidence:
    """All that the ledger has and that is signed."""
    from storage.ledger.ledger import progress_of
    from storage.proofs.checkpoints import newest_up_to
    from storage.reader import LogReader
    from storage.settlement.report import evidence_at

    checkpoint = newest_up_to(gateway.proofs_dir, progress_of(ledger).applied_index)
    with LogReader(gateway.evidence_dir) as reader:
        return evidence_at(reader, checkpoint)


def _give(
    what: Report | Assessment,
    directory: Path | None,
    files: Mapping[str, bytes],
    font: Path | None,
    shown: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    if directory is not None:
        from storage.settlement.printed_report import printed_report

        printed = printed_report(what, font)
        for name, octets in {REPORT_NAME: what.encode(), PRINTED_NAME: printed, **files}.items():
            (directory / name).write_bytes(octets)
    if as_json:
        typer.echo(what.encode().decode(), nl=False)
    else:
        show_result(shown, as_json=False)


def _empty(output: Path | None) -> Path | None:
    """A directory to write into, made where there is none, before anything is counted. Raises
    SettlementError: a contract of somebody's may lie there under the name of the copy."""
    if output is not None:
        from storage.settlement.errors import SettlementError

        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise SettlementError(f"{output}: there is something already: allowed is a new directory")
    return output


def _say_what_it_lacks(report: Report, begins: str) -> None:
    if begins > report.first_month:
        typer.echo(f"jingxin: the evidence begins in {begins}: of months before it has nothing", err=True)
    if not report.final:
        typer.echo(
            "jingxin: not final: the months, and the time after them for late receipts, are not over in the"
            f" evidence ({report.evidence.known_before})",
            err=True,
        )


def _shown(report: Report) -> dict[str, Any]:
    """What fits on a terminal."""
    return {
        "months": f"{report.first_month}..{report.last_month}",
        "final": report.final,
        "known_until": report.known_until,
        "evidence_known_before": report.evidence.known_before,
        "records": report.evidence.records,
        "penalty_due_yuan": yuan(report.penalties.due),
        "penalty_cap_yuan": None if report.penalties.cap is None else yuan(report.penalties.cap),
        "indicators": [_indicators(each) for each in report.stretches],
        "complaints": [_complaints(each.service) for each in report.stretches],
        "receipts": [
            {
                "carrier": each.carrier,
                "sent": each.sent,
                "with_receipt": _percent(each.reported, each.sent),
                **_delays(each.receipt),
            }
            for each in report.coverage
        ],
        "reports_to_applications": [_reports(each) for each in report.stretches],
        "links": [
            {
                "carrier": each.carrier,
                "bound": _percent(each.bound, 1_000_000),
                "lost": each.lost,
                "longest_without_s": each.longest_s,
            }
            for each in report.links
        ],
        "rates": [
            {
                "month": each.month,
                "carrier": each.carrier or "all",
                "accepted": each.accepted,
                "delivered": each.delivered,
                "rate": each.rate or "-",
                "without_terminal": each.rate_without_terminal or "-",
            }
            for stretch in report.stretches
            for each in stretch.rates
        ],
        "faults": [
            {
                "entry": str(each.entry),
                "opened": each.opened,
                "what": each.what,
                "responded": each.clocks.responded,
                "restored": each.clocks.restored,
                "last_written": each.last_written,
            }
            for each in report.incidents
        ],
        "late_services": [
            {
                "entry": str(each.entry),
                "service": each.service,
                "due": each.due,
                "done": each.done or "-",
                "days": each.days,
                "days_before": each.days_before,
                "penalty_yuan": yuan(each.penalty),
            }
            for each in report.penalties.late
        ],
        "taken_back": [
            {
                "entry": str(each.entry),
                "register": each.register,
                "what": each.what,
                "when": each.withdrawn,
                "who": each.who,
                "reason": each.reason,
            }
            for each in report.withdrawals
        ],
    }


def _indicators(stretch: Stretch) -> dict[str, Any]:
    service = stretch.service
    return {
        "months": f"{stretch.first_month}..{stretch.last_month}",
        **{each.name: each.rate or "-" for each in service.rates},
        "contractual": service.contractual,
        "at_least": service.rate_min,
        "rate_met": service.rate_met,
        "complaints_met": service.complaints_met,
        f"{service.combine}_of_both": "met" if service.met else "not met",
    }


def _complaints(service: Service) -> dict[str, Any]:
    return {
        "from": service.complaints_from,
        "to": service.complaints_to,
        "complaints": service.complaints,
        "attributed_to_b": service.complaints_attributed,
        "taken_back": service.complaints_withdrawn,
        "at_most": service.complaints_max,
    }


def _reports(stretch: Stretch) -> dict[str, Any]:
    return {
        "months": f"{stretch.first_month}..{stretch.last_month}",
        "limit_min": stretch.report_limit_minutes,
        "reports": stretch.reports.count,
        "late": stretch.reports.late,
        **_delays(stretch.reports),
    }


def _basis(basis: Basis) -> str:
    from storage.settlement.assessment import FaultsCounted, FaultsInTime, Rated

    match basis:
        case FaultsCounted(faults, points):
            return f"{faults} faults, {points} points each"
        case FaultsInTime(faults, in_time):
            return f"{in_time} of {faults} responded to and restored in time"
        case Rated(who, day):
            return f"rated by {who} on {day}"
        case _:
            return "nobody has rated it"


def _delays(delays: Delays) -> dict[str, Any]:
    shown = msgspec.structs.asdict(delays)
    return {name: shown[name] for name in ("p50_s", "p95_s", "p99_s", "longest_s")}


def _percent(part: int, whole: int) -> str:
    """Cut, so that only all of it is 100 %."""
    return f"{part * 10_000 // whole / 100:.2f} %" if whole else "-"
