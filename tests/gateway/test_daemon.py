"""Which errors that nobody caught end the process."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.daemon import Daemon

BROKEN = ConnectionResetError("reset by peer")


@pytest.mark.parametrize(
    ("context", "ends"),
    [
        ({"exception": BROKEN, "transport": object(), "protocol": object()}, False),
        ({"exception": BROKEN, "protocol": object()}, False),
        ({"exception": OSError("disk"), "handle": object()}, True),  # a callback of ours
        ({"exception": OSError("disk")}, True),
        ({"exception": ValueError("ours"), "transport": object()}, True),
        ({"message": "a task was destroyed"}, True),
    ],
)
def test_only_a_transport_may_fail(
    context: dict[str, object], ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    daemon = SimpleNamespace(_log_writer=SimpleNamespace(close=lambda: None))
    Daemon._callback_failed(cast(Any, daemon), cast(Any, None), context)
    assert exits == ([1] if ends else [])
