"""Hypothesis strategies for PDUs, made from the rows: whatever a row allows, and nothing else."""

import msgspec
from hypothesis import strategies as st

from protocol.smpp.fields import (
    CString,
    Destinations,
    DistributionList,
    Field,
    Octet,
    ShortMessage,
    SmeAddress,
    UnsuccessfulDeliveries,
    UnsuccessfulDelivery,
)
from protocol.smpp.limits import ADDRESS_OCTETS, DISTRIBUTION_LIST_NAME_OCTETS
from protocol.smpp.pdu import PDU_CLASSES, Pdu, UnknownPdu

octet = st.integers(0, 0xFF)
number = st.integers(0, 0xFFFFFFFF)
tlvs = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=4).map(tuple)


def c_string(octets_max: int) -> st.SearchStrategy[bytes]:
    """Up to `octets_max`, NUL included."""
    return st.binary(max_size=octets_max - 1).map(lambda value: value.replace(b"\0", b"0"))


_destination = st.one_of(
    st.builds(SmeAddress, octet, octet, c_string(ADDRESS_OCTETS)),
    st.builds(DistributionList, c_string(DISTRIBUTION_LIST_NAME_OCTETS)),
)
_unsuccessful = st.builds(UnsuccessfulDelivery, octet, octet, c_string(ADDRESS_OCTETS), number)


def values_of(field: Field) -> st.SearchStrategy[object]:
    """Every value that `field` takes."""
    match field:
        case Octet():
            return octet
        case CString():
            return c_string(field.octets_max)
        case ShortMessage():
            return st.binary(max_size=255)
        case Destinations():
            return st.lists(_destination, min_size=1, max_size=5).map(tuple)
        case UnsuccessfulDeliveries():
            return st.lists(_unsuccessful, max_size=5).map(tuple)
    raise AssertionError(field)


def pdus_of(pdu_class: type[Pdu]) -> st.SearchStrategy[Pdu]:
    """Any PDU of that class."""
    fields = [values_of(field) for field in pdu_class.FIELDS]
    return st.tuples(number, number, *fields, tlvs).map(lambda values: pdu_class(*values))


unknown_pdus = st.builds(
    UnknownPdu,
    number,
    number,
    number.filter(lambda number: number not in PDU_CLASSES),
    st.binary(max_size=50),
)
pdus = st.one_of(unknown_pdus, *(pdus_of(pdu_class) for pdu_class in PDU_CLASSES.values()))


def shown(pdu: Pdu) -> tuple[type[Pdu], dict[str, object]]:
    """Everything in `pdu`, for comparing: its own repr hides what is private, and so would a failure."""
    return type(pdu), msgspec.structs.asdict(pdu)
