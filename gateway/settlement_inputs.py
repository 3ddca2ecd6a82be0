"""What a statement or report follows from besides the evidence: the contract, and the table of status codes.

Both change: the parties amend, an operator's rows grow, the program ships other ones. So copies of the files
lie beside what was made with them, and it is made again from these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from gateway.causes import OPERATOR_CODES, SHIPPED_CODES, cause_by, sources
from gateway.config import Tables
from gateway.outcomes import OutcomeTable, OutcomeTableError
from storage.settlement.contract import Contract, read_contract, shipped_contract
from storage.settlement.counts import CauseOf
from storage.settlement.errors import SettlementError
from storage.settlement.issue import StatementError
from storage.settlement.statement import Source

CONTRACT_NAME: Final = "contract.toml"
CODES_NAME: Final = "status_codes.csv"
OPERATOR_CODES_NAME: Final = "operator_codes.csv"

# The copies, by what a statement calls them.
_COPIES: Final = {
    "contract": CONTRACT_NAME,
    SHIPPED_CODES: CODES_NAME,
    OPERATOR_CODES: OPERATOR_CODES_NAME,
}


def copies_in(directory: Path) -> dict[str, bytes]:
    """Those of these files that lie in a directory."""
    return {
        name: (directory / name).read_bytes() for name in _COPIES.values() if (directory / name).is_file()
    }


class Inputs(NamedTuple):
    """Both, the hashes by which a statement names the tables, and the files themselves."""

    contract: Contract
    causes: tuple[Source, ...]
    cause_of: CauseOf
    files: Mapping[str, bytes]  # as a version of a statement calls them


def inputs_of(tables: Tables) -> Inputs:
    """The files of the configuration, else what ships. Raises SettlementError, OSError."""
    file = tables.settlement.contract_file
    if file is None:
        octets = resources.files("storage.settlement").joinpath("contract.toml").read_bytes()
        contract = shipped_contract()
    else:
        octets, contract = file.read_bytes(), read_contract(file)
    return _inputs(contract, octets, shipped_codes(), tables.outcomes.file)


def shipped_codes() -> bytes:
    """The table of status codes of this program."""
    return resources.files("gateway.data").joinpath(CODES_NAME).read_bytes()


def inputs_of_version(
    directory: Path,
    sources: Sequence[Source],
    copies: Mapping[str, bytes],
    contract_file: Path | None = None,
    codes: Path | None = None,
) -> Inputs:
    """The files named, else the copies beside a statement or a report, which names its sources.

    Raises StatementError where the copies are not these, SettlementError, OSError.
    """
    named = {_COPIES.get(source.name, source.name): source.sha256 for source in sources}
    held = {name: sha256(copies[name]).hexdigest() for name in _COPIES.values() if name in copies}
    for name in sorted({CONTRACT_NAME, CODES_NAME, *named, *held}):
        if name not in held or held[name] != named.get(name):
            raise StatementError(f"{directory / name}: not the file that it rests on")
    file = contract_file or directory / CONTRACT_NAME
    if codes is None and OPERATOR_CODES_NAME in copies:
        codes = directory / OPERATOR_CODES_NAME
    return _inputs(read_contract(file), file.read_bytes(), copies[CODES_NAME], codes)


def _inputs(contract: Contract, octets: bytes, shipped: bytes, codes: Path | None) -> Inputs:
    if sha256(octets).digest() != contract.digest:
        raise SettlementError("the contract was changed while it was read: try again")
    files = {CONTRACT_NAME: octets, CODES_NAME: shipped}
    operator = None
    if codes is not None:
        operator = files[OPERATOR_CODES_NAME] = codes.read_bytes()
    try:
        table = _table(shipped, operator, codes or Path(OPERATOR_CODES_NAME))
    except OutcomeTableError as error:
        raise SettlementError(f"the table of status codes: {error}") from error
    except UnicodeDecodeError as error:
        raise SettlementError(f"the table of status codes: {codes}: not UTF-8: {error.reason}") from error
    return Inputs(contract, sources(operator, shipped), cause_by(table), files)


def _table(shipped: bytes, operator: bytes | None, operator_file: Path) -> OutcomeTable:
    lines = shipped.decode().splitlines()
    if operator is None:
        return OutcomeTable.from_csv(lines)
    # A table saved by Excel begins with a mark of its encoding.
    return OutcomeTable.from_csv(lines, operator.decode("utf-8-sig").splitlines(), operator_file)
