"""`python -m bench carrier|load JSON...`, or the scenarios."""

from __future__ import annotations

import sys

from bench import carrier, load

_COMMANDS = {"carrier": carrier.run, "load": load.run}


def main() -> int:
    command, *arguments = sys.argv[1:] or [""]
    return _COMMANDS[command](arguments)


if __name__ == "__main__":
    sys.exit(main())
