"""The product against the auditor, who has the documents of the format and nothing of ours.

What they must agree on is every octet of `statement.json`, and what `verify` counts; and the auditor must see
every change to what was signed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.causes import cause_by, sources
from gateway.outcomes import OutcomeTable
from storage.proofs.cosigned import keep
from storage.proofs.note import WITNESS, Note, Signer
from storage.proofs.verify_tree import Proofs
from storage.reader import LogReader
from storage.records import Accepted, Configured, LinkEvent, Noted, Refused, encode
from storage.settlement.calendar import parse_period
from storage.settlement.contract import read_contract, shipped_text
from storage.settlement.issue import tied_checkpoint
from storage.settlement.statement import cut_of, make_statement
from storage.verify import verify
from tests import auditor
from tests.auditor import causes, ed25519
from tests.storage.settlement import test_statement_golden as golden
from tests.storage.settlement.chance import RECEIPTS, STATUSES, Chance
from tests.storage.settlement.story import SIGNER, Story

KEY: Final = str(SIGNER.verifier)
CODES: Final = Path(__file__).parents[3] / "gateway" / "data" / "status_codes.csv"
TABLE: Final = OutcomeTable.load(None)
PERIOD: Final = ("2026-06", "2026-11")


def agreed(**values: str) -> str:
    """The contract that ships with other values, as billing__unit='"message"'."""
    text = shipped_text()
    for key, value in values.items():
        table, _, field = key.partition("__")
        begin = text.index(f"\n[{table}]")
        end = text.index("\n[[origin]]", begin)
        section = re.sub(rf"(?m)^{field} = [^#\n]*", f"{field} = {value} ", text[begin:end])
        assert section != text[begin:end], key
        text = text[:begin] + section + text[end:]
    return text


CONTRACTS: Final = {
    "shipped": agreed(),
    "message": agreed(billing__unit='"message"', sla__complaints_max="1", sla__combine='"all"'),
    "delivered": agreed(
        billing__count_on='"delivered"',
        recon__carrier_basis='"prefix"',
        settlement__cutoff_hours="0",
        sla__complaints_max="1",
        sla__exclude_planned="true",
    ),
    "submitted": agreed(
        billing__count_on='"submitted"',
        billing__cancelled='"charged"',
        billing__price_mo="170",
        sla__exclude_terminal="true",
        sla__include_mo="false",
        sla__combine='"all"',
        reduction__rounding='"half_even"',
    ),
    "monthly": agreed(
        billing__unit='"message"',
        sla__rate_window='"month"',
        sla__combine='"all"',
        sla__unknown='"excluded"',
        sla__complaint_count='"attributed"',
        reduction__rounding='"down"',
        reduction__to="10000",
    ),
    "year": agreed(
        billing__unit='"message"',
        settlement__cutoff_hours="744",
        recon__carrier_basis='"prefix"',
        sla__complaint_window='"contract_year"',
        sla__combine='"all"',
        sla__complaints_max="3",
        sla__exclude_planned="true",
        sla__force_majeure_needs_proof="true",
        sla__rate_window='"month"',
        alarms__complaints_at="2",
    ),
    "amended": agreed()
    + '[[amendment]]\neffective = 2026-06-01\ndocument = "补充协议"\nclause = "一"\n'
    + "[amendment.billing]\nprice_mt = 280\nprice_mo = 260\n"
    + '[[amendment]]\neffective = 2026-12-01\ndocument = "补充协议二"\nclause = "一"\n'
    + "[amendment.billing]\nprice_mt = 100\nprice_mo = 260\n",
}


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("contracts")
    paths = {}
    for name, text in CONTRACTS.items():
        paths[name] = directory / f"{name}.toml"
        paths[name].write_text(text)
    return paths


def read(story: Story) -> auditor.Evidence:
    return auditor.Evidence.read(story.evidence, story.proofs, KEY)


def stated(story: Story, *contract_files: Path) -> list[bytes]:
    """As Story.statement, by each contract, with the causes of the product: the octets of statement.json."""
    made = []
    with LogReader(story.evidence) as reader, closing(story.ledger()) as connection:
        for contract in map(read_contract, contract_files):
            span = parse_period("..".join(PERIOD), contract.settlement)
            before_us = cut_of(contract, span, 0).before_us
            checkpoint, final = tied_checkpoint(story.proofs, reader, SIGNER.verifier, before_us)
            statement = make_statement(
                connection,
                contract,
                span,
                checkpoint,
                reader.identity,
                final=final,
                causes=sources(None),
                cause_of=cause_by(TABLE),
            )
            made.append(statement.encode())
    return made


def differences(one: object, two: object, where: str = "") -> list[str]:
    """The keys in which the product's statement (one) and the auditor's (two) differ."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return [text for key in one for text in differences(one[key], two[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [text for place, pair in pairs for text in differences(*pair, f"{where}[{place}]")]
    return [] if one == two else [f"{where}: {one!r}, the auditor {two!r}"]


def compare(story: Story, evidence: auditor.Evidence, *contract_files: Path) -> None:
    """The statements of the two must be equal, octet by octet."""
    for contract_file, octets in zip(contract_files, stated(story, *contract_files), strict=True):
        made = auditor.compute(evidence, contract_file, CODES, *PERIOD)
        assert differences(json.loads(octets), made) == [], contract_file.stem
        assert octets == auditor.canonical(made)


def compare_counts(story: Story, findings: auditor.Findings) -> None:
    report = verify(story.evidence, proofs=story.proven())
    assert (report.damage, report.faults) == (None, [])
    assert findings.records == report.records
    assert findings.parts == report.accepted
    assert findings.accepted_units == report.accepted_parts
    assert findings.outcomes == dict(report.outcomes)
    assert (findings.open, findings.unmatched) == (report.open, report.unmatched_receipts)
    assert report.proven is not None
    assert (findings.checkpoints, findings.covered) == (report.proven.checkpoints, report.proven.size)


# -- stories ----------------------------------------------------------------------------------------------


def handsets(story: Story) -> None:
    story.deliver(20)
    story.deliver(2, b"MK:0012")
    story.deliver(1, b"MK:0001")
    story.deliver(1, b"ID:0318", carrier="cbn")
    story.complain(7, attributed="b")
    story.complain(5, attributed="a")
    entry = story.noted("complaint")
    story.noted("complaint", "closed", entry, attributed="b")


def flood(story: Story) -> None:
    story.deliver(9)
    story.complain(11)
    planned = story.announced("2026-07-20 11:00:00", "2026-07-20 12:00:00")
    at_once = story.at("2026-07-20 10:00:00").announced("2026-07-20 10:00:00", "2026-07-20 13:00:00")
    entry = story.noted("force majeure", "began")
    story.deliver(3, b"MK:0012")
    story.reply()
    story.at("2026-07-20 11:00:00").noted("force majeure", "ended", entry)
    story.deliver(2, b"MK:0012")
    story.noted("maintenance", "began", planned)
    story.noted("maintenance", "began", at_once)
    story.deliver(2, b"MK:0012")
    story.at("2026-07-20 12:00:00").deliver(2, b"MK:0012")


def again_and_replaced(story: Story) -> None:
    number = story.accept()
    story.replaced(number, 3)
    story.dispatch(number)
    story.sent(number)
    story.receipt(number)
    story.receipt(number, final=False)
    story.receipt(number, b"MK:0012", final=False)
    story.matched(story.receipt(0, final=False), number, final=False)


def complaints_of_a_year(story: Story) -> None:
    story.complain(4)
    story.at("2026-11-30 23:59:59").complain(7)
    story.at("2026-12-01").complain(3)
    story.deliver(1, b"MK:0012")


def networks_change(story: Story) -> None:
    """Between a receipt and its match, an attempt and its end, and after all."""
    first, second, third = (story.accept() for _ in range(3))
    story.dispatch(first, second, third)
    receipt = story.receipt(0, b"MK:0001", final=False)
    story.write(Configured(story.now_us, [("hukou", "office")], [("cmcc", "unicom")]))
    story.matched(receipt, first)
    story.refused(second)
    story.uncertain(third)
    story.reply()
    story.deliver()
    story.write(Configured(story.now_us, [("oa", "")], [("cmcc", "telecom"), ("cucc", "")]))
    story.accept()


def behind_the_cut(story: Story) -> None:
    """What stands before the checkpoint, and was not known in time."""
    story.at("2026-11-30 23:00:00")
    replaced, refused, withdrawn = (story.accept() for _ in range(3))
    story.dispatch(refused, withdrawn)
    receipt = story.receipt(0, final=False)
    story.deliver(1, b"MK:0012")
    entry = story.noted("force majeure", "began")
    story.complain(11)
    early = story.now_us
    story.at("2026-12-04 00:00:00").replaced(replaced, 4)
    story.refused(refused, final=False)
    story.withdrawn(withdrawn)
    story.matched(receipt, refused)
    facts = [("attributed", "b")]
    story.write(
        Noted(story.now_us, "complaint", 0, "opened", early, "zhang", facts),
        Noted(story.now_us, "force majeure", entry, "ended", early, "zhang", []),
    )


def answers_of_links(story: Story) -> None:
    """Two attempts over two links; the first is answered late, and the second was never made."""
    number = story.accept()
    story.dispatch(number, link=0)
    story.uncertain(number)
    story.dispatch(number, link=1)
    story.write(Refused(number, story.now_us, 0, 0x45, False, moot=True))
    story.withdrawn(number)
    story.accept_cut(2)
    for part in story.accept_cut(2):
        story.dispatch(part)
        story.outcome(part, 3)


def told_twice(story: Story) -> None:
    """Registers in which a thing stands twice, spans that end as something is accepted, replies in pieces."""
    entry = story.noted("force majeure", "opened")
    story.at("2026-06-30 10:00:00").noted("force majeure", "began", entry)
    story.deliver(1, b"MK:0012")
    story.at("2026-06-30 11:00:00").noted("force majeure", "began", entry)
    story.at("2026-06-30 12:00:00").noted("force majeure", "ended", entry)
    story.deliver(2, b"MK:0012")
    story.at("2026-06-30 13:00:00").noted("force majeure", "ended", entry)
    story.deliver(3)
    complaint = story.noted("complaint", attributed="a")
    story.noted("complaint", "attributed", complaint, attributed="b")
    second = story.noted("complaint", attributed="b")
    story.at("2026-07-01").noted("complaint", "opened", second)
    pieces = [story.at(f"2026-{month}-20").reply(waits=True) for month in ("07", "08", "09")]
    story.assembled(*reversed(pieces))


STORIES: Final = (
    golden.long_texts,
    golden.three_ways,
    golden.replies,
    golden.attempts,
    golden.not_known,
    golden.at_the_end,
    golden.of_a_hundred(98, 11),
    handsets,
    flood,
    again_and_replaced,
    complaints_of_a_year,
    networks_change,
    behind_the_cut,
    answers_of_links,
    told_twice,
)


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__qualname__.partition(".")[0])
def test_stories_are_settled_alike(
    tell: Callable[[Story], None], tmp_path: Path, contracts: dict[str, Path]
) -> None:
    with Story(tmp_path) as story:
        story.at("2026-06-01 08:00:00")
        tell(story)
        story.settle()
        evidence = read(story)
        compare_counts(story, evidence.findings)
        compare(story, evidence, *contracts.values())


@pytest.mark.parametrize("seed", range(16))
def test_histories_by_chance_are_settled_alike(seed: int, tmp_path: Path, contracts: dict[str, Path]) -> None:
    with Story(tmp_path, "2026-05-20") as story:
        Chance(seed, story).run(20)
        evidence = read(story)
        compare_counts(story, evidence.findings)
        files = list(contracts.values())
        compare(story, evidence, files[seed % len(files)], files[(seed + 3) % len(files)])


def test_causes_are_read_alike() -> None:
    rows = causes.read(CODES)
    for network in ("mobile", "unicom", "telecom", "broadnet", ""):
        for account in ("cmcc", "unicom"):
            for state, stat, err in RECEIPTS:
                of_ours = TABLE.of_receipt(account, network, stat, err, state).cause
                assert causes.of_receipt(rows, account, network, state, stat, err) == of_ours, (stat, err)
            for status in (*STATUSES, *range(1, 0x120)):
                of_ours = TABLE.of_status(account, network, status).cause
                assert causes.of_refused(rows, account, network, status) == of_ours, hex(status)


def test_any_changed_figure_is_seen(tmp_path: Path, contracts: dict[str, Path]) -> None:
    def places(value: Any) -> Iterator[tuple[Any, Any]]:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, (dict, list)):
                yield from places(inner)
            else:
                yield value, key

    with Story(tmp_path) as story:
        handsets(story.at("2026-06-01 08:00:00"))
        story.settle()
        (octets,) = stated(story, contracts["shipped"])
        made = auditor.statement(story.evidence, story.proofs, KEY, contracts["shipped"], CODES, *PERIOD)
        shown = json.loads(octets)
        for holder, key in places(shown):
            before = holder[key]
            holder[key] = before + "x" if isinstance(before, str) else int(before) + 1
            assert len(differences(shown, made)) == 1
            holder[key] = before
        assert differences(shown, made) == []


# -- what the documents say of answers --------------------------------------------------------------------


def test_an_attempt_that_is_answered_again_later_stays_as_it_was(
    tmp_path: Path, contracts: dict[str, Path]
) -> None:
    """What comes behind the records of a final statement does not change it."""
    with Story(tmp_path) as story:
        number = story.at("2026-11-30 12:00:00").accept()
        story.dispatch(number)
        story.refused(number, final=False)
        story.settle()
        (first,) = stated(story, contracts["shipped"])
        assert json.loads(first)["final"]
        compare(story, read(story), contracts["shipped"])
        story.at("2026-12-05").refused(number, final=False)  # once more, with nothing sent between
        story.sign()
        (later,) = stated(story, contracts["shipped"])
        figures = [json.loads(octets)["total"] for octets in (first, later)]
        assert figures[0] == figures[1]
        assert first == later


# -- damage -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log of two segments, signed three times on two days."""
    directory = tmp_path_factory.mktemp("small")
    with Story(directory) as story:
        story.deliver()
        story.sign()
        story._driver.turn(encode(LinkEvent(story.now_us, "cmcc", 0, "bound", "")))
        story.at("2026-06-02 08:00:00").deliver(1, b"MK:0012")
        story.sign()
        story.reply()
        story.sign()
    assert len(list((directory / "evidence").glob("*.seg"))) == 2
    auditor.audit(directory / "evidence", directory / "proofs", KEY)
    return directory


def refused(directory: Path) -> bool:
    try:
        auditor.audit(directory / "evidence", directory / "proofs", KEY)
    except auditor.Wrong:
        return True
    return False


def found(directory: Path) -> bool:
    """Whether verify sees it."""
    proofs = Proofs(directory / "proofs", SIGNER.verifier)
    report = verify(directory / "evidence", proofs=proofs)
    return not report.sound


@pytest.mark.parametrize("place", range(3))
def test_what_was_cut_is_together_and_both_say_so_where_it_is_not(place: int, tmp_path: Path) -> None:
    # Three parts of one text; an uncut one is put before, among or behind them.
    with Story(tmp_path) as story:
        first = 3 if place == 0 else 2
        for number in range(4):
            facts = ("hukou", 1, 0, "cmcc", b"n" * 16, 1, 1, 0, 0, b"")
            uncut = number == (0, 1, 3)[place]
            story.write(
                Accepted(story.now_us, *facts)
                if uncut
                else Accepted(story.now_us, *facts, first=first, cut_into=3)
            )
        story.sign()
    assert refused(tmp_path) is found(tmp_path) is (place == 1)


def copied(small: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "copy"
    shutil.copytree(small, directory)
    return directory


def test_any_changed_octet_of_a_segment_is_seen(small: Path, tmp_path: Path) -> None:
    directory = copied(small, tmp_path)
    random = Random(1)
    for path in sorted((directory / "evidence").glob("*.seg")):
        whole = path.read_bytes()
        used = len(whole.rstrip(b"\0"))
        places = {*range(100), *range(4090, 4096 + 80), *random.sample(range(used), 120), used - 1}
        for place in sorted(places):
            with path.open("r+b") as file:
                file.seek(place)
                file.write(bytes([whole[place] ^ 1 << random.randrange(8)]))
            assert refused(directory), (path.name, place)
            if place % 8 == 0:
                assert found(directory), (path.name, place)
            with path.open("r+b") as file:
                file.seek(place)
                file.write(whole[place : place + 1])
    assert not refused(directory)


def test_any_changed_octet_of_the_proofs_is_seen(small: Path, tmp_path: Path) -> None:
    directory = copied(small, tmp_path)
    random = Random(2)
    proofs = directory / "proofs"
    paths = [path for path in proofs.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(paths) >= 4
    for path in sorted(paths):
        whole = path.read_bytes()
        for place in sorted(random.sample(range(len(whole)), min(len(whole), 40))):
            path.write_bytes(
                whole[:place] + bytes([whole[place] ^ 1 << random.randrange(8)]) + whole[place + 1 :]
            )
            assert refused(directory), (path.name, place)
            if place % 8 == 0:
                assert found(directory), (path.name, place)
        path.write_bytes(whole)
    assert not refused(directory)


def frames_of(data: bytes) -> list[bytes]:
    frames, place = [], 4096
    while data[place : place + 4] == b"JXBF":
        end = place + 72 + int.from_bytes(data[place + 8 : place + 12], "big")
        frames.append(data[place:end])
        place = end
    return frames


def test_frames_left_out_or_in_another_order_are_seen(small: Path, tmp_path: Path) -> None:
    directory = copied(small, tmp_path)
    for path in sorted((directory / "evidence").glob("*.seg")):
        whole = path.read_bytes()
        frames = frames_of(whole)
        assert len(frames) >= 3
        changed = [frames[:place] + frames[place + 1 :] for place in range(len(frames))]
        changed += [
            [*frames[:place], frames[place + 1], frames[place], *frames[place + 2 :]]
            for place in range(len(frames) - 1)
        ]
        changed.append([*frames, frames[-1]])
        for others in changed:
            path.write_bytes((whole[:4096] + b"".join(others)).ljust(len(whole), b"\0"))
            assert refused(directory)
            assert found(directory)
        path.write_bytes(whole)
    assert not refused(directory)


def test_a_record_that_was_written_anew_with_all_hashes_is_seen(small: Path, tmp_path: Path) -> None:
    directory = copied(small, tmp_path)
    path = max((directory / "evidence").glob("*.seg"))
    whole = path.read_bytes()
    identity, chain = whole[16:32], whole[32:64]
    frames = b""
    for frame in frames_of(whole):
        payload = frame[72:].replace(b"MK:0012", b"DELIVRD")
        header = frame[:32] + chain + struct.pack(">I", zlib.crc32(payload))
        header += struct.pack(">I", zlib.crc32(header, zlib.crc32(identity)))
        chain = hashlib.sha256(header + payload).digest()
        frames += header + payload
    assert frames != b"".join(frames_of(whole))
    path.write_bytes((whole[:4096] + frames).ljust(len(whole), b"\0"))
    with pytest.raises(auditor.Wrong, match=r"another root|is not of this log"):
        auditor.audit(directory / "evidence", directory / "proofs", KEY)
    assert found(directory)


def test_a_torn_tail_is_no_damage(small: Path, tmp_path: Path) -> None:
    directory = copied(small, tmp_path)
    path = max((directory / "evidence").glob("*.seg"))
    whole = path.read_bytes()
    used = len(whole.rstrip(b"\0"))
    path.write_bytes(whole[:used] + b"JXBF\x01" + whole[used + 5 :])
    assert auditor.audit(directory / "evidence", directory / "proofs", KEY).torn == 5


def test_another_key_is_not_believed(small: Path) -> None:
    stranger = Signer(SIGNER.verifier.name, SIGNER.verifier.kind, bytes(32)).verifier
    with pytest.raises(auditor.Wrong, match="not signed by"):
        auditor.audit(small / "evidence", small / "proofs", str(stranger))


def test_cosignatures(small: Path, tmp_path: Path) -> None:
    directory = copied(small, tmp_path)
    witness = Signer("witness.example", WITNESS, bytes(range(1, 33)))
    note = Note.parse((directory / "proofs" / "checkpoint").read_bytes())
    octets = note.signed_also(witness.sign(note.text, 1_780_000_000)).encode()
    keep(directory / "proofs", octets, SIGNER.verifier, [witness.verifier])
    (path,) = (directory / "proofs" / "cosigned").iterdir()
    arguments = (directory / "evidence", directory / "proofs", KEY, [str(witness.verifier)])
    findings = auditor.audit(*arguments)
    assert findings.cosigned == {"witness.example": findings.covered}
    for place in range(len(octets) - 94, len(octets), 5):
        path.write_bytes(octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :])
        with pytest.raises(auditor.Wrong):
            auditor.audit(*arguments)


def test_the_auditor_stands_alone() -> None:
    """It imports the standard library, and itself."""
    for path in sorted(Path(auditor.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                alone = name.partition(".")[0] in sys.stdlib_module_names
                assert alone or name.startswith("tests.auditor"), (path.name, name)


def test_ed25519_against_an_implementation_of_others() -> None:
    # RFC 8032 section 7.1, test 2.
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert ed25519.verifies(public, b"\x72", signature)
    assert not ed25519.verifies(public, b"\x73", signature)
    for number in range(8):
        key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        message = bytes(range(number))
        signed = key.sign(message)
        assert ed25519.verifies(key.public_key().public_bytes_raw(), message, signed)
        high = (int.from_bytes(signed[32:], "little") + ed25519.ORDER).to_bytes(32, "little")
        assert not ed25519.verifies(key.public_key().public_bytes_raw(), message, signed[:32] + high)
