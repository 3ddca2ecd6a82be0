"""Datagrams as systemd would receive them, and silence where there is none."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The receiving end, and what NOTIFY_SOCKET says."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@jingxin-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1))
        receiver.settimeout(2)
        yield receiver, name


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda n: n.ready("2 of 2 links bound"), "READY=1\nSTATUS=2 of 2 links bound"),
        (lambda n: n.stopping("draining"), "STOPPING=1\nSTATUS=draining"),
        (lambda n: n.watchdog(), "WATCHDOG=1"),
        (lambda n: n.ready("移动: 已连接"), "READY=1\nSTATUS=移动: 已连接"),
        (lambda n: n.ready("two\nlines READY=1"), "READY=1\nSTATUS=two lines READY=1"),
        (lambda n: n.stopping("x" * 1000), "STOPPING=1\nSTATUS=" + "x" * 256),
    ],
)
def test_messages(systemd: tuple[socket.socket, str], say: Callable[[Notifier], bool], message: str) -> None:
    receiver, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name}, 1)
    assert say(notifier) is True
    assert receiver.recv(4096).decode() == message
    notifier.close()


def test_nobody_is_told_where_nobody_asks(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier.from_environment(environment, 1)
        assert (notifier.ready("x"), notifier.watchdog(), notifier.stopping("x")) == (False, False, False)
        notifier.close()


def test_a_full_buffer_does_not_block(systemd: tuple[socket.socket, str]) -> None:
    _, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name}, 1)
    told = [notifier.watchdog() for _ in range(5000)]
    assert told[0] is True
    assert told[-1] is False
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "42"}, 0.0000005),
        ({"WATCHDOG_PID": "42"}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], interval_s: float | None) -> None:
    notifier = Notifier.from_environment(environment, 42)
    assert notifier.watchdog_interval_s == interval_s
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        (
            {"NOTIFY_SOCKET": "run/notify"},
            "NOTIFY_SOCKET is 'run/notify', it must be a path from / or an abstract",
        ),
        ({"NOTIFY_SOCKET": ""}, "NOTIFY_SOCKET is ''"),
        ({"WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC is 'soon', it must be a number of microseconds above 0"),
        ({"WATCHDOG_USEC": "0"}, "WATCHDOG_USEC is '0'"),
    ],
)
def test_what_systemd_never_sets_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Notifier.from_environment(environment, 42)
