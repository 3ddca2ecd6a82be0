"""Every bound of the wire format, with its reason. Lengths are octets; a string's includes its NUL."""

HEADER_OCTETS = 16
"""command_length, command_id, command_status, sequence_number: four octets each (SMPP 3.4 §3.2)."""

FRAME_LENGTH_MAX = 65536
"""Longest PDU, header included.

The largest honest PDU is a message_payload of a few thousand octets; its own length field ends at 65,535. A
longer announcement is another protocol on our port: the first four octets of `GET ` read as 1.2 GB.
"""

SEQUENCE_NUMBER_MAX = 0x7FFFFFFF
"""What we give out (SMPP 3.4 §5.1.4). Peers may use all 32 bits, and some start at 0."""

SYSTEM_ID_OCTETS = 16
PASSWORD_OCTETS = 65
"""The specification says 9 (SMPP 3.4 §5.2.2); longer passwords exist, so 64 and a NUL are taken."""
SYSTEM_TYPE_OCTETS = 13
ADDRESS_RANGE_OCTETS = 41
SERVICE_TYPE_OCTETS = 6
ADDRESS_OCTETS = 21
LONG_ADDRESS_OCTETS = 65
"""Of data_sm and alert_notification in SMPP 3.4 (§4.7.1, §4.12.1); 5.0 cut those of data_sm to 21."""
MESSAGE_ID_OCTETS = 65
TIME_OCTETS = 17
"""Sixteen characters and the NUL, or the NUL alone (SMPP 3.4 §7.1.1)."""
DISTRIBUTION_LIST_NAME_OCTETS = 21

SHORT_MESSAGE_OCTETS = 255
"""3.4 stops at 254 (§5.2.21), 5.0 at 255 (§4.7.28), which is all that sm_length can say; both are taken."""

DESTINATIONS_MAX = 255
"""number_of_dests is one octet: 254 in 3.4 (§5.2.24), 255 in 5.0."""
UNSUCCESSFUL_MAX = 255
"""no_unsuccess is one octet (SMPP 3.4 §5.2.26)."""

TLV_HEADER_OCTETS = 4
TLV_VALUE_OCTETS = 65535
"""The length of a TLV is two octets (SMPP 3.4 §3.2.4.1)."""

assert DESTINATIONS_MAX == UNSUCCESSFUL_MAX == SHORT_MESSAGE_OCTETS == 0xFF
assert HEADER_OCTETS + TLV_HEADER_OCTETS + SHORT_MESSAGE_OCTETS < FRAME_LENGTH_MAX
assert FRAME_LENGTH_MAX < 0x47455420, "`GET ` read as a length must be too long"
