"""The tables of the ledger.

Those that grow with the traffic exist once a month (`part_202612`), so that old ones can be detached as they
are. A *month* begins with the first batch that was written in it by the clock of Asia/Shanghai; where the
clock was set back the month goes on. So a row is found by the index of its record, and `month` says from
which index on each table holds: a part and its attempts stand in the month of the part, everything else in
that of its own record.

`idx` is the index of a record, `number` a part's. An absent time, index or count is 0, an absent text empty.
What ended a part is one of a few hundred combinations of codes, and whose it is one of some dozens: they have
tables of their own, `outcome` and `owner`.
"""

from __future__ import annotations

from typing import Final

from storage.database import Kind

_GLOBAL: Final = (
    """CREATE TABLE progress (
        row INTEGER PRIMARY KEY CHECK (row = 1),
        applied_index INTEGER NOT NULL,
        applied_us INTEGER NOT NULL,
        identity BLOB NOT NULL
    ) STRICT""",
    "INSERT INTO progress VALUES (1, 0, 0, x'')",
    # last_us: when the last batch before the start was written; what was bound then was lost after it
    """CREATE TABLE start (
        idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        last_us INTEGER NOT NULL
    ) STRICT""",
    # oldest_us, newest_us: of the parts' acceptances in it
    """CREATE TABLE month (
        name TEXT PRIMARY KEY,
        first_index INTEGER NOT NULL,
        oldest_us INTEGER NOT NULL,
        newest_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # kind: "receipt", "refused" or "outcome", by the record that ended a part; standing: what that comes to
    # (storage/ledger/standing.py)
    """CREATE TABLE outcome (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        state INTEGER NOT NULL,
        status INTEGER NOT NULL,
        stat BLOB NOT NULL,
        err BLOB NOT NULL,
        source TEXT NOT NULL,
        reason TEXT NOT NULL,
        standing TEXT NOT NULL
    ) STRICT""",
    # Whose a part is: carrier is the account that ended it, else the last it went to; prefix is the network
    # that its number was allotted to.
    """CREATE TABLE owner (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        category TEXT NOT NULL,
        prefix TEXT NOT NULL,
        carrier TEXT NOT NULL,
        network TEXT NOT NULL
    ) STRICT""",
    # what: "account" (value: its category) or "carrier" (value: its network)
    """CREATE TABLE configured (
        idx INTEGER NOT NULL,
        time_us INTEGER NOT NULL,
        what TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (idx, what, name)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE noted (
        idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        register TEXT NOT NULL,
        entry INTEGER NOT NULL,
        event TEXT NOT NULL,
        at_us INTEGER NOT NULL,
        who TEXT NOT NULL,
        facts TEXT NOT NULL,
        number_hash BLOB NOT NULL,
        sealed INTEGER NOT NULL
    ) STRICT""",
)

# Name, columns, indexes. `message` and `first` are the part itself where it is the first or the only one;
# `routed` is the carrier account that it was to go to at first.
_MONTHLY: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "part",
        """number INTEGER PRIMARY KEY,
        accepted_us INTEGER NOT NULL,
        owner INTEGER NOT NULL,
        message INTEGER NOT NULL,
        first INTEGER NOT NULL,
        cut_into INTEGER NOT NULL,
        lane INTEGER NOT NULL,
        number_hash BLOB NOT NULL,
        units INTEGER NOT NULL,
        replaced INTEGER NOT NULL,
        routed TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        sent_us INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        ended_us INTEGER NOT NULL,
        outcome INTEGER NOT NULL""",
        (("number_hash", "(number_hash)"),),
    ),
    (
        "attempt",
        """number INTEGER NOT NULL,
        dispatched INTEGER NOT NULL,
        dispatched_us INTEGER NOT NULL,
        carrier TEXT NOT NULL,
        link INTEGER NOT NULL,
        uncertain_us INTEGER NOT NULL,
        answered INTEGER NOT NULL,
        answered_us INTEGER NOT NULL,
        status INTEGER NOT NULL,
        carrier_id BLOB NOT NULL,
        withdrawn INTEGER NOT NULL,
        withdrawn_us INTEGER NOT NULL,
        PRIMARY KEY (number, dispatched)""",
        (),
    ),
    # repeats: it came when the part had already ended.  matched: the Matched record that found its part.
    (
        "receipt",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        number INTEGER NOT NULL,
        carrier TEXT NOT NULL,
        link INTEGER NOT NULL,
        carrier_id BLOB NOT NULL,
        state INTEGER NOT NULL,
        stat BLOB NOT NULL,
        err BLOB NOT NULL,
        submit_date BLOB NOT NULL,
        done_date BLOB NOT NULL,
        final INTEGER NOT NULL,
        repeats INTEGER NOT NULL,
        matched INTEGER NOT NULL,
        matched_us INTEGER NOT NULL,
        number_hash BLOB NOT NULL""",
        (("number", "(number)"), ("repetition", "(number) WHERE repeats = 1")),
    ),
    (
        "report",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        record INTEGER NOT NULL,
        account TEXT NOT NULL,
        session INTEGER NOT NULL,
        status INTEGER NOT NULL""",
        (("record", "(record)"),),
    ),
    # assembled: the Assembled record that joined it to a text; leads: it is the first to come of that text;
    # repeats: it brought a part of it again.
    (
        "reply",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        account TEXT NOT NULL,
        category TEXT NOT NULL,
        carrier TEXT NOT NULL,
        network TEXT NOT NULL,
        number_hash BLOB NOT NULL,
        how TEXT NOT NULL,
        waits INTEGER NOT NULL,
        assembled INTEGER NOT NULL,
        leads INTEGER NOT NULL,
        repeats INTEGER NOT NULL""",
        (("number_hash", "(number_hash)"),),
    ),
    (
        "denial",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        account TEXT NOT NULL,
        category TEXT NOT NULL,
        session INTEGER NOT NULL,
        status INTEGER NOT NULL,
        reason TEXT NOT NULL,
        count INTEGER NOT NULL,
        number_hash BLOB NOT NULL""",
        (),
    ),
    (
        "replacement",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        number INTEGER NOT NULL,
        units INTEGER NOT NULL""",
        (("number", "(number)"),),
    ),
    # kind: "link", "session", "gateway" or "log"
    (
        "event",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        place INTEGER NOT NULL,
        event TEXT NOT NULL,
        detail TEXT NOT NULL""",
        (),
    ),
    # kind: "operator", "number" (ported), "opt-out".  numbers: JSON
    (
        "audit",
        """idx INTEGER PRIMARY KEY,
        time_us INTEGER NOT NULL,
        kind TEXT NOT NULL,
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        reason TEXT NOT NULL,
        numbers TEXT NOT NULL,
        number_hash BLOB NOT NULL""",
        (),
    ),
)
MONTHLY_NAMES: Final = tuple(name for name, _, _ in _MONTHLY)

KIND: Final = Kind(
    "ledger",
    0x4A584C47,  # "JXLG"
    2,
    _GLOBAL,
    "make it again by `jingxin ledger rebuild`",
)


def table(name: str, month: str) -> str:
    """What the table of a month ("2026-12") is called."""
    return f"{name}_{month[:4]}{month[5:]}"


def month_statements(month: str) -> list[str]:
    """What makes the tables of a month."""
    statements = []
    for name, columns, indexes in _MONTHLY:
        own = table(name, month)
        options = "STRICT, WITHOUT ROWID" if name == "attempt" else "STRICT"
        statements.append(f"CREATE TABLE {own} ({columns}) {options}")
        for suffix, definition in indexes:
            statements.append(f"CREATE INDEX {own}_by_{suffix} ON {own} {definition}")
    return statements
