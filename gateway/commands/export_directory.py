"""The directory of an export: what somebody in authority is given of an incident (annex 二.10).

    messages.csv     a row for each part that was found, oldest first, for a spreadsheet program
    records.jsonl    every record of their messages as plain facts, in the order of the log by message
    proofs/          for each message the file that proves its records (`jingxin evidence check-proof`)
    manifest.json    what this is of and what for, and the SHA-256 of every other file

It is made under another name, which ends with `.part`, and has its own when it is whole.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec
import typer

from gateway.bodies import submit_of_body
from gateway.commands.evidence import proof_of
from gateway.commands.found_rows import row_of
from gateway.commands.plain import plain
from gateway.config import CarrierConfig, Tables
from gateway.message import MessageIds
from gateway.number_plan import mask, normalise
from gateway.password import Password
from gateway.profile import Profile
from protocol.alphabet import Alphabet, AlphabetError, decode
from protocol.smpp.codes import EsmClass, TlvTag
from protocol.smpp.pdu import SubmitSm
from protocol.udh import HeaderError, parse_header
from storage import records
from storage.csv_cells import defused
from storage.errors import ContentErased, NoSuchRecord
from storage.keys import Keyring
from storage.ledger.search import Found
from storage.proofs.checkpoints import published
from storage.reader import LogReader
from storage.records import Accepted, AnyRecord, Replaced
from storage.seal import unseal
from storage.settlement.calendar import moment
from storage.show import indexes_of

MESSAGES_NAME: Final = "messages.csv"
RECORDS_NAME: Final = "records.jsonl"
PROOFS_NAME: Final = "proofs"
MANIFEST_NAME: Final = "manifest.json"
PROOF_SUFFIX: Final = ".tlog-proof"

ERASED: Final = "erased"

_COLUMNS: Final = (
    *("id", "part", "accepted", "account", "carrier", "state", "code", "sent", "ended", "units"),
    *("number", "text"),
)

_UDHI: Final = int(EsmClass.UDHI)
_MESSAGE_PAYLOAD: Final = int(TlvTag.MESSAGE_PAYLOAD)

Records = Sequence[tuple[int, AnyRecord]]


class Purpose(NamedTuple):
    """What an export is for. record: that says so in the evidence. complete: all that was found is in it."""

    reason: str
    who: str
    record: int
    criteria: Mapping[str, str]
    complete: bool


class Contents(NamedTuple):
    """Numbers and texts, as far as they may be seen. keyring: None where they stay sealed. subscriber: whose
    messages these are, where that was asked for, else empty. alphabets: of data_coding 0, by carrier."""

    keyring: Keyring | None
    subscriber: bytes
    alphabets: Mapping[str, Alphabet]

    @classmethod
    def of(cls, tables: Tables, keyring: Keyring | None, subscriber: bytes) -> Self:
        configs = (
            CarrierConfig(**msgspec.structs.asdict(table), password=Password())
            for table in tables.carrier_tables
        )
        return cls(keyring, subscriber, {config.name: Profile.of(config).alphabet for config in configs})

    def columns(self, found: Found, of_message: Records) -> dict[str, str]:
        """number and text of a part, as it was last. Raises ContentDamaged, KeyFileError."""
        if self.keyring is None:
            return {"number": mask(self.subscriber) if self.subscriber else "", "text": ""}
        index, sealed = _content(found.number, of_message)
        if not sealed:
            return {"number": "", "text": ""}
        try:
            pdu = submit_of_body(unseal(self.keyring, index, sealed))
        except ContentErased:
            return {"number": ERASED, "text": ERASED}
        number = normalise(pdu.destination_addr) or pdu.destination_addr
        text = text_of(pdu, self.alphabets.get(found.carrier, Alphabet.GSM))
        return {"number": number.decode("ascii", "backslashreplace"), "text": text}


def check_free(output: Path) -> None:
    """Raises BadParameter where the directory cannot be made."""
    if not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is no directory", param_hint="'--output'")
    for path, remedy in ((output, "name another"), (_part(output), "remove what an export has left there")):
        if os.path.lexists(path):
            raise typer.BadParameter(f"{path} exists: {remedy}", param_hint="'--output'")


def write(
    output: Path, tables: Tables, found: Sequence[Found], purpose: Purpose, contents: Contents
) -> dict[str, Any]:
    """Returns how much of each thing there is. Raises as `storage.show` does, and as `Contents.columns`;
    nothing is left then."""
    part = _part(output)
    part.mkdir(mode=0o700)
    try:
        with LogReader(tables.gateway.evidence_dir) as reader:
            manifest = _write_all(part, reader, tables, found, purpose, contents)
        os.rename(part, output)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    unsigned = manifest["not_signed_yet"]
    counts = {name: manifest[name] for name in ("messages", "parts", "records")}
    return {**counts, "proofs": counts["messages"] - len(unsigned), "not_signed_yet": len(unsigned)}


def text_of(pdu: SubmitSm, default_alphabet: Alphabet) -> str:
    """What a submit_sm says, without its header; its octets in hexadecimal where that is no text."""
    octets = pdu.short_message or pdu.tlv(_MESSAGE_PAYLOAD) or b""
    try:
        text = parse_header(octets)[1] if pdu.esm_class & _UDHI else octets
        return decode(text, pdu.data_coding, default_alphabet)
    except (HeaderError, AlphabetError):
        return f"octets {octets.hex()}"


def _write_all(
    directory: Path,
    reader: LogReader,
    tables: Tables,
    found: Sequence[Found],
    purpose: Purpose,
    contents: Contents,
) -> dict[str, Any]:
    """Returns the manifest."""
    ids = MessageIds(reader.identity)
    checkpoint = _checkpoint(tables.gateway.proofs_dir)
    indexes = indexes_of(reader, {each.message for each in found})
    _write_messages(directory, reader, found, indexes, ids, contents)
    unsigned = _write_proofs(directory / PROOFS_NAME, reader, tables.gateway.proofs_dir, indexes, ids)
    manifest = {
        "log": {"gateway": tables.gateway.name, "identity": reader.identity.hex()},
        "checkpoint": checkpoint,
        "reason": purpose.reason,
        "who": purpose.who,
        "when": moment(records.decode(reader.find(purpose.record)).time_us),
        "recorded_as": purpose.record,
        "criteria": purpose.criteria,
        "time_zone": "Asia/Shanghai",
        "complete": purpose.complete,
        "revealed": contents.keyring is not None,
        "messages": len(indexes),
        "parts": len(found),
        "records": sum(map(len, indexes.values())),
        "not_signed_yet": unsigned,
        "sha256": _digests(directory),
    }
    octets = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (directory / MANIFEST_NAME).write_bytes(octets + b"\n")
    return manifest


def _write_messages(
    directory: Path,
    reader: LogReader,
    found: Iterable[Found],
    indexes: Mapping[int, Sequence[int]],
    ids: MessageIds,
    contents: Contents,
) -> None:
    """The rows of the parts, and the records of their messages."""
    with (
        (directory / RECORDS_NAME).open("wb") as lines,
        # By the mark at its beginning spreadsheet programs see that it is UTF-8.
        (directory / MESSAGES_NAME).open("w", encoding="utf-8-sig", newline="") as text,
    ):
        rows = csv.DictWriter(text, _COLUMNS)
        rows.writeheader()
        for number, parts in groupby(sorted(found, key=_place), key=lambda each: each.message):
            of_message = [(index, records.decode(reader.find(index))) for index in indexes[number]]
            message_id = ids.text(number).decode()
            for index, record in of_message:
                lines.write(msgspec.json.encode({"id": message_id, **plain(index, record)}) + b"\n")
            for each in parts:
                row = {**row_of(each, ids), **contents.columns(each, of_message)}
                rows.writerow({name: cell(value) for name, value in row.items()})


def _place(found: Found) -> tuple[int, int]:
    return found.message, found.number


def cell(value: object) -> str:
    """As text that no spreadsheet program takes for a formula; empty for None."""
    return "" if value is None else defused(str(value))


def _content(number: int, of_message: Records) -> tuple[int, bytes]:
    """The sealed body of a part as it was last, and the record that it is in; 0 and empty for none."""
    last = (0, b"")
    for index, record in of_message:
        match record:
            case Accepted() if index == number:
                last = (index, record.content)
            case Replaced() if record.number == number:
                last = (index, record.content)
            case _:
                pass
    return last


def _write_proofs(
    directory: Path,
    reader: LogReader,
    proofs_dir: Path,
    indexes: Mapping[int, Sequence[int]],
    ids: MessageIds,
) -> list[str]:
    """Returns the ids of the messages that are not signed yet, or not with all of their records."""
    directory.mkdir()
    unsigned = []
    for number, of_message in indexes.items():
        message_id = ids.text(number).decode()
        try:
            proof = proof_of(reader, proofs_dir, of_message)
        except NoSuchRecord:
            unsigned.append(message_id)
            continue
        (directory / f"{message_id}{PROOF_SUFFIX}").write_bytes(proof.encode())
    return unsigned


def _checkpoint(proofs_dir: Path) -> str | None:
    """The newest, a signed note; None where nothing is signed yet."""
    try:
        return published(proofs_dir).encode().decode()
    except NoSuchRecord:
        return None


def _digests(directory: Path) -> dict[str, str]:
    """SHA-256 of each file, by its path within the directory."""
    digests = {}
    for path in sorted(each for each in directory.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            digests[str(path.relative_to(directory))] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _part(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")
