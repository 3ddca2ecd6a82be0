"""Whose signatures are believed: verifier keys as a person names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.config import Tables, signing_key_file
from gateway.config_table import ConfigError
from storage.errors import KeyFileError

if TYPE_CHECKING:
    from storage.proofs.note import VerifierKey

KeyOption = Annotated[
    str, typer.Option("--key", metavar="KEY", help="The log's verifier key, or the file that holds it.")
]


def verifier_key(text: str) -> VerifierKey:
    """A key as it stands, or from the file of this name."""
    from storage.proofs.note import VerifierKey
    from storage.proofs.signing_key import read_verifier_key

    return VerifierKey.parse(text) if text.count("+") >= 2 else read_verifier_key(Path(text))


def log_key(tables: Tables, key: str) -> VerifierKey:
    """The log's verifier key: the one given, else the one beside the key that signs."""
    from storage.proofs.signing_key import public_path

    if key:
        return verifier_key(key)
    try:
        return verifier_key(str(public_path(signing_key_file(tables))))
    except (ConfigError, KeyFileError) as error:
        raise KeyFileError(f"{error}: or name the log's verifier key by --key KEY") from error
