"""Keys and sealed content: who can read what, and when nobody can any more."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.errors import ContentDamaged, ContentErased, KeyFileError, WrongMasterKey
from storage.keys import Keyring, commitment, destroy_day, initialise_master_key, read_master_key
from storage.seal import SEALING_OCTETS, Sealer, day_of, next_midnight_us
from tests.storage.scaffold import NOON_US

MASTER = bytes(range(32))
TEXT = b"\x00\x01\x05text of a message"


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    made = Sealer(Keyring(tmp_path / "keys", MASTER))
    made.open_key(NOON_US)
    return made


def microseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1_000_000


DAYS = [
    ("2026-09-21T00:00:00+08:00", "2026-09-21", "2026-09-22T00:00:00+08:00"),
    ("2026-09-21T23:59:59+08:00", "2026-09-21", "2026-09-22T00:00:00+08:00"),
    ("2026-09-21T16:00:00+00:00", "2026-09-22", "2026-09-23T00:00:00+08:00"),
    ("2024-02-28T23:00:00+08:00", "2024-02-28", "2024-02-29T00:00:00+08:00"),
    ("2026-12-31T15:59:59+00:00", "2026-12-31", "2027-01-01T00:00:00+08:00"),
]


@pytest.mark.parametrize(("moment", "day", "midnight"), DAYS)
def test_days_are_those_of_shanghai(moment: str, day: str, midnight: str) -> None:
    assert day_of(microseconds(moment)) == day
    assert next_midnight_us(microseconds(moment)) == microseconds(midnight)


@pytest.mark.parametrize("content", [b"", b"x", TEXT, bytes(65536)], ids=len)
def test_content_round_trips(sealer: Sealer, content: bytes) -> None:
    sealed = sealer.seal(7, content)
    assert len(sealed) == len(content) + SEALING_OCTETS
    assert len(content) < 16 or content not in sealed  # a few octets may stand there by chance
    assert sealer.unseal(7, sealed) == content


def test_content_opens_only_in_its_own_record(sealer: Sealer) -> None:
    with pytest.raises(ContentDamaged):
        sealer.unseal(8, sealer.seal(7, TEXT))


def test_every_flipped_octet_is_noticed(sealer: Sealer) -> None:
    sealed = sealer.seal(7, TEXT)
    for place in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[place] ^= 1
        with pytest.raises(ContentErased if place < 8 else ContentDamaged):
            sealer.unseal(7, bytes(flipped))
    for length in range(SEALING_OCTETS):
        with pytest.raises(ContentDamaged):
            sealer.unseal(7, sealed[:length])


def test_each_opening_has_a_key_of_its_own_and_the_former_still_opens(tmp_path: Path) -> None:
    first = Sealer(Keyring(tmp_path / "keys", MASTER))
    opened = [first.open_key(NOON_US)]
    sealed = first.seal(7, TEXT)
    again = Sealer(Keyring(tmp_path / "keys", MASTER))
    opened.append(again.open_key(NOON_US))
    assert opened[0].key_id != opened[1].key_id
    assert [record.day for record in opened] == ["2026-09-21", "2026-09-21"]
    assert again.seal(7, TEXT)[8:] != sealed[8:]
    assert again.unseal(7, sealed) == TEXT


def test_a_destroyed_day_is_unreadable_and_others_are_not(tmp_path: Path, sealer: Sealer) -> None:
    today = sealer.seal(7, TEXT)
    tomorrow_us = next_midnight_us(NOON_US)
    sealer.open_key(tomorrow_us)
    tomorrow = sealer.seal(8, TEXT)
    assert sealer.unseal(7, today) == TEXT
    assert destroy_day(tmp_path / "keys", "2026-09-21") == 1
    with pytest.raises(ContentErased):
        sealer.unseal(7, today)
    with pytest.raises(ContentErased):
        Sealer(Keyring(tmp_path / "keys", MASTER)).unseal(7, today)
    assert sealer.unseal(8, tomorrow) == TEXT
    assert destroy_day(tmp_path / "keys", "2026-09-21") == 0


def test_an_erasure_that_was_cut_short_leaves_the_other_keys(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, MASTER)
    erased, kept = keyring.new_key("2026-09-21"), keyring.new_key("2026-09-22")
    (path,) = tmp_path.glob("2026-09-21-*.key")
    path.write_bytes(bytes(path.stat().st_size))
    (tmp_path / "master.check").unlink()
    again = Keyring(tmp_path, MASTER)
    assert again.key(kept.key_id[:8]).secret == kept.secret
    with pytest.raises(ContentErased, match="overwritten with zeros"):
        again.key(erased.key_id[:8])


def test_a_day_to_destroy_is_a_date(tmp_path: Path, sealer: Sealer) -> None:
    for text in ("*", "2026-09-2", "2026-09-21/../x", ""):
        with pytest.raises(KeyFileError):
            destroy_day(tmp_path / "keys", text)


def test_the_key_file_is_there_before_the_key_is_used(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, MASTER)
    key = keyring.new_key("2026-09-21")
    assert sorted(os.listdir(tmp_path)) == [f"2026-09-21-{key.key_id[:8].hex()}.key", "master.check"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert key.key_id == commitment("2026-09-21", key.secret)
    assert all(key.secret not in path.read_bytes() for path in tmp_path.iterdir())


def test_every_flipped_octet_of_a_key_file_is_noticed(tmp_path: Path) -> None:
    key = Keyring(tmp_path, MASTER).new_key("2026-09-21")
    path = next(tmp_path.glob("*.key"))
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(KeyFileError):
            Keyring(tmp_path, MASTER).key(key.key_id[:8])
    path.write_bytes(good)
    assert Keyring(tmp_path, MASTER).key(key.key_id[:8]) == key


def test_a_wrong_master_key_is_noticed_at_once(tmp_path: Path) -> None:
    Keyring(tmp_path, MASTER).new_key("2026-09-21")
    with pytest.raises(WrongMasterKey):
        Keyring(tmp_path, bytes(32))
    (tmp_path / "master.check").unlink()
    with pytest.raises(WrongMasterKey):
        Keyring(tmp_path, bytes(32))
    assert not (tmp_path / "master.check").exists()
    Keyring(tmp_path, MASTER)
    assert (tmp_path / "master.check").exists()


def test_number_hashes_depend_on_the_master_key_alone(tmp_path: Path) -> None:
    first, other = Keyring(tmp_path / "a", MASTER), Keyring(tmp_path / "b", bytes(32))
    number = b"8613800138000"
    assert (
        first.number_hash(number).hex() == "23cfc2a44b8b67de3d5a6fc11e4da01d"
    )  # by HKDF and BLAKE2b of the standard library
    assert Keyring(tmp_path / "c", MASTER).number_hash(number) == first.number_hash(number)
    assert other.number_hash(number) != first.number_hash(number)
    assert first.number_hash(b"8613800138001") != first.number_hash(number)


def test_a_master_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "master"
    initialise_master_key(path)
    key = read_master_key(path)
    assert len(key) == 32
    assert path.read_text() == key.hex() + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="never overwritten"):
        initialise_master_key(path)
    assert read_master_key(path) == key


MASTER_FILES = [
    (MASTER.hex() + "\n", 0o600, None),
    (MASTER.hex().upper(), 0o400, None),
    (base64.b64encode(MASTER).decode() + "\n", 0o600, None),
    (MASTER.hex() + "\n", 0o640, "chmod 600"),
    (MASTER.hex() + "\n", 0o604, "chmod 600"),
    (MASTER.hex()[:-1] + "\n", 0o600, "wants one line with 32 octets"),
    (MASTER.hex() + "\n" + MASTER.hex(), 0o600, "wants one line with 32 octets"),
    (base64.b64encode(MASTER[:31]).decode(), 0o600, "wants one line with 32 octets"),
    ("é" * 32, 0o600, "wants one line with 32 octets"),
    ("", 0o600, "wants one line with 32 octets"),
]


@pytest.mark.parametrize(("text", "mode", "refusal"), MASTER_FILES)
def test_what_a_master_key_file_may_hold(tmp_path: Path, text: str, mode: int, refusal: str | None) -> None:
    path = tmp_path / "master"
    path.write_text(text)
    path.chmod(mode)
    if refusal is None:
        assert read_master_key(path) == MASTER
    else:
        with pytest.raises(KeyFileError, match=refusal):
            read_master_key(path)


def test_a_missing_master_key_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="jingxin keys init"):
        read_master_key(tmp_path / "missing")
