"""Applications that submit beside a test, each a thread, while the gateway is restarted or changed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Final, Self

from tests.integration.world import until

APPLICATIONS: Final = 4


class Traffic(ABC):
    """From the beginning to the end of the `with`; a subclass says what an application does until `_stop`."""

    def __init__(self, port: int) -> None:
        self.accepted: list[bytes] = []  # message ids
        self.receipts: set[bytes] = set()
        self.failures: list[str] = []
        self._port = port
        self._lock = threading.Lock()  # for all of these
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(APPLICATIONS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_more(self, messages: int) -> None:
        """Returns when so many more have been accepted, or something has failed."""
        goal = len(self.accepted) + messages
        until(f"{messages} messages are accepted", lambda: self.failures or len(self.accepted) >= goal, 30.0)

    @abstractmethod
    def _work(self, number: int) -> None:
        """What one application does; number: which of them."""
