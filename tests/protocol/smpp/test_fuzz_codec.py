"""The short form of tests/fuzz/fuzz_codec.py, whose promise stands there."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.smpp.codec import HEADER
from protocol.smpp.codes import CommandId
from tests.fuzz.fuzz_codec import check, run

headers = st.sampled_from([int(command_id) for command_id in CommandId] + [0, 0xABCD, 0x8000ABCD])


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32))
def test_any_octets(data: bytes) -> None:
    check(data)


@settings(deadline=None, max_examples=300)
@given(headers, st.sampled_from([0, 0x58, 0xFFFFFFFF]), st.binary(max_size=200))
def test_any_body_behind_a_sound_header(command_id: int, command_status: int, body: bytes) -> None:
    check(HEADER.pack(16 + len(body), command_id, command_status, 7) + body)


@pytest.mark.parametrize("seed", range(3))
def test_mutations(seed: int) -> None:
    run(1000, seed)
