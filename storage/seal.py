"""Content of messages, sealed: readable with the day's data key only, erased when that key is destroyed.

Sealed form: 8 octets that name the data key (the beginning of its id), then ciphertext, then 16 octets of
tag. Nonce: 4 zero octets and the record's index, so a sealed content opens only in the record it was made
for. `_cipher` is the one place that names the algorithm; SM4-GCM would stand there.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.smpp.times import SHANGHAI
from storage.errors import ContentDamaged, ContentErased
from storage.keys import KEY_REFERENCE_OCTETS, DataKey, Keyring
from storage.records import KeyOpened

_DAY_US: Final = 86_400_000_000
_OFFSET_US: Final = 8 * 3_600_000_000

SEALING_OCTETS: Final = KEY_REFERENCE_OCTETS + 16  # how much longer sealed content is

_nonce = struct.Struct(">IQ").pack


def day_of(time_us: int) -> str:
    """The date in Asia/Shanghai, "YYYY-MM-DD"."""
    return datetime.fromtimestamp(time_us // 1_000_000, tz=UTC).astimezone(SHANGHAI).strftime("%Y-%m-%d")


def next_midnight_us(time_us: int) -> int:
    """The first midnight in Asia/Shanghai after this time."""
    return (time_us + _OFFSET_US) // _DAY_US * _DAY_US + _DAY_US - _OFFSET_US


class Sealer:
    """Seals under the data key opened last; opens what any key still there has sealed."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.keys_directory = keyring.directory
        self.number_hash = keyring.number_hash
        self._reference = b""

    def open_key(self, time_us: int) -> KeyOpened:
        """A fresh data key for the day of `time_us`, durable when this returns; `seal` uses it from now on.

        The record returned must stand in the log before any content sealed under the key: EvidenceLog does
        that, at each start and each midnight. Raises NoRoom (the former key stays in use) and DurabilityLost.
        """
        key = self._keyring.new_key(day_of(time_us))
        self._encrypt = _cipher(key).encrypt
        self._reference = key.key_id[:KEY_REFERENCE_OCTETS]
        return KeyOpened(time_us, key.day, key.key_id)

    def seal(self, index: int, content: bytes) -> bytes:
        """`index`: of the record that will hold the result (`EvidenceLog.next_index`), each used once."""
        assert self._reference, "open_key comes first"
        return self._reference + self._encrypt(_nonce(0, index), content, None)

    def has_key(self, reference: bytes) -> bool:
        """Whether the data key is there that sealed content begins with this reference to. Raises
        KeyFileError for one that is damaged."""
        try:
            self._keyring.key(reference)
        except ContentErased:
            return False
        return True

    def unseal(self, index: int, sealed: bytes) -> bytes:
        """`index`: of the record that holds it. Raises ContentErased, ContentDamaged, KeyFileError."""
        return unseal(self._keyring, index, sealed)


def unseal(keyring: Keyring, index: int, sealed: bytes) -> bytes:
    """As Sealer.unseal, for a process that only reads."""
    if len(sealed) < SEALING_OCTETS:
        raise ContentDamaged(f"record {index}: sealed content of {len(sealed)} octets is too short")
    key = keyring.key(sealed[:KEY_REFERENCE_OCTETS])
    try:
        return _cipher(key).decrypt(_nonce(0, index), sealed[KEY_REFERENCE_OCTETS:], None)
    except InvalidTag as failure:
        raise ContentDamaged(f"record {index}: the sealed content does not authenticate") from failure


def _cipher(key: DataKey) -> AESGCM:
    return AESGCM(key.secret)
