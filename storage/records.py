"""The records of the evidence log and their one encoding.

A record is a msgpack array: its tag (a small integer), then its fields in the order below. The order of
fields and the tags are part of the format: a field is only ever added at the end, with a default, and a tag
is never used again.

Words that every record shares:

* *index*: the position of a record in the log, assigned by `EvidenceLog.append`, first record 1, no gaps.
  Index 0 never exists, so that 0 can stand for "none".
* *number*: the number of a part, which is the index of its `Accepted` record. The message number that
  applications see is derived from it.
* `time_us`: microseconds since 1970-01-01T00:00:00Z by the gateway's clock when the fact was learnt. Times of
  carriers are kept apart, raw (`submit_date`, `done_date`).
* `link`: 0-based place of the bind among the binds of its carrier account; `session`: number of an
  application's bind, counted from 1 at each start of the gateway.
* `number_hash`: keyed BLAKE2b-128 of the canonical subscriber number (`keys.Keyring.number_hash`), 16 octets,
  or empty where there is no number. An unkeyed hash of a number is never stored.
* `content`: sealed octets (`seal.Sealer.seal` with this record's own index), or empty for "no content".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

# Bits of Accepted.flags; the other bits are 0 and reserved. They name the operation and mode the application
# used, because `content` always holds a submit_sm body, whatever the operation was.
FLAG_SUBMIT_MULTI: Final = 0x01
FLAG_DATA_SM: Final = 0x02
FLAG_TRANSACTION: Final = 0x04  # the application is answered with the carrier's own response

NUMBER_HASH_OCTETS: Final = 16
KEY_ID_OCTETS: Final = 32

# The longest encoded record the log takes, in octets. A PDU is at most 65536 octets, sealing adds 24, and the
# facts beside it a few hundred; an operator's list of numbers has 9 octets each, so 100,000 numbers would be
# too many in one record and 10,000 are not. Twice a PDU leaves room for both.
RECORD_OCTETS_MAX: Final = 131_072


class Record(msgspec.Struct, array_like=True, gc=False):
    """What all records are. gc=False is safe: a record holds values and lists of values, never a cycle."""


class Started(Record, tag=1):
    """The gateway process started and has recovered; written before it serves anybody."""

    time_us: int
    gateway: str  # gateway.name of the configuration
    version: str  # version of the program
    config_digest: bytes  # SHA-256 of the configuration file, 32 octets
    host: str  # host name and process id, as a note for people


class Stopped(Record, tag=2):
    """An orderly end: nothing follows from this process."""

    time_us: int
    reason: str


class TornTail(Record, tag=3):
    """At the start before this record, an unfinished write stood at the end of the log and was cut.

    Nothing in it had been answered, unless `lost` says otherwise. `segment` is the segment's first record
    index (its file name), `offset` the place in that file, `octets` how many octets from there to the last
    non-zero one were zeroed.
    """

    time_us: int
    segment: int
    offset: int
    octets: int
    lost: int  # records that had been durable by the mark file and are gone; above 0 is a case for an alarm


class KeyOpened(Record, tag=4):
    """From here on content is sealed under this data key. Written before the first record that uses it."""

    time_us: int
    day: str  # "YYYY-MM-DD", Asia/Shanghai
    key_id: bytes  # commitment to the key, 32 octets; sealed content refers to it by its first 8


class Accepted(Record, tag=5):
    """A part that the gateway has taken charge of. Its index is the part's number."""

    time_us: int
    account: str
    session: int
    message: int  # number of the first part of the same message; 0: this part is the first, or the only one
    carrier: str  # name of the carrier account it is routed to
    number_hash: bytes
    parts: int  # chargeable units (条) in this PDU, at least 1
    registered_delivery: int  # what the application asked for, as received (SMPP 3.4 §5.2.17)
    flags: int  # FLAG_*
    expires_us: int  # end of validity, microseconds UTC; 0: none was given
    content: bytes  # sealed submit_sm body
    lane: int = 2  # 0 emergency, 1 interactive, 2 notice, 3 bulk
    first: int = 0  # number of the first of the parts that the gateway cut one submission into; 0: not cut
    cut_into: int = 1  # how many these are
    network: str = ""  # that the number plan names for the prefix, whoever serves the number


class Denied(Record, tag=6):
    """A submission answered with an error. A burst of the same account, status and reason may share one."""

    time_us: int
    account: str
    session: int
    command_status: int  # the SMPP status it was answered with
    reason: str
    count: int  # how many submissions this record stands for, at least 1
    number_hash: bytes  # of the destination; empty when count > 1 or the PDU was unreadable
    content: bytes  # sealed submit_sm body, or what came if it cannot be one; empty as above, or by policy


class Dispatched(Record, tag=7):
    """The intent to send: a part leaves only after this is durable. One record for all parts of a batch."""

    time_us: int
    intents: list[tuple[str, int, list[int]]]  # (carrier, link, numbers)


class Withdrawn(Record, tag=8):
    """These parts' latest intents were certainly not carried out; they may be dispatched again."""

    time_us: int
    numbers: list[int]
    reason: str


class Sent(Record, tag=9):
    """The carrier answered positively."""

    number: int
    time_us: int
    link: int
    carrier_id: bytes  # message id of the carrier, raw
    carrier: str = (
        ""  # which one, where it is not the one of the part's last dispatch: an answer that was late
    )


class Refused(Record, tag=10):
    """The carrier answered negatively."""

    number: int
    time_us: int
    link: int
    command_status: int
    final: bool  # True: this ends the part; False: it will be tried again, unless `moot` or `in_doubt`
    moot: bool = False  # True: late, of an attempt that the part's fate does not hang on; it changes nothing
    in_doubt: bool = (
        False  # True: refused for good, while an earlier attempt is not answered: it is uncertain
    )


class Uncertain(Record, tag=11):
    """Dispatched, and no answer came: the carrier may have them or not."""

    time_us: int
    numbers: list[int]
    link: int
    reason: str


class Receipt(Record, tag=12):
    """A delivery receipt as it came, also a duplicate, a late one, or one that matches nothing."""

    time_us: int
    number: int  # the part; 0: matched nothing yet, a Matched record may follow
    carrier: str
    link: int
    carrier_id: bytes  # raw
    message_state: int  # SMPP 3.4 §5.2.28; 0: unmapped
    stat: bytes  # raw `stat:` of the receipt text, or empty
    err: bytes  # raw `err:` or network_error_code, or empty
    submit_date: bytes  # raw, the carrier's
    done_date: bytes  # raw, the carrier's
    final: (
        bool  # number != 0: this record ends the part (so True at most once a part); number 0: always False
    )
    number_hash: bytes
    content: bytes  # sealed raw body of the deliver_sm or data_sm


class Matched(Record, tag=13):
    """An earlier Receipt with number 0 belongs to this part."""

    time_us: int
    receipt: int  # index of the Receipt record
    number: int
    how: str  # by "exact" id, by one "derived" from it, or "uncertain": by the destination alone
    final: bool  # True: the receipt's state ends the part


class Reply(Record, tag=14):
    """A message from a subscriber (上行), or one part of it."""

    time_us: int
    account: str  # the account it is routed to; empty: unrouted
    carrier: str
    link: int
    number_hash: bytes  # of the subscriber
    content: bytes  # sealed raw body of the deliver_sm or data_sm
    how: str = ""  # the rule that routed it: "prefix", "last message", "default" or "unrouted"
    waits: bool = False  # it is a part of a longer message, which an Assembled record reports


class Outcome(Record, tag=15):
    """The gateway, a person or the application ended the part. Always final."""

    number: int
    time_us: int
    message_state: int  # SMPP 3.4 §5.2.28
    err: bytes  # raw error of the carrier where one led to this, or empty
    source: str  # "gateway", "operator" or "application"
    reason: str  # e.g. "expired", "unknown", "cancelled", "closed"
    who: str  # the operator or account; empty: the gateway itself


class Replaced(Record, tag=16):
    """replace_sm: this content, and what else is here, takes the place of the part's former one."""

    number: int
    time_us: int
    content: bytes  # sealed submit_sm body
    registered_delivery: int = 0
    expires_us: int = 0
    parts: int = 1  # chargeable units of the new content, in place of the former ones


class Reported(Record, tag=17):
    """An application answered the deliver_sm that carried this record to it."""

    record: int  # index of the Receipt, Matched, Reply, Assembled, Refused or Outcome that was reported
    time_us: int
    account: str
    session: int
    command_status: int


class LinkEvent(Record, tag=18):
    """Something happened to a carrier link: bound, lost, paused, switched off."""

    time_us: int
    carrier: str
    link: int
    event: str
    detail: str


class SessionEvent(Record, tag=19):
    """Something happened to an application's session: bound, refused, unbound, lost."""

    time_us: int
    account: str
    session: int
    peer: str  # "address:port"
    event: str
    detail: str


class OperatorAction(Record, tag=20):
    """A person did something by command."""

    time_us: int
    who: str
    action: str
    reason: str
    numbers: list[int]  # parts concerned; empty: none in particular


class Postponed(Record, tag=21):
    """The carrier did not take or deliver the part, and it is tried again: it waits for `carrier`.

    Stands behind the Refused, Receipt or Matched that says why, which is not final then.
    """

    number: int
    time_us: int
    until_us: int  # not sent before; 0: as soon as it can be
    carrier: str  # carrier account of the next attempt
    reason: str  # what the carrier's status means, e.g. "gateway: SMSC system error"


class Assembled(Record, tag=22):
    """The parts of a reply are together, or as many as came in time; this is what the account hears of."""

    time_us: int
    account: str
    replies: list[int]  # indexes of the Reply records in the order of the text, then those that repeat one
    missing: int  # parts that never came
    repeats: int = 0  # how many at the end of `replies` repeat one


class Ported(Record, tag=23):
    """A number is served by another network than its prefix says."""

    time_us: int
    number_hash: bytes
    network: str  # empty: no longer
    source: str  # how it is known, e.g. "delivered by cucc"
    expires_us: int  # 0: never


class OptedOut(Record, tag=24):
    """A subscriber wants no more messages of an account, or wants them again."""

    time_us: int
    number_hash: bytes
    account: str
    out: bool
    reply: int  # index of the Reply that says so; 0: a person did


class Configured(Record, tag=25):
    """What accounts are for and whom carrier accounts serve, from here on: at a start, after a reload.

    Statements count by category and network, and take both from here.
    """

    time_us: int
    accounts: list[tuple[str, str]]  # (account, category of its messages)
    carriers: list[tuple[str, str]]  # (carrier account, network)


class Noted(Record, tag=26):
    """A line in one of the registers that the contract asks for, written by a person or by an alarm."""

    time_us: int  # when it was written
    register: str  # "complaint", "incident", "maintenance", "force majeure", "delay", "rating"
    entry: int  # index of the Noted record that opened the entry; 0: this one does
    event: str  # "opened", "responded", "restored", "closed", …
    at_us: int  # when it happened
    who: str
    facts: list[tuple[str, str]]  # (name, value), each once
    number_hash: bytes = b""  # of the subscriber concerned, or empty
    content: bytes = b""  # sealed text, or empty


AnyRecord = (
    Started
    | Stopped
    | TornTail
    | KeyOpened
    | Accepted
    | Denied
    | Dispatched
    | Withdrawn
    | Sent
    | Refused
    | Uncertain
    | Receipt
    | Matched
    | Reply
    | Outcome
    | Replaced
    | Reported
    | LinkEvent
    | SessionEvent
    | OperatorAction
    | Postponed
    | Assembled
    | Ported
    | OptedOut
    | Configured
    | Noted
)

# Bound methods instead of functions around them: a Python frame would cost half as much again as the
# encoding.
encode: Final[Callable[[Record], bytes]] = msgspec.msgpack.Encoder().encode
# Raises msgspec.DecodeError (or its subclass ValidationError) when the octets are no record.
decode: Final[Callable[[bytes | memoryview], AnyRecord]] = msgspec.msgpack.Decoder(AnyRecord).decode
