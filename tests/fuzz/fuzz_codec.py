"""Promise: whatever the octets, decoding gives a PDU, or raises PduError or StreamError, never anything else.

And beside it: a PDU that was decoded is encoded again, and read back equal; the hand-written decoders and the
rows agree; the value of a TLV is read, or is a FieldError; a FrameBuffer fed in pieces gives the octets back,
or says that the stream is lost.

    python -m tests.fuzz.fuzz_codec --runs 100000 --seed 1

Runs on atheris where that is installed, with `--atheris` and its own arguments behind it; otherwise a loop of
mutations in plain Python, which a run number and a seed repeat exactly.
"""

import argparse
import importlib
import random
import sys
from collections.abc import Sequence

from protocol.smpp.codec import HEADER, decode, decode_by_row, encode
from protocol.smpp.errors import FieldError, PduError, StreamError
from protocol.smpp.framing import FrameBuffer
from protocol.smpp.limits import FRAME_LENGTH_MAX
from protocol.smpp.pdu import PDU_CLASSES, Pdu
from protocol.smpp.tlv import decode_tlv_value
from tests.protocol.smpp.pdus import shown
from tests.vectors.smpp_pdus import VECTORS

CORPUS = tuple(vector.frame for vector in VECTORS)


def check(data: bytes) -> None:
    """The promise. Raises AssertionError, or whatever it was that may not be raised."""
    _check_decoding(data[:FRAME_LENGTH_MAX])
    _check_framing(data)


def _check_decoding(frame: bytes) -> None:
    result: Pdu | PduError
    try:
        result = decode(frame)
    except StreamError:
        return
    except PduError as error:
        result = error
    _, command_id, command_status, sequence_number = HEADER.unpack_from(frame)
    if isinstance(result, PduError):
        assert (result.command_id, result.sequence_number) == (command_id, sequence_number)
        assert result.command_status != 0
    else:
        assert (result.command_id, result.sequence_number) == (command_id, sequence_number)
        assert shown(decode(encode(result))) == shown(result)
        for tag, value in result.tlvs:
            try:
                decode_tlv_value(tag, value)
            except FieldError as error:
                assert error.command_status != 0  # noqa: PT017  # not a test of pytest's
        assert repr(result)
    if command_id in PDU_CLASSES:
        try:
            by_row = decode_by_row(PDU_CLASSES[command_id], frame, command_status, sequence_number)
        except PduError as error:
            assert isinstance(result, PduError)
            assert error.args == result.args  # noqa: PT017
        else:
            assert isinstance(result, Pdu)
            assert shown(by_row) == shown(result)


def _check_framing(data: bytes) -> None:
    piece = 1 + (data[0] if data else 0)
    buffer = FrameBuffer()
    taken = b""
    for start in range(0, len(data), piece):
        buffer.feed(data[start : start + piece])
        try:
            taken += b"".join(buffer.take(3))
        except StreamError:
            assert buffer.ready
            break
        assert data.startswith(taken)
        assert len(taken) + buffer.pending_octets == min(start + piece, len(data))


def mutate(source: random.Random) -> bytes:
    """A frame of the corpus, damaged; mostly with a true command_length, so that the damage is met."""
    frame = bytearray(source.choice(CORPUS))
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(frame) + 1)
        match source.randrange(6):
            case 0:
                frame[at:at] = source.randbytes(source.randint(1, 8))
            case 1:
                del frame[at : at + source.randint(1, 8)]
            case 2:
                frame[at : at + 1] = source.choice((b"\0", b"\1", b"\xff", b"\x7f", source.randbytes(1)))
            case 3:
                del frame[at:]
            case 4:
                other = source.choice(CORPUS)
                frame[at:] = other[source.randrange(len(other)) :]
            case 5:
                frame[at:at] = bytes((source.choice((0, 0x31)),)) * source.randint(1, 80)
    if len(frame) >= 16:
        if source.random() < 0.5:
            frame[4:8] = source.choice(CORPUS)[4:8]
        if source.random() < 0.8:
            frame[:4] = len(frame).to_bytes(4, "big")
    return bytes(frame)


def run(runs: int, seed: int) -> None:
    """Check `runs` mutations. A failure names the octets that made it."""
    source = random.Random(seed)
    for number in range(runs):
        data = mutate(source)
        try:
            check(data)
        except BaseException as error:
            error.add_note(f"seed {seed}, run {number}: {data.hex()}")
            raise


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000, help="mutations to check")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run exactly")
    parser.add_argument("--atheris", action="store_true", help="coverage-guided, where atheris is installed")
    options, rest = parser.parse_known_args(arguments)
    if options.atheris:
        atheris = importlib.import_module("atheris")
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], *rest], check)
        atheris.Fuzz()
        return
    run(options.runs, options.seed)
    sys.stdout.write(
        f"{options.runs} mutations of {len(CORPUS)} frames kept the promise (seed {options.seed})\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
