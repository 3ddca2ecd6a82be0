"""Passwords: the line that an account's file holds, and the file in which a carrier's stands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.password import Password, PasswordError, hash_password, read_clear, read_hash, verify

# The key was computed by OpenSSL's command line: openssl kdf -keylen 32 -kdfopt pass:pleaseletmein
# -kdfopt salt:SodiumChlorideSodiumChloride -kdfopt n:16384 -kdfopt r:8 -kdfopt p:1 -binary SCRYPT
SALT = "U29kaXVtQ2hsb3JpZGVTb2RpdW1DaGxvcmlkZQ=="
KEY = "EHOhbCzVbsYSPN4402wajsB/ivjM7J6WIxbvOkgBUPI="
LINE = f"scrypt$16384$8$1${SALT}${KEY}"
REMEDY = "make a new line with `jingxin account hash`"


def test_a_line_made_from_the_vector_of_another_library_verifies() -> None:
    assert verify(LINE, b"pleaseletmein")
    assert not verify(LINE, b"pleaseletmeIn")


@pytest.mark.parametrize("password", [b"a", b"x" * 64, "口令".encode(), b"$ $"])
def test_a_hash_verifies_its_password_and_no_other(password: bytes) -> None:
    line = hash_password(password)
    assert line.startswith("scrypt$16384$8$1$")
    assert "\n" not in line
    assert verify(line, password)
    assert not verify(line, password + b"x")


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password(b"secret") != hash_password(b"secret")


@pytest.mark.parametrize("password", [b"", b"x" * 65])
def test_a_password_that_no_bind_carries_is_false(password: bytes) -> None:
    assert not verify(LINE, password)


@pytest.mark.parametrize(
    ("password", "message"),
    [
        (b"", "the password is empty: give 1 to 64 octets"),
        (b"x" * 65, "the password has 65 octets: give at most 64"),
        (
            b"two\nlines",
            "the password holds a control character, perhaps a second line: give one line of text",
        ),
        (b"a\0b", "the password holds a control character, perhaps a second line: give one line of text"),
    ],
)
def test_hash_refuses(password: bytes, message: str) -> None:
    with pytest.raises(PasswordError) as refused:
        hash_password(password)
    assert str(refused.value) == message


OUT_OF_BOUNDS = f"a scrypt line with costs or lengths out of bounds: {REMEDY}"
MALFORMED_LINES = [
    ("", f"not a scrypt line: {REMEDY}"),
    ("secret", f"not a scrypt line: {REMEDY}"),
    (LINE.replace("scrypt", "bcrypt"), f"not a scrypt line: {REMEDY}"),
    (LINE + "$", f"not a scrypt line: {REMEDY}"),
    (f"scrypt$many$8$1${SALT}${KEY}", f"a malformed scrypt line: {REMEDY}"),
    (f"scrypt$16384$8$1$!${KEY}", f"a malformed scrypt line: {REMEDY}"),
    (f"scrypt$16385$8$1${SALT}${KEY}", OUT_OF_BOUNDS),
    (f"scrypt$0$8$1${SALT}${KEY}", OUT_OF_BOUNDS),
    (f"scrypt$16384$0$1${SALT}${KEY}", OUT_OF_BOUNDS),
    (f"scrypt$1048576$8$1${SALT}${KEY}", OUT_OF_BOUNDS),
    (f"scrypt$16384$8$5${SALT}${KEY}", OUT_OF_BOUNDS),
    (f"scrypt$16384$8$1$AAAA${KEY}", OUT_OF_BOUNDS),
    (f"scrypt$16384$8$1${SALT}$AAAA", OUT_OF_BOUNDS),
]


@pytest.mark.parametrize(("line", "message"), MALFORMED_LINES)
def test_a_malformed_line_is_refused_with_its_remedy(line: str, message: str) -> None:
    with pytest.raises(PasswordError) as refused:
        verify(line, b"secret")
    assert str(refused.value) == message


def test_the_files(tmp_path: Path) -> None:
    hashed, clear = tmp_path / "hukou", tmp_path / "cmcc"
    hashed.write_text(LINE + "\n")
    clear.write_bytes(b"carrier secret\n")
    clear.chmod(0o600)
    assert read_hash(hashed) == LINE
    assert read_clear(clear) == b"carrier secret"


# reader, content, mode, what follows "{path}: " in the error
WRONG_FILES: list[tuple[Callable[[Path], object], bytes | None, int, str]] = [
    (read_hash, None, 0o600, "no such file: make it, or correct password_file"),
    (read_hash, b"secret\n", 0o644, f"not a scrypt line: {REMEDY}"),
    (read_hash, "口令".encode(), 0o644, f"not a scrypt line: {REMEDY}"),
    (read_hash, (LINE + "\n\n").encode(), 0o644, f"a malformed scrypt line: {REMEDY}"),
    (read_hash, LINE.encode(), 0o646, "everybody can write it: run `chmod o-w {path}`"),
    (read_clear, None, 0o600, "no such file: make it, or correct password_file"),
    (read_clear, b"secret", 0o640, "others than its owner may use it: run `chmod 600 {path}`"),
    (read_clear, b"secret", 0o604, "others than its owner may use it: run `chmod 600 {path}`"),
    (read_clear, b"\n", 0o600, "the password is empty: give 1 to 64 octets"),
    (read_clear, b"x" * 65, 0o600, "the password has 65 octets: give at most 64"),
    (
        read_clear,
        b"secret\r\n",
        0o600,
        "the password holds a control character, perhaps a second line: give one line of text",
    ),
]


@pytest.mark.parametrize(("reader", "content", "mode", "message"), WRONG_FILES)
def test_a_wrong_file_is_refused_with_its_remedy(
    tmp_path: Path, reader: Callable[[Path], object], content: bytes | None, mode: int, message: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(PasswordError) as refused:
        reader(path)
    assert str(refused.value) == f"{path}: {message.format(path=path)}"


def test_a_directory_is_no_password_file(tmp_path: Path) -> None:
    with pytest.raises(PasswordError) as refused:
        read_clear(tmp_path)
    assert str(refused.value) == f"{tmp_path}: Is a directory: make it readable for this user"


def test_a_credential_of_systemd_is_guarded_by_systemd(tmp_path: Path) -> None:
    path = tmp_path / "cmcc"
    path.write_bytes(b"secret")
    path.chmod(0o440)  # what stat shows where systemd gives the service access by ACL
    assert read_clear(path, guarded=True) == b"secret"


def test_a_clear_password_does_not_show_itself() -> None:
    password = Password(b"secret")
    assert f"{password!r} {password}" == "Password(hidden) hidden"
    assert password + b"\0" == b"secret\0"
