"""`jingxin evidence …`: reads the evidence, also while a gateway writes it, and never changes it.

Its proofs are read likewise; `cosigned` alone puts something beside them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gateway.commands.options import ConfigOption, JsonOption
from gateway.commands.plain import plain, time_text
from gateway.commands.progress import progress_bar
from gateway.commands.verifier import KeyOption, log_key, verifier_key
from gateway.config import read
from storage.errors import CorruptEvidence, NoSuchRecord

if TYPE_CHECKING:
    from storage.history import VerifyReport
    from storage.proofs.note import VerifierKey
    from storage.proofs.proof import MessageProof
    from storage.proofs.verify_tree import Proofs
    from storage.reader import LogReader

app = typer.Typer(no_args_is_help=True, help="The append-only evidence of every message.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A message id, or the index of an acceptance.")]

# A thousand are kept by the check; a screen of them shows what kind of fault it is.
_FAULTS_SHOWN_MAX = 20


OptionalConfig = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="The configuration.")
]
EvidenceOption = Annotated[
    Path | None, typer.Option("--evidence", metavar="DIR", help="Segments, without a configuration.")
]
ProofsOption = Annotated[
    Path | None, typer.Option("--proofs", metavar="DIR", help="Tiles and checkpoints, likewise.")
]
WitnessesOption = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="KEY", help="A witness's verifier key, or its file; may be repeated."),
]
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to; standard output without it.")
]


@app.command()
def verify(
    config: OptionalConfig = None,
    evidence: EvidenceOption = None,
    proofs: ProofsOption = None,
    key: KeyOption = "",
    witness: WitnessesOption = None,
    json: JsonOption = False,
) -> None:
    """Checks frames, chain, counts, what the records say together, and that all of it is as it was signed;
    exits 1 when anything is wrong.

    With a configuration, or with nothing but the files and the keys of those who signed.
    """
    from storage.verify import verify as verify_evidence

    directory = _directory(config) if evidence is None else with_segments(evidence)
    signed = _signed(config, proofs, key, witness or [])
    with progress_bar("verifying") as progress:
        report = verify_evidence(directory, progress, proofs=signed)
    if json:
        typer.echo(msgspec.json.encode({"sound": report.sound, **_report(report)}).decode())
    else:
        typer.echo("\n".join(_summary(report, signed.witness_keys if signed else ())))
    if report.damage is not None:
        damage = report.damage
        typer.echo(
            f"jingxin: {damage.path}: at octet {damage.offset}: {damage.reason}:"
            " restore the file from a copy",
            err=True,
        )
    elif report.fault_count:
        fault = report.faults[0]
        typer.echo(
            f"jingxin: {directory}: {report.fault_count} contradictions, the first in record {fault.index}:"
            f" {fault.reason}: keep the files as they are and report it",
            err=True,
        )
    if not report.sound:
        raise typer.Exit(1)


@app.command()
def show(config: ConfigOption, message: IdArgument, json: JsonOption = False) -> None:
    """Shows the records of one message in order; texts and full numbers stay sealed."""
    from storage.show import show as records_of

    directory = _directory(config)
    records = [plain(index, record) for index, record in records_of(directory, number_of(directory, message))]
    if json:
        typer.echo(msgspec.json.encode(records).decode())
    else:
        _show(records)


def _show(records: list[dict[str, Any]]) -> None:
    """A line for each record."""
    for facts in records:
        head = f"{facts.pop('index'):>12}  {facts.pop('time'):<29}  {facts.pop('type'):<10}"
        typer.echo(f"{head}  {'  '.join(f'{name}={value}' for name, value in facts.items())}")


@app.command()
def prove(config: ConfigOption, message: IdArgument, output: OutputOption = None) -> None:
    """Writes one message's proof: its records, and that they are in the log that was signed."""
    from storage.reader import LogReader
    from storage.show import show as records_of

    proofs_dir = read(config).gateway.proofs_dir
    directory = _directory(config)
    indexes = [index for index, _ in records_of(directory, number_of(directory, message))]
    with LogReader(directory) as reader:
        proof = proof_of(reader, proofs_dir, indexes)
    _put(proof.encode(), output)


def proof_of(reader: LogReader, proofs_dir: Path, indexes: Sequence[int]) -> MessageProof:
    """Of the records of one message. Raises NoSuchRecord where not all of them are signed yet."""
    from storage.proofs.checkpoints import newest_with
    from storage.proofs.notary import TILE_NAME
    from storage.proofs.proof import prove as prove_records
    from storage.proofs.tiles import Tiles

    note, size = newest_with(proofs_dir, max(indexes))
    records = {index: reader.find(index) for index in indexes}
    return prove_records(records, note, Tiles(proofs_dir / TILE_NAME, size).subtree)


@app.command("check-proof")
def check_proof(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `evidence prove` wrote it.")],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="The log's verifier key, or its file.")],
    witness: WitnessesOption = None,
    json: JsonOption = False,
) -> None:
    """Checks one message's proof with nothing but the keys of those who signed, and shows its records."""
    from storage.proofs.merkle import ProofError
    from storage.proofs.note import NoteError
    from storage.proofs.proof import MessageProof

    try:
        found = MessageProof.parse(file.read_bytes()).check(
            verifier_key(key), [verifier_key(each) for each in witness or []]
        )
    except (ProofError, NoteError) as error:
        raise ProofError(f"{file}: {error}") from error
    records = [plain(index, record) for index, record in found.records]
    checkpoint, signed = found.checkpoint, found.signed
    if json:
        facts = {"records": records, "log": checkpoint.origin, "size": checkpoint.size}
        typer.echo(msgspec.json.encode({**facts, "signed_by": [each.name for each in signed]}).decode())
        return
    for each, time_s in signed.items():
        when = f", who saw it at {time_text(time_s * 1_000_000)}" if time_s else ""
        typer.echo(f"signed by {each.name}{when}: {checkpoint.size:,} records of {checkpoint.origin}")
    _show(records)
    typer.echo("These records are in that log. Whether the message has others, this file cannot show.")


@app.command()
def witness(
    proofs: Annotated[
        Path, typer.Option("--proofs", metavar="DIR", help="Tiles and checkpoints of the log.")
    ],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="The log's verifier key, or its file.")],
    signing_key: Annotated[
        Path, typer.Option("--signing-key", metavar="FILE", help="The witness's own, of `keys witness`.")
    ],
    memory: Annotated[Path, typer.Option("--memory", metavar="DIR", help="What the witness has seen.")],
    output: OutputOption = None,
) -> None:
    """For the other party: sees that the log extends what it had last seen, remembers that, and cosigns."""
    from storage.proofs.checkpoint import Checkpoint
    from storage.proofs.checkpoints import published
    from storage.proofs.notary import TILE_NAME
    from storage.proofs.note import WITNESS
    from storage.proofs.signing_key import read_signing_key
    from storage.proofs.tiles import Tiles
    from storage.proofs.witness import Witness

    note = published(proofs)
    tiles = Tiles(proofs / TILE_NAME, Checkpoint.parse(note.text).size)
    with Witness(memory, read_signing_key(signing_key, WITNESS)) as each:
        cosigned = each.cosign(note, verifier_key(key), tiles.subtree, int(time.time()))
    _put(cosigned.encode(), output)


@app.command()
def cosigned(
    config: ConfigOption,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `evidence witness` wrote it.")],
    key: KeyOption = "",
) -> None:
    """Keeps a witness's cosignature among the proofs; it must be of a witness in evidence.witnesses."""
    from storage.proofs.cosigned import keep

    tables = read(config)
    believed = log_key(tables, key)
    keys = [verifier_key(text) for text in tables.evidence.witnesses]
    for name, size in keep(tables.gateway.proofs_dir, file.read_bytes(), believed, keys).items():
        typer.echo(f"{name} has seen {size:,} records")


def _signed(config: Path | None, proofs: Path | None, key: str, witnesses: list[str]) -> Proofs | None:
    """The proofs to be checked; None where nothing was signed yet, and nobody says that something was."""
    from storage.proofs.checkpoints import check_key
    from storage.proofs.verify_tree import Proofs

    tables = None if config is None else read(config)
    directory = proofs or (None if tables is None else tables.gateway.proofs_dir)
    if directory is None:
        if key or witnesses:
            raise typer.BadParameter("name the proofs that this key has signed by --proofs DIR")
        return None
    if not _anything_signed(directory, asked=proofs is not None or bool(key)):
        return None
    if tables is None:
        if not key:
            raise typer.BadParameter("name the key that the log signs with by --key KEY")
        believed, keys = verifier_key(key), witnesses
    else:
        believed, keys = log_key(tables, key), witnesses or list(tables.evidence.witnesses)
    check_key(directory, believed)
    return Proofs(directory, believed, [verifier_key(each) for each in keys])


def _anything_signed(directory: Path, *, asked: bool) -> bool:
    """Whether there are checkpoints. Raises CorruptEvidence where there were, or somebody says so."""
    from storage.proofs.checkpoints import CHECKPOINT_NAME, CHECKPOINTS_NAME, COSIGNED_NAME, extent
    from storage.proofs.notary import TILE_NAME

    if extent(directory):
        return True
    left = [name for name in (CHECKPOINT_NAME, TILE_NAME, COSIGNED_NAME) if (directory / name).exists()]
    if asked or left:
        raise CorruptEvidence(directory / CHECKPOINTS_NAME, 0, "there is no checkpoint")
    return False


def _put(octets: bytes, output: Path | None) -> None:
    if output is None:
        typer.echo(octets.decode(), nl=False)
    else:
        output.write_bytes(octets)


def _directory(config: Path | None) -> Path:
    """The evidence directory of a configuration, with something in it."""
    if config is None:
        raise typer.BadParameter("name the configuration with -c FILE, or the segments with --evidence DIR")
    return with_segments(read(config).gateway.evidence_dir)


def with_segments(directory: Path) -> Path:
    """Raises NoSuchRecord where there is no segment."""
    from storage.segment import segment_paths

    if not segment_paths(directory):
        raise NoSuchRecord(f"{directory}: no evidence here: look at gateway.state_dir")
    return directory


def number_of(directory: Path, text: str) -> int:
    """The number of a message from its id as applications know it, or from plain digits."""
    from gateway.message import MessageIds
    from storage.segment import SegmentReader, segment_paths

    with SegmentReader(segment_paths(directory)[0]) as reader:
        number = MessageIds(reader.header.identity).number(text.encode())
    if number is None and text.isascii() and text.isdigit():
        number = int(text)
    if number is None:
        raise NoSuchRecord(f"{text}: no message id of this gateway: give it as submit_sm_resp had it")
    return number


def _summary(report: VerifyReport, witness_keys: Sequence[VerifierKey]) -> list[str]:
    outcomes = ", ".join(f"{count:,} {state}" for state, count in report.outcomes.items()) or "none"
    first = "" if report.first_index == 1 else f" from {report.first_index:,} on"
    lines = [
        "sound" if report.sound else "NOT SOUND",
        f"log       {report.identity.hex()}, {report.segments:,} segments, {report.octets:,} octets",
        f"records   {report.records:,}{first} in {report.frames:,} batches",
        f"last hash {report.last_hash.hex()}",
        f"messages  {report.accepted:,} accepted ({report.accepted_parts:,} parts), {report.open:,} open",
        f"outcomes  {outcomes}",
        f"uncertain {len(report.uncertain):,}",
        f"receipts  {report.unmatched_receipts:,} match nothing",
    ]
    if (proven := report.proven) is not None:
        unsigned = report.next_index - 1 - proven.size
        lines.append(
            f"proven    {proven.size:,} records: {proven.checkpoints:,} checkpoints, {proven.tiles:,} tiles"
            + (f"; {unsigned:,} not signed yet" if unsigned else "")
        )
        lines += [
            f"witnessed {size:,} records by {name} at {time_text(time_s * 1_000_000)}"
            for name, (size, time_s) in proven.witnessed.items()
        ]
        lines += [
            f"witnessed nothing by {key.name}: no cosignature of it is kept"
            for key in witness_keys
            if key.name not in proven.witnessed
        ]
    else:
        lines.append("proven    nothing: no checkpoint was looked at")
    if report.erased_days:
        lines.append(f"erased    content of {', '.join(report.erased_days)}")
    if report.torn_tail is not None:
        path, offset, octets = report.torn_tail
        lines.append(f"torn tail {path}: {octets:,} octets at {offset:,}, which the next start cuts")
    lines += [
        f"fault     record {fault.index}: {fault.reason}" for fault in report.faults[:_FAULTS_SHOWN_MAX]
    ]
    return lines


def _report(report: VerifyReport) -> dict[str, Any]:
    facts = msgspec.structs.asdict(report)
    facts["identity"], facts["last_hash"] = report.identity.hex(), report.last_hash.hex()
    if report.damage is not None:
        facts["damage"] = {**msgspec.structs.asdict(report.damage), "path": str(report.damage.path)}
    if report.torn_tail is not None:
        path, offset, octets = report.torn_tail
        facts["torn_tail"] = {"path": str(path), "offset": offset, "octets": octets}
    return facts
