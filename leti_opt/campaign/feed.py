"""Networks on their way to a device: built a few ahead, in the background, and never more than a few at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class Feed(Generic[Item]):
    """Runs an iterator in a thread of its own, and keeps a bounded number of what it yields.

    Whoever iterates over the feed gets the items in order, and the iterator's exception in its turn.

    Args:
        source: called in the thread; yields the items.
        ahead: how many are kept for whoever takes them.

    >>> with Feed(lambda: iter("abc"), ahead=1) as feed:
    ...     list(feed)
    ['a', 'b', 'c']
    """

    def __init__(self, source: Callable[[], Iterator[Item]], ahead: int) -> None:
        self._source = source
        self._kept: queue.Queue[Item | _Failed | None] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while (item := self._kept.get()) is not None:
            if isinstance(item, _Failed):
                raise item.error
            yield item

    def close(self) -> None:
        """End the thread; what it has kept is dropped."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Feed[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            for item in self._source():
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001  # it is raised where the items are taken
            self._put(_Failed(error))
        else:
            self._put(None)

    def _put(self, item: Item | _Failed | None) -> bool:
        """Wait for room; false if the feed was closed first."""
        while not self._closed.is_set():
            try:
                self._kept.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
