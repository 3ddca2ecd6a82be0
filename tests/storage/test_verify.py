"""The offline check: what it counts, and which contradictions and damages it names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from storage.history import ERASE, Damage, Fault
from storage.keys import Keyring, destroy_day
from storage.records import (
    FLAG_DATA_SM,
    Accepted,
    Denied,
    Dispatched,
    KeyOpened,
    Matched,
    Noted,
    OperatorAction,
    Outcome,
    Receipt,
    Record,
    Refused,
    Replaced,
    Reply,
    Reported,
    Sent,
    Started,
    Uncertain,
    Withdrawn,
    encode,
)
from storage.seal import Sealer
from storage.segment import SEGMENT_HEADER_OCTETS, segment_path, segment_paths
from storage.show import show
from storage.verify import verify
from tests.storage.scaffold import NOON_US, LogDriver, record

T = NOON_US


def accepted(message: int = 0, parts: int = 1, content: bytes = b"") -> Accepted:
    return Accepted(T, "hukou", 1, message, "cmcc", bytes(16), parts, 1, FLAG_DATA_SM, 0, content)


def dispatched(*numbers: int) -> Dispatched:
    return Dispatched(T, [("cmcc", 0, list(numbers))])


def receipt(number: int, state: int = 2, final: bool = True) -> Receipt:
    return Receipt(T, number, "cmcc", 0, b"0A1B", state, b"DELIVRD", b"000", b"", b"", final, bytes(16), b"")


def write_log(directory: Path, *records: Record) -> None:
    with LogDriver(directory) as driver:
        driver.log.recover()
        driver.write(*map(encode, records))


def test_a_whole_life_is_counted(tmp_path: Path) -> None:
    write_log(
        tmp_path,
        Started(T, "hn-gw-1", "0.1.0", bytes(32), "host"),
        accepted(parts=3),  # 2: delivered
        accepted(message=2),  # 3: refused
        accepted(),  # 4: uncertain, resent, delivered by a receipt matched later
        accepted(),  # 5: expired before it left
        accepted(),  # 6: uncertain to the end
        accepted(),  # 7: withdrawn, still waiting
        dispatched(2, 3, 4, 6),
        dispatched(7),
        Sent(2, T, 0, b"0A1B"),  # 10
        Refused(3, T, 0, 0x58, False),
        dispatched(3),
        Refused(3, T, 0, 0x45, True),
        Uncertain(T, [4, 6], 0, "link lost"),
        Withdrawn(T, [7], "link lost before the write"),
        dispatched(4),
        Uncertain(T, [4], 0, "no response"),
        receipt(0, 2, False),  # 18
        Matched(T, 18, 4, "uncertain", True),
        receipt(2),  # 20
        receipt(2, 2, False),  # a duplicate
        Outcome(5, T, 3, b"", "gateway", "expired", ""),
        Reported(20, T, "hukou", 1, 0),
        Reported(19, T, "hukou", 1, 0),
        Reported(13, T, "hukou", 1, 0),
        Reply(T, "hukou", "cmcc", 0, bytes(16), b""),  # 26
        Reported(26, T, "hukou", 1, 0),
        receipt(0, 5, False),
        Denied(T, "hukou", 1, 0x58, "rate", 3, b"", b""),
        Replaced(7, T, b""),
        OperatorAction(T, "zhang", "drain", "upgrade", []),
    )
    done: list[tuple[int, int]] = []
    report = verify(tmp_path, lambda octets, total: done.append((octets, total)))
    assert report.faults == []
    assert report.sound
    assert (report.segments, report.frames, report.records, report.first_index, report.next_index) == (
        1,
        1,
        31,
        1,
        32,
    )
    assert (report.accepted, report.accepted_parts, report.open) == (6, 8, 2)
    assert report.outcomes == {"delivered": 2, "expired": 1, "refused": 1}
    assert (report.uncertain, report.unmatched_receipts, report.keys) == ([6], 1, 0)
    assert report.counts["Accepted"] == 6
    assert report.counts["Reported"] == 4
    assert sum(report.counts.values()) == 31
    assert done == [(segment_path(tmp_path, 1).stat().st_size,) * 2]


def noted(entry: int = 0) -> Noted:
    return Noted(T, "complaint", entry, "closed" if entry else "opened", T, "zhang", [])


# Records from index 1 on, and the faults.
FAULTS: list[tuple[list[Record], list[tuple[int, str]]]] = [
    ([dispatched(2), accepted()], [(1, "a dispatch names 2, which does not stand before it")]),
    ([dispatched(0)], [(1, "a dispatch names 0, which does not stand before it")]),
    (
        [Started(T, "", "", b"", ""), dispatched(1)],
        [(2, "a dispatch names 1, which is not an accepted part")],
    ),
    ([accepted(), Sent(1, T, 0, b"1")], [(2, "a positive response names 1, which was never dispatched")]),
    ([accepted(), Refused(1, T, 0, 8, False)], [(2, "a refusal names 1, which was never dispatched")]),
    (
        [accepted(), Uncertain(T, [1], 0, "")],
        [
            (2, "an uncertainty names 1, which was never dispatched"),
            (2, "1 is uncertain, though no intent was open"),
        ],
    ),
    ([accepted(), receipt(1, 2, False)], [(2, "a receipt names 1, which was never dispatched")]),
    (
        [accepted(), dispatched(1), dispatched(1)],
        [(3, "1 is dispatched again, though its last intent was not given up")],
    ),
    (
        [accepted(), dispatched(1), Sent(1, T, 0, b""), dispatched(1)],
        [(4, "1 is dispatched again, though its last intent was not given up")],
    ),
    ([accepted(), dispatched(1), Withdrawn(T, [1], ""), dispatched(1)], []),
    ([accepted(), dispatched(1), Uncertain(T, [1], 0, ""), dispatched(1)], []),
    ([accepted(), dispatched(1), Refused(1, T, 0, 0x58, False), dispatched(1)], []),
    ([accepted(), dispatched(1), receipt(1), Sent(1, T, 0, b"")], []),  # the receipt came first
    (
        [accepted(), dispatched(1), receipt(1), dispatched(1)],
        [(4, "1 is dispatched after its final outcome")],
    ),
    ([accepted(), dispatched(1), receipt(1), receipt(1)], [(4, "a second final outcome of 1")]),
    (
        [accepted(), dispatched(1), Refused(1, T, 0, 8, True), receipt(1)],
        [(4, "a second final outcome of 1")],
    ),
    (
        [
            accepted(),
            Outcome(1, T, 4, b"", "application", "cancelled", "hukou"),
            Outcome(1, T, 3, b"", "gateway", "expired", ""),
        ],
        [(3, "a second final outcome of 1")],
    ),
    (
        [accepted(), dispatched(1), Sent(1, T, 0, b""), Withdrawn(T, [1], "")],
        [(4, "1 is withdrawn, though no intent was open")],
    ),
    ([receipt(0)], [(1, "a receipt that matched nothing is marked final")]),
    (
        [accepted(), dispatched(1), Matched(T, 2, 1, "", False)],
        [(3, "a match names 2, which is not an unmatched receipt before it")],
    ),
    (
        [
            accepted(),
            dispatched(1),
            receipt(0, 2, False),
            Matched(T, 3, 1, "", True),
            Matched(T, 3, 1, "", False),
        ],
        [(5, "a match names 3, which is not an unmatched receipt before it")],
    ),
    (
        [accepted(), Reported(1, T, "hukou", 1, 0)],
        [(2, "a report names 1, which is nothing that is reported")],
    ),
    ([Reported(1, T, "hukou", 1, 0)], [(1, "a report names 1, which does not stand before it")]),
    (
        [accepted(), Outcome(1, T, 3, b"", "gateway", "expired", ""), Replaced(1, T, b"")],
        [(3, "1 is replaced after its final outcome")],
    ),
    (
        [noted(), noted(1), noted(2)],
        [(3, "a register names entry 2, which no record before it opened")],
    ),
    ([accepted(message=1)], [(1, "the message of a part names 1, which does not stand before it")]),
    ([accepted(parts=0)], [(1, "an accepted part counts 0 units")]),
]


@pytest.mark.parametrize("again", [False, True], ids=["left alone", "sent again"])
def test_a_part_refused_while_an_earlier_attempt_is_in_doubt_is_uncertain(
    again: bool, tmp_path: Path
) -> None:
    write_log(
        tmp_path,
        accepted(),
        dispatched(1),
        Uncertain(T, [1], 0, "no response"),
        dispatched(1),
        Refused(1, T, 0, 0x0B, False, False, True),
        *([dispatched(1)] if again else []),
    )
    report = verify(tmp_path)
    assert report.sound
    assert (report.uncertain, report.open, report.outcomes) == ([] if again else [1], 1, {})


@pytest.mark.parametrize(("records", "faults"), FAULTS)
def test_contradictions(tmp_path: Path, records: list[Record], faults: list[tuple[int, str]]) -> None:
    write_log(tmp_path, *records)
    report = verify(tmp_path)
    assert report.faults == [Fault(index, reason) for index, reason in faults]
    assert (report.fault_count, report.sound, report.damage) == (len(faults), not faults, None)


def test_faults_are_counted_beyond_the_list(tmp_path: Path) -> None:
    write_log(tmp_path, *[Reported(index, T, "hukou", 1, 0) for index in range(1, 1502)])
    report = verify(tmp_path)
    assert (report.fault_count, len(report.faults)) == (1501, 1000)


def test_damage_is_named_by_path_and_offset(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1))
        driver.write(record(2))
        driver.turn(record(3))
    path = segment_path(tmp_path, 1)
    good = path.read_bytes()
    second = (len(good) + SEGMENT_HEADER_OCTETS) // 2
    path.write_bytes(good[:second] + b"?" + good[second + 1 :])
    report = verify(tmp_path)
    assert report.damage == Damage(path, second, "no frame begins here, and later segments follow")
    assert (report.records, report.next_index, report.sound) == (1, 2, False)
    path.write_bytes(good[:second])
    damage = verify(tmp_path).damage
    assert damage == Damage(segment_path(tmp_path, 3), 0, "records 2 to 2 are missing before this segment")


def test_octets_that_are_no_record(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1), msgspec.msgpack.encode([99]), record(3))
    damage = verify(tmp_path).damage
    assert damage is not None
    assert damage.offset == SEGMENT_HEADER_OCTETS + 72 + 4 + len(record(1))
    assert damage.reason.startswith("not a record of this version: ")


def test_a_torn_tail_is_told_and_is_no_damage(tmp_path: Path) -> None:
    write_log(tmp_path, accepted())
    path = segment_path(tmp_path, 1)
    end = SEGMENT_HEADER_OCTETS + 72 + 4 + len(encode(accepted()))
    with path.open("r+b") as file:
        file.seek(end)
        file.write(b"torn")
    report = verify(tmp_path)
    assert (report.torn_tail, report.sound, report.records) == ((path, end, 4), True, 1)


def test_a_log_in_use_is_checked_to_its_durable_end(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1))
        driver.log.append(record(2))
        driver.log.commit(None)
        step = driver.posted.get(timeout=20)
        path = segment_paths(tmp_path)[0]
        with path.open("r+b") as file:  # the next batch, half written
            file.seek(SEGMENT_HEADER_OCTETS + 300)
            file.write(b"JXBF")
        report = verify(tmp_path)
        assert (report.records, report.sound, report.torn_tail) == (1, True, None)
        step()


def test_an_empty_directory_is_sound(tmp_path: Path) -> None:
    report = verify(tmp_path)
    assert (report.sound, report.records, report.segments) == (True, 0, 0)


def test_an_archive_without_its_beginning(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(encode(accepted()), encode(accepted()), encode(receipt(0, 2, False)))
        driver.turn(encode(dispatched(1, 2)), encode(receipt(1)), encode(Matched(T, 3, 2, "", True)))
        driver.write(encode(Reported(3, T, "hukou", 1, 0)), encode(dispatched(9)))
    segment_path(tmp_path, 1).unlink()
    report = verify(tmp_path)
    assert (report.first_index, report.records) == (4, 5)
    assert report.faults == [Fault(8, "a dispatch names 9, which does not stand before it")]


def cut(first: int, cut_into: int, time_us: int = T) -> Accepted:
    facts = ("hukou", 1, 0, "cmcc", bytes(16), 1, 1, 0, 0, b"")
    return Accepted(time_us, *facts, first=first, cut_into=cut_into)


@pytest.mark.parametrize(
    ("records", "wrong"),
    [
        ([cut(1, 3), cut(1, 3), cut(1, 3), cut(4, 2), cut(4, 2), accepted()], []),
        ([cut(1, 3), cut(1, 3), accepted()], []),  # a crash took the rest of the batch
        ([cut(1, 2), cut(1, 2), cut(1, 2)], [3]),
        ([cut(1, 2), cut(1, 2, T + 1)], [2]),
        ([cut(1, 2), cut(1, 3)], [2]),
        ([cut(1, 2), accepted(), cut(1, 2)], [3]),
        ([cut(1, 4), cut(2, 4), cut(1, 4), cut(2, 4)], [3, 4]),  # two texts that are mixed
        ([cut(1, 1)], [1]),
        ([cut(0, 2)], [1]),
        ([cut(0, 0)], [1]),
        ([cut(2, 2), cut(2, 2)], [1]),
    ],
)
def test_parts_of_what_was_cut_follow_each_other(
    records: list[Accepted], wrong: list[int], tmp_path: Path
) -> None:
    write_log(tmp_path, *records)
    report = verify(tmp_path)
    assert [fault.index for fault in report.faults] == wrong
    assert all("what was cut" in fault.reason for fault in report.faults)


def sealed_log(directory: Path) -> Keyring:
    keyring = Keyring(directory / "keys", bytes(32))
    sealer = Sealer(keyring)
    with LogDriver(directory, sealer=sealer) as driver:
        driver.log.recover()
        driver.write(encode(accepted(content=sealer.seal(driver.log.next_index, b"text"))))
    return keyring


def test_sealed_content_needs_an_opened_key(tmp_path: Path) -> None:
    keyring = sealed_log(tmp_path)
    report = verify(tmp_path, keyring=keyring)
    assert (report.sound, report.keys, report.erased_days) == (True, 1, [])
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(encode(accepted(content=b"unknown." + bytes(20))))
    assert verify(tmp_path).faults == [Fault(3, "content is sealed under a key that no record opened")]


def test_key_files_are_compared_with_the_records(tmp_path: Path) -> None:
    keyring = sealed_log(tmp_path)
    path = next((tmp_path / "keys").glob("*.key"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # the wrapped key: only its owner can tell
    assert verify(tmp_path).sound
    assert [fault.index for fault in verify(tmp_path, keyring=keyring).faults] == [1]
    path.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])  # the key id, for all to see
    assert [fault.index for fault in verify(tmp_path).faults] == [1]
    path.unlink()
    gone = Fault(1, f"{path} is gone, and no record says that 2026-09-21 was erased")
    assert (verify(tmp_path).faults, verify(tmp_path).erased_days) == ([gone], [])
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(encode(OperatorAction(T, "zhang", ERASE, "2026-09-21: half a year is over", [])))
    path.write_bytes(bytes(len(good)))  # an erasure that was cut short
    assert (verify(tmp_path).sound, verify(tmp_path).erased_days) == (True, ["2026-09-21"])
    path.write_bytes(good)
    destroy_day(tmp_path / "keys", "2026-09-21")
    report = verify(tmp_path)
    assert (report.sound, report.erased_days) == (True, ["2026-09-21"])
    (tmp_path / "keys").rename(tmp_path / "elsewhere")  # the other party gets none
    assert verify(tmp_path).erased_days == []


def test_show_follows_a_message_through_all_its_records(tmp_path: Path) -> None:
    other = [accepted(), dispatched(300)]
    records: list[Record] = [Started(T, "", "", b"", "")] * 298 + [
        receipt(0, 2, False),  # 299: came before anybody knew whose it was
        *other,  # 300, 301
        accepted(),  # 302
        accepted(message=302),  # 303
        dispatched(302, 303),
        Sent(302, T, 0, b"0A1B"),
        Sent(300, T, 0, b"0A1C"),  # 306: of another
        Matched(T, 299, 302, "exact", True),
        Refused(303, T, 0, 8, True),  # 308
        Reported(307, T, "hukou", 1, 0),
        Reported(308, T, "hukou", 1, 0),
        receipt(302, 2, False),  # 311: a duplicate
        receipt(300),
        OperatorAction(T, "zhang", "look", "asked", [302]),  # 313
    ]
    write_log(tmp_path, *records)
    expected = [299, 302, 303, 304, 305, 307, 308, 309, 310, 311, 313]
    assert show(tmp_path, 302) == [(index, records[index - 1]) for index in expected]
    assert [index for index, _ in show(tmp_path, 303)] == [303, 304, 308, 310]
    assert [index for index, _ in show(tmp_path, 300)] == [300, 301, 306, 312]


def test_show_stops_three_days_after_the_end(tmp_path: Path) -> None:
    now_us = T
    with LogDriver(tmp_path, clock_us=lambda: now_us) as driver:
        driver.log.recover()
        driver.write(encode(accepted()), encode(accepted()), encode(dispatched(1, 2)), encode(receipt(1)))
        now_us += 72 * 3_600_000_000
        driver.write(encode(receipt(1, 2, False)))
        now_us += 1
        driver.write(encode(receipt(1, 2, False)))
    assert [index for index, _ in show(tmp_path, 1)] == [1, 3, 4, 5]
    assert [index for index, _ in show(tmp_path, 2)] == [2, 3]


def test_show_wants_the_number_of_a_part(tmp_path: Path) -> None:
    write_log(tmp_path, Started(T, "", "", b"", ""), KeyOpened(T, "2026-09-21", bytes(32)))
    for number, reason in ((1, "record 1 is a Started"), (3, "no record 3")):
        with pytest.raises(LookupError, match=reason):
            show(tmp_path, number)


def test_durable_records_that_are_gone_are_missed(tmp_path: Path) -> None:
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        driver.write(record(1))
        whole = driver.log._offset
        driver.write(record(2))
        driver.write(record(3))
    path = segment_path(tmp_path, 1)
    octets = path.read_bytes()
    path.write_bytes(octets[:whole] + bytes(len(octets) - whole))
    report = verify(tmp_path)
    assert report.damage == Damage(tmp_path / "durable", 0, "records 2 to 3 had been durable and are gone")
    # The next start goes on, and says so in a record that no later check passes over.
    with LogDriver(tmp_path) as driver:
        driver.log.recover()
        assert driver.log.torn is not None
        assert driver.log.torn.lost == 2
        driver.write(record(4))
    report = verify(tmp_path)
    assert (report.damage, report.sound) == (None, False)
    assert report.faults == [Fault(2, "2 records that had been durable were gone at this start")]
