"""`jingxin statement reconcile`: a carrier's bill against the evidence (核对)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.commands.options import ConfigOption, JsonOption, MonthsOption
from gateway.commands.result import show
from gateway.config import Tables, master_key_file, read
from gateway.config_table import is_credential
from gateway.number_plan import mask, normalise

if TYPE_CHECKING:
    from storage.settlement.bill import Numbers
    from storage.settlement.reconcile import Reconciliation

_TOLERANCE_MAX: Final = 1_440  # minutes; above a day a number alone tells nothing


CarrierOption = Annotated[
    str, typer.Option("--carrier", metavar="NAME", help="A carrier account, or a network: all of its.")
]
BillOption = Annotated[
    Path, typer.Option("--bill", metavar="FILE", exists=True, dir_okay=False, help="The bill: CSV or XLSX.")
]
OutputOption = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="For the dispute file; made, or empty.")
]
ColumnsOption = Annotated[
    Path | None,
    typer.Option(
        "--columns",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="The layouts of bills, as TOML; without it the examples that ship.",
    ),
]
ToleranceOption = Annotated[
    int,
    typer.Option(
        "--tolerance-minutes",
        min=1,
        max=_TOLERANCE_MAX,
        help="How far apart the times of a number may be.",
    ),
]
RevealOption = Annotated[bool, typer.Option("--reveal", help="Write whole numbers into the dispute file.")]


def reconcile(
    config: ConfigOption,
    carrier: CarrierOption,
    period: MonthsOption,
    bill: BillOption,
    output: OutputOption,
    columns: ColumnsOption = None,
    tolerance_minutes: ToleranceOption = 10,
    reveal: RevealOption = False,
    json: JsonOption = False,
) -> None:
    """Compares a carrier's bill with the evidence: what is missing on either side, what differs, the money
    at stake, the carrier's clock."""
    from gateway.settlement_inputs import inputs_of
    from storage.ledger.ledger import LEDGER_NAME, progress_of, read_ledger
    from storage.settlement.bill import load_bill
    from storage.settlement.bill_layout import read_layout, shipped_layout
    from storage.settlement.calendar import moment, parse_months
    from storage.settlement.comparison import comparison
    from storage.settlement.counts import check_all_there
    from storage.settlement.disputes import write_disputes
    from storage.settlement.matching import MARGIN_US, Task
    from storage.settlement.reconcile import accounts_of
    from storage.settlement.reconcile import reconcile as compare
    from storage.settlement.report import check_months
    from storage.settlement.statement import Source, cut_of

    tables = read(config)
    contract = inputs_of(tables).contract
    span = parse_months(period, contract.settlement)
    ledger = tables.gateway.state_dir / LEDGER_NAME
    with closing(read_ledger(ledger)) as connection:
        accounts, network = accounts_of(connection, carrier)
        check_all_there(connection, span.start_us - MARGIN_US)
        progress = progress_of(connection)
        check_months(connection, contract, span, progress.applied_us + 1)
    if columns is None:
        layout = shipped_layout(carrier, network)
    else:
        layout = read_layout(columns, carrier, network)
    billing = contract.terms_of(span).billing
    task = Task(
        carrier=carrier,
        accounts=accounts,
        period=span,
        cut=cut_of(contract, span, progress.applied_index),
        tolerance_us=tolerance_minutes * 60_000_000,
        price_mt=billing.price_mt,
        price_mo=billing.price_mo,
        unit=billing.unit,
        delivered_only=billing.count_on == "delivered",
    )
    numbers = _numbers(tables, reveal=reveal)
    with comparison() as database:
        result = compare(
            database,
            ledger,
            task,
            layout,
            lambda: load_bill(database, bill, layout, numbers),
            (Source(name="contract", sha256=contract.digest.hex()),),
        )
        write_disputes(database, result, output)
    show(_facts(result, output), as_json=json)
    if progress.applied_us < result.known_before_us:
        typer.echo(
            "jingxin: not final: the evidence has not gone beyond the time up to which receipts count"
            f" ({moment(result.known_before_us)})",
            err=True,
        )
    if result.clock_warning:
        typer.echo(
            "jingxin: the carrier's clock and ours differ by more than a minute: see the sheet 时钟偏差",
            err=True,
        )


def _numbers(tables: Tables, *, reveal: bool) -> Numbers:
    from storage.keys import Keyring, read_master_key
    from storage.settlement.bill import Numbers

    key_file = master_key_file(tables)
    master_key = read_master_key(key_file, guarded=is_credential(key_file))
    keyring = Keyring(tables.gateway.evidence_dir / "keys", master_key)
    return Numbers(normalise, keyring.number_hash, bytes.decode if reveal else mask)


def _facts(result: Reconciliation, output: Path) -> dict[str, Any]:
    from gateway.commands.statement import yuan

    return {
        "carrier": result.carrier,
        "months": f"{result.first_month}..{result.last_month}",
        "ours": sum(total.rows for total in result.ours),
        "theirs": sum(total.rows for total in result.theirs),
        "our_amount_yuan": yuan(sum(total.amount for total in result.ours)),
        "their_amount_yuan": yuan(sum(total.amount for total in result.theirs)),
        "matched_by_id": result.matched.id,
        "matched_by_notation": result.matched.notation,
        "matched_by_number": result.matched.number,
        "clock_median_s": result.skew[0].median_us / 1_000_000 if result.skew else None,
        "clock_warning": result.clock_warning,
        "directory": str(output),
        "findings": [
            {
                "kind": found.kind,
                "rows": found.rows,
                "parts": found.units,
                "at_stake_yuan": yuan(found.at_stake),
            }
            for found in result.findings
        ],
    }
