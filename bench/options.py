"""Options of a process of the bench, which a person writes as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TypeVar

import msgspec

Options = TypeVar("Options", bound=msgspec.Struct)


def parsed(command: str, kind: type[Options], arguments: Sequence[str]) -> list[Options]:
    """One for each argument. Exits with what is wrong, or, where an argument is no object, with the keys."""
    found = []
    for argument in arguments:
        if not argument.startswith("{"):
            raise SystemExit(_usage(command, kind))
        try:
            found.append(msgspec.json.decode(argument, type=kind))
        except msgspec.DecodeError as error:
            raise SystemExit(f"python -m bench {command}: {argument}: {error}") from None
    return found


def _usage(command: str, kind: type[msgspec.Struct]) -> str:
    keys = []
    for field in msgspec.structs.fields(kind):
        if field.required:
            keys.append(f"  {field.name}: has to be given")
            continue
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        keys.append(f"  {field.name}: {msgspec.json.encode(default).decode()}")
    told = [f"python -m bench {command} '{{\"key\": value, …}}'", "", inspect.getdoc(kind) or "", ""]
    return "\n".join([*told, "Keys, with what holds unless it is given:", *keys])
