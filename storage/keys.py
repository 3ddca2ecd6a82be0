"""Keys of the evidence: the master key, the data keys that it wraps, and the key of number hashes.

    master key (32 octets, outside the evidence)
      ├─ HKDF "wrap"   → key that wraps data keys (AES-256-GCM)
      ├─ HKDF "number" → key of the number hashes (BLAKE2b-128)
      └─ HKDF "check"  → stored in keys/master.check, so that a wrong master key is noticed before anything is
      sealed

Each start of the process and each day (Asia/Shanghai) has a data key of its own. A day, so that destroying
the day's keys erases its content. A start, because a torn tail that was cut lets the same record index be
given again, and the nonce of a sealed content is its record index: under a fresh key the pair (key, nonce)
cannot repeat.

A data key's file is durable before the key is used, so nothing is ever sealed under a key that can be lost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import struct
import time
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.durable import create_file_durably, make_directory, remove_durably, write_file_durably
from storage.errors import ContentErased, KeyFileError, WrongMasterKey
from storage.listing import listed

KEY_OCTETS: Final = 32
KEY_REFERENCE_OCTETS: Final = 8  # how much of a key id sealed content carries to name its key
NUMBER_HASH_OCTETS: Final = 16

# magic, version, wrapping algorithm (1: AES-256-GCM under HKDF-SHA256), reserved, day, created (µs UTC), key
# id; all of it is authenticated by the wrapping. Then nonce and wrapped key (32 + 16 octets of tag).
_KEY_FILE_HEAD: Final = struct.Struct(">4sBB10sQ32s")
_KEY_FILE_MAGIC: Final = b"JXKF"
_WRAP_AES_256_GCM: Final = 1
_NONCE_OCTETS: Final = 12
_WRAPPED_OCTETS: Final = KEY_OCTETS + 16
KEY_FILE_OCTETS: Final = _KEY_FILE_HEAD.size + _NONCE_OCTETS + _WRAPPED_OCTETS
_CHECK_NAME: Final = "master.check"
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
# Keys unwrapped for reading; 64 covers two months of days at one start a day, and a miss costs 50 µs.
_UNWRAPPED_MAX: Final = 64


class DataKey(msgspec.Struct, frozen=True):
    """A data key in the clear. `key_id` is public: a hash that commits to the key."""

    day: str
    key_id: bytes
    secret: bytes


def initialise_master_key(path: Path) -> None:
    """Make a master key file of 32 random octets (one line of hexadecimal, mode 0600).

    Raises KeyFileError when the file exists: a master key is never overwritten, since all content needs it.
    """
    make_directory(path.parent, 0o700)
    line = os.urandom(KEY_OCTETS).hex().encode() + b"\n"
    try:
        create_file_durably(path, line, 0o600)
    except FileExistsError as taken:
        raise KeyFileError(
            f"{path} exists already and is never overwritten; remove it yourself if you mean to"
        ) from taken


def read_secret(path: Path, *, guarded: bool = False) -> bytes:
    """The line in a file of secrets, at most 1024 octets. Errors and `guarded` as in read_master_key."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as failure:
        raise KeyFileError(
            f"{path}: {failure.strerror}: put it back from its copy, or, where there is no evidence yet,"
            " `jingxin keys init` makes one"
        ) from failure
    except OSError as failure:
        raise KeyFileError(f"{path}: {failure.strerror}: let the gateway's user read it") from failure
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode & 0o777
        if mode & 0o077 and not guarded:
            raise KeyFileError(
                f"{path} is mode {mode:04o}, readable by others than its owner; run: chmod 600 {path}"
            )
        return file.read(1024).strip()


def read_master_key(path: Path, *, guarded: bool = False) -> bytes:
    """The 32 octets in a master key file: one line of 64 hexadecimal digits, or of base64.

    `guarded`: the directory keeps others out whatever the mode says, as systemd's directory of credentials
    does, whose files show group bits because access is granted by an ACL.

    Raises KeyFileError: missing, readable by group or others, or not a key.
    """
    text = read_secret(path, guarded=guarded)
    try:
        key = (
            bytes.fromhex(text.decode("ascii"))
            if len(text) == 2 * KEY_OCTETS
            else base64.b64decode(text, validate=True)
        )
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_OCTETS:
        raise KeyFileError(f"{path}: wants one line with {KEY_OCTETS} octets as hexadecimal or base64")
    return key


def commitment(day: str, secret: bytes) -> bytes:
    """The key id: binds the key, so that one sealed content cannot be opened as two texts under two keys."""
    return hashlib.sha256(b"jingxin data key 1\0" + day.encode() + secret).digest()


class Keyring:
    """The keys of one evidence directory, opened with its master key.

    Raises WrongMasterKey when it is not the key the directory was begun with, KeyFileError for a damaged
    file.
    """

    def __init__(self, directory: Path, master_key: bytes) -> None:
        """`directory`: evidence/keys, made when missing. `master_key`: 32 octets."""
        assert len(master_key) == KEY_OCTETS
        self.directory = directory
        make_directory(directory, 0o700)
        self._wrap = AESGCM(_derive(master_key, b"wrap"))
        # Keyed once and copied a number: a third cheaper than keying each time.
        self._number_hash = hashlib.blake2b(
            digest_size=NUMBER_HASH_OCTETS, key=_derive(master_key, b"number")
        )
        self._unwrapped: dict[bytes, tuple[Path, DataKey]] = {}
        self._check_master(_derive(master_key, b"check"))

    def number_hash(self, number: bytes) -> bytes:
        """Keyed BLAKE2b-128 of a canonical subscriber number: 16 octets."""
        state = self._number_hash.copy()
        state.update(number)
        return state.digest()

    def new_key(self, day: str) -> DataKey:
        """A fresh data key, durable in its file when this returns. Raises NoRoom, DurabilityLost."""
        secret = os.urandom(KEY_OCTETS)
        key = DataKey(day, commitment(day, secret), secret)
        head = _KEY_FILE_HEAD.pack(
            _KEY_FILE_MAGIC, 1, _WRAP_AES_256_GCM, day.encode(), time.time_ns() // 1000, key.key_id
        )
        nonce = os.urandom(_NONCE_OCTETS)
        data = head + nonce + self._wrap.encrypt(nonce, secret, head)
        write_file_durably(self.directory / key_file_name(day, key.key_id), data, 0o600)
        return key

    def key(self, reference: bytes) -> DataKey:
        """The data key whose id begins with these 8 octets. Raises ContentErased, KeyFileError."""
        known = self._unwrapped.get(reference)
        if known is not None:
            # Asked each time, because another process may have destroyed the day since.
            if known[0].exists():
                return known[1]
            del self._unwrapped[reference]
        ending = f"-{reference.hex()}.key"
        found = next((path for path in listed(self.directory) if path.name.endswith(ending)), None)
        if found is None:
            raise ContentErased(f"the data key {reference.hex()} is gone, and the content with it")
        key = self._unwrap(found)
        if len(self._unwrapped) >= _UNWRAPPED_MAX:
            self._unwrapped.pop(next(iter(self._unwrapped)))
        self._unwrapped[reference] = (found, key)
        return key

    def _unwrap(self, path: Path) -> DataKey:
        day, key_id, data = read_key_file(path)
        head, nonce, wrapped = (
            data[: _KEY_FILE_HEAD.size],
            data[_KEY_FILE_HEAD.size : -_WRAPPED_OCTETS],
            data[-_WRAPPED_OCTETS:],
        )
        try:
            secret = self._wrap.decrypt(nonce, wrapped, head)
        except InvalidTag as failure:
            raise KeyFileError(
                f"{path}: does not open under this master key: damaged, or of another one"
            ) from failure
        if commitment(day, secret) != key_id:
            raise KeyFileError(f"{path}: the key is not the one its id commits to")
        return DataKey(day, key_id, secret)

    def _check_master(self, check: bytes) -> None:
        path = self.directory / _CHECK_NAME
        if path.exists():
            if not hmac.compare_digest(path.read_bytes(), b"JXKC\x01" + check):
                raise WrongMasterKey(f"the master key given is not the one {self.directory} was begun with")
            return
        # No check file, but keys: somebody removed it. Any key file is a check as good.
        for found in sorted(each for each in listed(self.directory) if each.suffix == ".key"):
            try:
                self._unwrap(found)
            except ContentErased:
                continue
            except KeyFileError as failure:
                raise WrongMasterKey(f"{path} is missing, and {failure}") from failure
            break
        write_file_durably(path, b"JXKC\x01" + check, 0o600)


def key_file_name(day: str, key_id: bytes) -> str:
    return f"{day}-{key_id[:KEY_REFERENCE_OCTETS].hex()}.key"


def read_key_file(path: Path) -> tuple[str, bytes, bytes]:
    """(day, key id, all octets) of a data key file, without opening the key. Raises KeyFileError, and
    ContentErased for one that was overwritten, and not removed yet, when an erasure was cut short."""
    data = path.read_bytes()
    if data and not any(data):
        raise ContentErased(f"{path}: overwritten with zeros: its day is erased")
    if len(data) != KEY_FILE_OCTETS:
        raise KeyFileError(f"{path}: {len(data)} octets, should be {KEY_FILE_OCTETS}")
    magic, version, algorithm, day, _created, key_id = _KEY_FILE_HEAD.unpack_from(data)
    if (magic, version, algorithm) != (_KEY_FILE_MAGIC, 1, _WRAP_AES_256_GCM):
        raise KeyFileError(f"{path}: not a data key file of this version")
    text = day.decode("ascii", "replace")
    if path.name != key_file_name(text, key_id):
        raise KeyFileError(f"{path}: the name does not agree with the key inside")
    return text, key_id, data


def days_with_keys(directory: Path) -> list[str]:
    """The days that have data keys, whole or half destroyed, oldest first."""
    days = {path.name[:10] for path in listed(directory) if path.suffix == ".key"}
    return sorted(day for day in days if _DAY.fullmatch(day))


def destroy_day(directory: Path, day: str) -> int:
    """Erase a day's content by removing its data keys; returns how many there were.

    `day`: "YYYY-MM-DD", Asia/Shanghai. The caller has checked the retention floor. Copies of the key files
    elsewhere are the caller's to remove.
    """
    if not _DAY.fullmatch(day):
        raise KeyFileError(f"{day!r} is no day of the form YYYY-MM-DD")
    names = re.compile(rf"{day}-.*\.key")
    paths = sorted(path for path in listed(directory) if names.fullmatch(path.name))
    remove_durably(paths, directory)
    return len(paths)


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_OCTETS, salt=None, info=b"jingxin " + purpose + b" key 1").derive(master_key)
