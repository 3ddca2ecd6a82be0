"""`jingxin statement …`: what a period costs, made, listed, checked and compared (结算清单)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.commands.evidence import OptionalConfig
from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.progress import progress_bar
from gateway.commands.recheck import (
    CodesOption,
    ContractOption,
    EvidenceOption,
    ProofsOption,
    ScratchOption,
    believed,
    tell,
    tell_if_cut,
    tell_what_is_taken_on_trust,
)
from gateway.commands.result import show as show_result
from gateway.commands.verifier import KeyOption
from gateway.config import read, signing_key_file
from gateway.config_table import is_credential

if TYPE_CHECKING:
    from storage.settlement.calendar import Period
    from storage.settlement.contract import Contract
    from storage.settlement.issue import Issued, Render
    from storage.settlement.statement import Statement

app = typer.Typer(no_args_is_help=True, help="Statements of what there is to pay (结算清单).")

# Records that come while a checkpoint is being signed, at full speed.
_LEFT_MAX: Final = 20_000

PeriodOption = Annotated[
    str,
    typer.Option(
        "--period",
        metavar="PERIOD",
        help="6 (the sixth period), 2026-06 (the one with this month), or 2026-06..2026-11.",
    ),
]
StatementArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", exists=True, file_okay=False, help="A version, such as …/2026-06..2026-11/v1."
    ),
]


@app.command()
def make(config: ConfigOption, period: PeriodOption, json: JsonOption = False) -> None:
    """Makes the statement of a period: JSON, XLSX and PDF, signed, in a directory of its own, with copies of
    the contract and of the tables of status codes.

    The ledger has to be up to date; where the evidence has not gone beyond the period and the time for late
    receipts, the statement is marked as not final. A version is never overwritten: other figures make a new
    one.
    """
    from gateway.settlement_inputs import inputs_of
    from storage.ledger.ledger import LEDGER_NAME, progress_of, read_ledger
    from storage.proofs.note import LOG
    from storage.proofs.signing_key import read_signing_key
    from storage.reader import LogReader
    from storage.settlement.counts import check_all_there, evidence_begins
    from storage.settlement.issue import STATEMENTS_NAME, StatementError, issue, tied_checkpoint
    from storage.settlement.statement import cut_of, make_statement

    tables = read(config)
    gateway = tables.gateway
    inputs = inputs_of(tables)
    span = _settlement_period(period, inputs.contract)
    key_file = signing_key_file(tables)
    signer = read_signing_key(key_file, LOG, guarded=is_credential(key_file))
    before_us = cut_of(inputs.contract, span, 0).before_us
    with LogReader(gateway.evidence_dir) as reader:
        checkpoint, final = tied_checkpoint(gateway.proofs_dir, reader, signer.verifier, before_us)
        with closing(read_ledger(gateway.state_dir / LEDGER_NAME)) as ledger:
            applied = progress_of(ledger).applied_index
            if applied < checkpoint.size:
                raise StatementError(
                    f"the ledger has {applied:,} records of the {checkpoint.size:,} that the statement is to"
                    " rest on: let `jingxin ledger` catch up, then try again"
                )
            check_all_there(ledger, span.start_us)
            begins = evidence_begins(ledger)
            if begins > str(span.last):
                raise StatementError(f"the evidence begins in {begins}: there is nothing to settle in {span}")
            statement = make_statement(
                ledger,
                inputs.contract,
                span,
                checkpoint,
                reader.identity,
                final=final,
                causes=inputs.causes,
                cause_of=inputs.cause_of,
            )
        left = reader.next_index - 1 - checkpoint.size
    render = _renderer(statement, tables.settlement.font_file)
    issued, is_new = issue(gateway.state_dir / STATEMENTS_NAME, statement, signer, inputs.files, render)
    show_result({**_facts(statement), **_place(issued), "new_version": is_new}, as_json=json)
    if begins > str(span.first):
        typer.echo(f"jingxin: the evidence begins in {begins}: of months before it has nothing", err=True)
    if not final:
        typer.echo(
            "jingxin: not final: the evidence has not gone beyond the time up to which receipts count"
            f" ({statement.evidence.known_before})",
            err=True,
        )
        if left > _LEFT_MAX:
            typer.echo(
                f"jingxin: {left:,} records are not signed yet, and not in it: is the ledger running?",
                err=True,
            )


@app.command(name="list")
def list_(config: ConfigOption, json: JsonOption = False) -> None:
    """Lists what was made, with its figures."""
    from storage.settlement.issue import STATEMENTS_NAME, versions

    directory = read(config).gateway.state_dir / STATEMENTS_NAME
    found = []
    try:
        periods = sorted(path.name for path in directory.iterdir() if ".." in path.name)
    except FileNotFoundError:
        periods = []  # none was made yet
    for period in periods:
        for issued in versions(directory, period):
            statement = issued.read()
            found.append(
                {
                    "period": period,
                    "version": issued.version,
                    "final": statement.final,
                    "amount_yuan": yuan(statement.amount),
                    "reduction_yuan": yuan(statement.reduction),
                    "due_yuan": yuan(statement.due),
                    "sha256": issued.digest.hex(),
                }
            )
    show_result({"statements": found}, as_json=json)


@app.command()
def verify(
    statement: StatementArgument,
    config: OptionalConfig = None,
    evidence: EvidenceOption = None,
    proofs: ProofsOption = None,
    key: KeyOption = "",
    contract: ContractOption = None,
    codes: CodesOption = None,
    scratch: ScratchOption = None,
    json: JsonOption = False,
) -> None:
    """Checks the evidence, makes the statement again from its raw records, and compares; exits 1 where they
    differ, or where a draft is not final although it could be.

    With a configuration, or, for the other party, with the files and the key alone.
    """
    from gateway.settlement_inputs import inputs_of_version
    from storage.proofs.verify_tree import Proofs
    from storage.settlement.check import check_statement
    from storage.settlement.issue import check_version, read_version

    given = believed(config, evidence, proofs, key)
    issued = read_version(statement)
    version = check_version(issued, given.key)
    inputs = inputs_of_version(statement, version.statement.sources, version.files, contract, codes)
    with progress_bar("verifying") as progress:
        report, findings = check_statement(
            issued,
            given.evidence,
            Proofs(given.proofs, given.key),
            inputs.contract,
            inputs.causes,
            inputs.cause_of,
            progress,
            scratch=scratch,
        )
    facts = {"final": version.statement.final, "sha256": issued.digest.hex()}
    tell_what_is_taken_on_trust(inputs, contract, codes)
    tell(report, findings, facts, as_json=json)


@app.command()
def diff(one: StatementArgument, other: StatementArgument, json: JsonOption = False) -> None:
    """Says in what two versions differ: their figures, the terms, what they rest on."""
    from storage.settlement.check import differences
    from storage.settlement.issue import read_version

    before, after = (read_version(each).read() for each in (one, other))
    found = [
        {"where": each.path, "one": each.stated, "other": each.computed}
        for each in differences(before, after)
    ]
    show_result({"differences": found}, as_json=json)
    tell_if_cut(found)


@app.command()
def contract() -> None:
    """Prints the contract that ships, to be put into a file of one's own and changed there."""
    from storage.settlement.contract import shipped_text

    typer.echo(shipped_text(), nl=False)


def yuan(amount: int) -> str:
    """An amount in 0.0001 yuan, as people write it."""
    return f"{Decimal(amount).scaleb(-4):,.4f}"


def _settlement_period(text: str, contract: Contract) -> Period:
    """One of those that are paid for: other months would be paid twice. Raises SettlementError."""
    from storage.settlement.calendar import parse_period
    from storage.settlement.errors import SettlementError

    period = parse_period(text, contract.settlement)
    if not period.number:
        raise SettlementError(
            f"{period} is no settlement period, and would be paid twice: name a period, such as 6;"
            " `jingxin report sla` shows any months"
        )
    if period.first_day > contract.term_end or period.last_day < contract.start:
        raise SettlementError(
            f"period {period.number} ({period}) is outside of the term, {contract.start} to"
            f" {contract.term_end}: put the renewal into the contract file"
        )
    return period


def _renderer(statement: Statement, font: Path | None) -> Render:
    from storage.settlement.printed import printed
    from storage.settlement.workbook import workbook

    def render(version: int, digest: str) -> Mapping[str, bytes]:
        return {
            "statement.xlsx": workbook(statement, version, digest),
            "statement.pdf": printed(statement, version, digest, font),
        }

    return render


def _facts(statement: Statement) -> dict[str, Any]:
    return {
        "period": f"{statement.first_month}..{statement.last_month}",
        "final": statement.final,
        "records": statement.evidence.records,
        "accepted": statement.total.accepted,
        "delivered": statement.total.delivered,
        "billable": statement.total.billable,
        "counted_on": statement.count_on,
        "success_rate": next(
            rate.rate or "-"
            for service in statement.service
            for rate in service.rates
            if rate.name == service.contractual
        ),
        "amount_yuan": yuan(statement.amount),
        "reduction_yuan": yuan(statement.reduction),
        "due_yuan": yuan(statement.due),
    }


def _place(issued: Issued) -> dict[str, Any]:
    return {"version": issued.version, "sha256": issued.digest.hex(), "directory": str(issued.directory)}
