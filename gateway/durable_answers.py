"""What commands share that put something into the evidence: who asks, and an answer that waits for the disk.

Nothing is answered before the record is durable, since what was answered counts as entered.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from msgspec import Meta

from gateway.control import CommandError
from storage.log import EvidenceLog

# How long an answer waits for the disk; what takes longer is a disk that is full or broken. It is less than
# the control socket gives a command, since this answer says more.
DURABLE_WAIT_S: Final = 60.0
_LOOK_S: Final = 0.005

Who = Annotated[str, Meta(min_length=1, max_length=64)]  # a login name has at most 32 characters


async def until_durable(log: EvidenceLog, index: int) -> None:
    """Return when the record is on disk: only then is it entered. Raises CommandError after
    DURABLE_WAIT_S."""
    try:
        async with asyncio.timeout(DURABLE_WAIT_S):
            while log.durable_index < index:  # noqa: ASYNC110 - a person waits, not a message
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise CommandError(
            f"the disk has not taken record {index} within {DURABLE_WAIT_S:.0f} s, and still may: look at"
            " evidence records of `jingxin status` before you try again"
        ) from None
