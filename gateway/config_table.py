"""One table of the configuration into its struct, or the one line that says what is wrong with it.

A table is converted key by key, so that every error can name the key and what is allowed there. The types of
the struct are at once the schema, the bounds and the wording: a description in `msgspec.Meta` is used as it
stands, bounds and choices describe themselves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from gateway.networks import Networks

CREDENTIAL_PREFIX: Final = "credential:"
"""`credential:NAME` for a path is the systemd credential NAME (`LoadCredential=NAME:…` in the unit)."""

_WORDING: Final[dict[type, str]] = {
    Path: f"a path, or {CREDENTIAL_PREFIX}NAME of a systemd credential",
    Networks: 'a list of networks such as ["10.20.0.0/16"]',
}

Table = TypeVar("Table", bound=Struct)


class ConfigError(Exception):
    """The configuration cannot be used. The message is one line: file, key, what is allowed."""


class WrongValue(ValueError):
    """What is wrong with one value, in the words of the error line."""


class TableDecoder:
    """Turns the parsed tables of the file at `path` into structs; relative paths are relative to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = path.parent.absolute()

    def tables(self, struct: type[Table], name: str, identity: str, content: object) -> tuple[Table, ...]:
        """The `[[name]]` tables; errors call each by its key `identity`. Raises ConfigError."""
        if not isinstance(content, list):
            raise ConfigError(f"{self._path}: {name}: allowed are tables that begin with [[{name}]]")
        return tuple(
            self.table(struct, f"{name}[{_label(entry, identity, number)}]", entry)
            for number, entry in enumerate(content, 1)
        )

    def table(self, struct: type[Table], where: str, content: object) -> Table:
        """One table, called `where` in errors. Raises ConfigError."""
        if not isinstance(content, dict):
            raise ConfigError(f"{self._path}: {where}: allowed is a table of keys and values")
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        for key in content:
            if key not in fields:
                raise ConfigError(
                    f"{self._path}: {where}.{_shown_key(key)}: unknown key: allowed are {', '.join(fields)}"
                )
        values: dict[str, Any] = {}
        for key, field in fields.items():
            if key in content:
                values[key] = self._value(f"{where}.{key}", field.type, content[key])
            elif field.required:
                raise ConfigError(f"{self._path}: {where}.{key}: missing: allowed is {_allowed(field.type)}")
        return struct(**values)

    def _value(self, where: str, wanted: Any, value: object) -> Any:
        try:
            return msgspec.convert(value, wanted, dec_hook=self._custom)
        except msgspec.ValidationError as error:
            # msgspec wraps what the hook raises; its own message knows less than the type does.
            wrong = error.__cause__
            if not isinstance(wrong, WrongValue):
                wrong = WrongValue(f"allowed is {_allowed(wanted)}, not {_shown(value)}")
            raise ConfigError(f"{self._path}: {where}: {wrong}") from error

    def _custom(self, wanted: type, value: object) -> object:
        if wanted is Networks:
            return _networks(value)
        assert wanted is Path, wanted
        if not isinstance(value, str) or not value or "\0" in value:
            raise WrongValue(f"allowed is {_WORDING[Path]}, not {_shown(value)}")
        if value.startswith(CREDENTIAL_PREFIX):
            return _credential(value)
        return self._directory / value


def is_credential(path: Path) -> bool:
    """Whether `path` is a systemd credential, which systemd itself closes to others."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and path.parent == Path(directory)


def located(path: Path) -> Path:
    """`path`, unless it is a credential that is not here. Raises WrongValue then."""
    name = str(path)
    if name.startswith(CREDENTIAL_PREFIX):
        raise WrongValue(
            f"{name} exists under systemd alone: give a path, or set CREDENTIALS_DIRECTORY to try it by hand"
        )
    return path


def _credential(value: str) -> Path:
    name = value.removeprefix(CREDENTIAL_PREFIX)
    if name in ("", ".", "..") or "/" in name:
        raise WrongValue(f"allowed is {CREDENTIAL_PREFIX}NAME, not {_shown(value)}")
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    # Commands outside the unit, such as `jingxin status`, need none: it stays a name until it is used.
    return Path(value) if directory is None else Path(directory) / name


def _networks(value: object) -> Networks:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise WrongValue(f"allowed is {_WORDING[Networks]}, not {_shown(value)}")
    try:
        return Networks(value)
    except ValueError as error:
        # Such as: 10.1.2.3/8 has host bits set.
        raise WrongValue(f"{error}: allowed is {_WORDING[Networks]}") from error


def _label(entry: object, identity: str, number: int) -> str:
    """The name of an array's table in errors: its identity where it has a usable one, else its place."""
    name = entry.get(identity) if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 64 else str(number)


def _shown(value: object) -> str:
    """The value on one line, as TOML writes it where that is short, cut where it is long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown_key(key: str) -> str:
    """A quoted key of TOML may hold a line end; the error stays one line."""
    return key if key.isprintable() else repr(key)


def _allowed(wanted: Any) -> str:
    """What a type allows, in words."""
    if get_origin(wanted) is Literal:
        # In the order of the type, which msgspec's own account of it does not keep.
        return "one of " + ", ".join(map(str, get_args(wanted)))
    info = msgspec.inspect.type_info(wanted)
    match info:
        case msgspec.inspect.Metadata(extra_json_schema={"description": str(description)}):
            return description
        case msgspec.inspect.IntType(ge=least, le=most):
            return f"a whole number from {least} to {most}"
        case msgspec.inspect.FloatType(ge=least, le=most):
            return f"a number from {least} to {most}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.CustomType(cls=cls):
            return _WORDING[cls]
        case _:
            raise AssertionError(f"a key of the configuration has a type without wording: {info}")
