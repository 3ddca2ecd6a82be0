"""What `statement verify` and `report verify` have in common: whose files, whose key, and what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from gateway.commands.evidence import with_segments
from gateway.commands.result import show
from gateway.commands.verifier import log_key, verifier_key
from gateway.config import read

if TYPE_CHECKING:
    from gateway.settlement_inputs import Inputs
    from storage.history import VerifyReport
    from storage.proofs.note import VerifierKey
    from storage.settlement.check import Finding

EvidenceOption = Annotated[Path | None, typer.Option("--evidence", metavar="DIR", help="Segments.")]
ProofsOption = Annotated[Path | None, typer.Option("--proofs", metavar="DIR", help="Checkpoints.")]
ContractOption = Annotated[
    Path | None,
    typer.Option("--contract", metavar="FILE", help="The contract; without it the copy beside it."),
]
CodesOption = Annotated[
    Path | None,
    typer.Option("--codes", metavar="FILE", help="The operator's status codes; without it the copy."),
]
ScratchOption = Annotated[
    Path | None,
    typer.Option(
        "--scratch",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Where the tables are made and removed again, some GB for ten million messages (default:"
        " TMPDIR).",
    ),
]


class Believed(NamedTuple):
    """Where the files are, and the key of the log."""

    evidence: Path
    proofs: Path
    key: VerifierKey


def believed(config: Path | None, evidence: Path | None, proofs: Path | None, key: str) -> Believed:
    """Of a configuration, or as the other party names them. Raises BadParameter, NoSuchRecord, NoteError."""
    from storage.proofs.checkpoints import check_key

    if config is None:
        if evidence is None or proofs is None or not key:
            raise typer.BadParameter(
                "name the configuration with -c FILE, or --evidence DIR --proofs DIR --key KEY"
            )
        found = Believed(with_segments(evidence), proofs, verifier_key(key))
    else:
        tables = read(config)
        found = Believed(
            with_segments(evidence or tables.gateway.evidence_dir),
            proofs or tables.gateway.proofs_dir,
            log_key(tables, key),
        )
    check_key(found.proofs, found.key)
    return found


def tell_what_is_taken_on_trust(inputs: Inputs, contract: Path | None, codes: Path | None) -> None:
    """What was made again rests on these files too, and whoever wrote it has put their copies beside it."""
    from gateway.settlement_inputs import CODES_NAME, OPERATOR_CODES_NAME, shipped_codes

    if contract is None:
        price = inputs.contract.signed.billing.price_mt
        typer.echo(
            f"jingxin: the contract is the copy beside it, with {price / 10_000:.4f} yuan a message as"
            " signed: --contract FILE takes yours",
            err=True,
        )
    if codes is None and OPERATOR_CODES_NAME in inputs.files:
        typer.echo(
            "jingxin: the operator's status codes are the copy beside it: --codes FILE takes yours", err=True
        )
    if inputs.files[CODES_NAME] != shipped_codes():
        typer.echo(
            f"jingxin: {CODES_NAME} beside it is not the table of this version of the program: compare them",
            err=True,
        )


def tell_if_cut(differences: Sequence[object]) -> None:
    from storage.settlement.check import DIFFERENCES_MAX

    if len(differences) >= DIFFERENCES_MAX:
        typer.echo(f"jingxin: there may be more than these {DIFFERENCES_MAX} differences", err=True)


def tell(
    report: VerifyReport, findings: Sequence[Finding], facts: Mapping[str, Any], *, as_json: bool
) -> None:
    """Raises Exit where something does not agree."""
    agrees = report.sound and not findings
    told: dict[str, Any] = {
        "agrees": agrees,
        **facts,
        "evidence_sound": report.sound,
        "records": report.records,
    }
    if findings:
        told["differences"] = [msgspec.structs.asdict(each) for each in findings]
    show(told, as_json=as_json)
    tell_if_cut(findings)
    if not report.sound:
        typer.echo("jingxin: the evidence is not sound: `jingxin evidence verify` says where", err=True)
    if not agrees:
        raise typer.Exit(1)
