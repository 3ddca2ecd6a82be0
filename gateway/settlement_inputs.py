"""What a statement follows from besides the evidence: the contract, and the table of status codes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gateway.causes import cause_by, sources
from gateway.config import Tables
from gateway.outcomes import OutcomeTable, OutcomeTableError
from storage.settlement.contract import Contract, read_contract, shipped_contract
from storage.settlement.counts import CauseOf
from storage.settlement.errors import SettlementError
from storage.settlement.statement import Source


class Inputs(NamedTuple):
    """Both, and the hashes by which a statement names the tables."""

    contract: Contract
    causes: tuple[Source, ...]
    cause_of: CauseOf


def inputs_of(tables: Tables | None, contract_file: Path | None = None, codes: Path | None = None) -> Inputs:
    """The files named, else those of the configuration, else what ships. Raises SettlementError, OSError."""
    if tables is not None:
        contract_file = contract_file or tables.settlement.contract_file
        codes = codes or tables.outcomes.file
    agreed = shipped_contract() if contract_file is None else read_contract(contract_file)
    try:
        table = OutcomeTable.load(codes)
    except OutcomeTableError as error:
        raise SettlementError(f"the table of status codes: {error}") from error
    return Inputs(agreed, sources(codes), cause_by(table))
