"""`jingxin keys …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import ConfigOption
from gateway.config import master_key_file, read, signing_key_file
from gateway.config_table import is_credential

app = typer.Typer(no_args_is_help=True, help="Keys of the evidence.")


@app.callback()
def keys() -> None:
    """Keys of the evidence."""


@app.command("init")
def init(config: ConfigOption) -> None:
    """Makes the master key and the key that signs checkpoints, mode 0600. Existing ones are never
    overwritten, and none is made beside evidence that another one has begun."""
    # Their cryptography takes a while to import.
    from storage.errors import KeyFileError
    from storage.keys import initialise_master_key
    from storage.proofs.checkpoints import CHECKPOINT_NAME
    from storage.proofs.note import LOG
    from storage.proofs.signing_key import make_signing_key, public_path, read_signing_key, write_public_key

    tables = read(config)
    path, signing = master_key_file(tables), signing_key_file(tables)
    public = public_path(signing)
    sealed, proofs = tables.gateway.evidence_dir / "keys", tables.gateway.proofs_dir
    if not path.exists() and sealed.exists():
        raise KeyFileError(
            f"{path} is gone, and what {sealed} seals can be read with it alone: put it back from its copy (a"
            " new gateway begins with another gateway.state_dir)"
        )
    if not signing.exists() and (proofs / CHECKPOINT_NAME).exists():
        raise KeyFileError(
            f"{signing} is gone, and has signed {proofs}: put it back from its copy (if there is none, move"
            f" {proofs} away, and give the other party the verifier key of a new one)"
        )
    if not path.exists() or (signing.exists() and public.exists()):
        initialise_master_key(path)
        typer.echo(f"made {path}: keep a copy in another safe place; without it no content can be read again")
    if not signing.exists():
        verifier = make_signing_key(signing, tables.gateway.name, LOG)
        typer.echo(f"made {signing}: give the other party its verifier key, {verifier}")
    elif not public.exists():
        guarded = is_credential(signing)
        write_public_key(signing, read_signing_key(signing, LOG, guarded=guarded).verifier)
        typer.echo(f"made {public} again, from the key beside it")


@app.command("witness")
def witness(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the key is to lie.")],
    name: Annotated[str, typer.Option("--name", help="Whose key it is.")],
) -> None:
    """Makes a key with which the other party cosigns, mode 0600, and prints its verifier key."""
    from storage.proofs.note import WITNESS
    from storage.proofs.signing_key import make_signing_key

    typer.echo(str(make_signing_key(file, name, WITNESS)))
