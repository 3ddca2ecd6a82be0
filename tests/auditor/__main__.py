"""`python -m tests.auditor EVIDENCE PROOFS KEY [CONTRACT CODES FIRST_MONTH LAST_MONTH]`.

Says what the log holds, or with a contract writes the statement; one line and status 1 if anything is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests import auditor


def main(arguments: Sequence[str]) -> int:
    """The command."""
    if len(arguments) not in (3, 7):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    evidence, proofs, key = Path(arguments[0]), Path(arguments[1]), arguments[2]
    try:
        if len(arguments) == 3:
            sys.stdout.write(f"{auditor.audit(evidence, proofs, key)}\n")
        else:
            contract, codes = Path(arguments[3]), Path(arguments[4])
            made = auditor.statement(evidence, proofs, key, contract, codes, arguments[5], arguments[6])
            sys.stdout.write(auditor.canonical(made).decode())
    except auditor.Wrong as trouble:
        sys.stderr.write(f"{trouble}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
