"""Passwords of binds: the hash of an account's, the clear text of a carrier's.

An account's password is only ever compared, so its file holds a scrypt hash (RFC 7914). A carrier's must be
sent to the carrier as it is (SMPP 3.4 §4.1.5), so its file holds it in clear and must be closed to everybody
else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import Final

PASSWORD_OCTETS_MAX: Final = 64
"""SMPP 3.4 §5.2.2 says 8; systems with longer passwords exist, and 64 is what both our sides carry."""

# One verification costs about 50 ms and 16 MiB (128 · n · r), which a bind can wait for and a guesser cannot.
_N, _R, _P = 2**14, 8, 1
_SALT_OCTETS, _KEY_OCTETS = 16, 32
# A line made elsewhere may cost more, but must not be able to eat the machine at each bind.
_MEMORY_OCTETS_MAX = 64 * 2**20
_P_MAX = 4
# A hash line has about 90 characters; the bound keeps a file given by mistake out of memory.
_FILE_OCTETS_MAX = 1024

_REMEDY = "make a new line with `jingxin account hash`"

assert 128 * _N * _R <= _MEMORY_OCTETS_MAX
assert _P <= _P_MAX


class PasswordError(ValueError):
    """A password, hash line or password file cannot be used; the message ends with the remedy."""


class Password(bytes):
    """A password in clear text that does not show itself in logs and tracebacks."""

    def __repr__(self) -> str:
        return "Password(hidden)"

    def __str__(self) -> str:
        return "hidden"


def hash_password(password: bytes) -> str:
    """The line that an account's `password_file` holds: `scrypt$n$r$p$salt$key`, without a newline.

    Takes about 50 ms. Raises PasswordError for a password that no bind could carry.
    """
    _check(password)
    salt = os.urandom(_SALT_OCTETS)
    return "$".join(
        ("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(_scrypt(password, salt, _N, _R, _P)))
    )


def verify(line: str, password: bytes) -> bool:
    """Whether `password` is the one that `line` was made from, compared in constant time.

    Takes about 50 ms without the interpreter lock: call it off the event loop. A password that no bind can
    carry is False. Raises PasswordError for a malformed line.
    """
    n, r, p, salt, key = _parse(line)
    if not 1 <= len(password) <= PASSWORD_OCTETS_MAX:
        return False
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), key)


def read_hash(path: Path) -> str:
    """The hash line in an account's password file. Raises PasswordError naming file and remedy."""
    octets, mode = _read(path)
    if mode & stat.S_IWOTH:
        raise PasswordError(f"{path}: everybody can write it: run `chmod o-w {path}`")
    try:
        line = octets.decode("ascii").removesuffix("\n")
        _parse(line)
    except UnicodeDecodeError as error:
        raise PasswordError(f"{path}: not a scrypt line: {_REMEDY}") from error
    except PasswordError as error:
        raise PasswordError(f"{path}: {error}") from error
    return line


def read_clear(path: Path, *, guarded: bool = False) -> Password:
    """The password in a carrier's password file, less one final newline.

    `guarded` says that something else keeps others out, as systemd does for credentials; otherwise the file
    must be closed to group and others. Raises PasswordError naming file and remedy.
    """
    octets, mode = _read(path)
    if not guarded and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PasswordError(f"{path}: others than its owner may use it: run `chmod 600 {path}`")
    password = octets.removesuffix(b"\n")
    try:
        _check(password)
    except PasswordError as error:
        raise PasswordError(f"{path}: {error}") from error
    return Password(password)


def _check(password: bytes) -> None:
    if not password:
        raise PasswordError(f"the password is empty: give 1 to {PASSWORD_OCTETS_MAX} octets")
    if len(password) > PASSWORD_OCTETS_MAX:
        raise PasswordError(f"the password has {len(password)} octets: give at most {PASSWORD_OCTETS_MAX}")
    if any(octet < 0x20 or octet == 0x7F for octet in password):
        # A NUL ends the field on the wire (SMPP 3.4 §3.1), and a line end is a slip of the editor.
        raise PasswordError(
            "the password holds a control character, perhaps a second line: give one line of text"
        )


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_OCTETS_MAX), os.fstat(file.fileno()).st_mode
    except FileNotFoundError as error:
        raise PasswordError(f"{path}: no such file: make it, or correct password_file") from error
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}: make it readable for this user") from error


def _parse(line: str) -> tuple[int, int, int, bytes, bytes]:
    """n, r, p, salt and key of a hash line, each within its bounds."""
    fields = line.split("$")
    if len(fields) != 6 or fields[0] != "scrypt":
        raise PasswordError(f"not a scrypt line: {_REMEDY}")
    try:
        n, r, p = (int(field) for field in fields[1:4])
        salt, key = (base64.b64decode(field, validate=True) for field in fields[4:])
    except (ValueError, binascii.Error) as error:
        raise PasswordError(f"a malformed scrypt line: {_REMEDY}") from error
    in_bounds = (
        n >= 2
        and n & (n - 1) == 0  # RFC 7914 §2: a power of two
        and r >= 1
        and 128 * n * r <= _MEMORY_OCTETS_MAX
        and 1 <= p <= _P_MAX
        and len(salt) >= _SALT_OCTETS
        and len(key) == _KEY_OCTETS
    )
    if not in_bounds:
        raise PasswordError(f"a scrypt line with costs or lengths out of bounds: {_REMEDY}")
    return n, r, p, salt, key


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    # OpenSSL counts a little more than 128 · n · r; twice the bound leaves it room.
    return hashlib.scrypt(
        password, salt=salt, n=n, r=r, p=p, maxmem=2 * _MEMORY_OCTETS_MAX, dklen=_KEY_OCTETS
    )


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
