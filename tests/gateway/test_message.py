"""Message ids as applications know them, and the addresses as they stand on the wire."""

import pytest

from gateway.message import MessageIds, address_fields
from protocol.smpp.codec import encode_body
from protocol.smpp.pdu import SubmitSm

IDS = MessageIds(bytes.fromhex("A1B2C3D4E5F6"))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, b"a1b2c30000000001"),
        (0xBEEF, b"a1b2c3000000beef"),
        (2**40 - 1, b"a1b2c3ffffffffff"),
    ],
)
def test_an_id_is_the_identity_of_the_log_and_the_number(number: int, text: bytes) -> None:
    assert IDS.text(number) == text
    assert IDS.number(text) == number
    assert IDS.number(text.upper()) == number  # an application may have kept it as a number


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a1b2c3",
        b"a1b2c4000000beef",  # of another gateway
        b"a1b2c3000000bee",
        b"a1b2c30000000beef",
        b"a1b2c3000000beeg",
        b"a1b2c3 00000beef",
        b"a1b2c30x0000beef",
        b"a1b2c3+00000beef",
        b"a1b2c300_000beef",
    ],
)
def test_any_other_text_is_no_id(text: bytes) -> None:
    assert IDS.number(text) is None


@pytest.mark.parametrize("service_type", [b"", b"CMT"])
@pytest.mark.parametrize("source", [b"", b"10639110"])
def test_addresses_are_taken_from_the_wire_with_ton_npi_and_nul(service_type: bytes, source: bytes) -> None:
    pdu = SubmitSm(
        service_type=service_type,
        source_addr_ton=3,
        source_addr_npi=1,
        source_addr=source,
        dest_addr_ton=1,
        dest_addr_npi=8,
        destination_addr=b"+8613800138000",
        short_message=b"hello",
    )
    assert address_fields(pdu, encode_body(pdu)) == (b"\3\1" + source + b"\0", b"\1\x08+8613800138000\0")
