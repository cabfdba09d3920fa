"""The queue between two threads of a run."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

# Python runs signal handlers between two instructions of the main thread only, so it must not wait
# longer than this at a time.
SIGNAL_POLL_S = 0.1

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """Holds at most `capacity` items; an error at its end comes behind them.

    Args:
        changed: notified of every change; several queues may have one.

    Attributes:
        error: what the producer ended with.
    """

    def __init__(self, capacity: int = 1, changed: threading.Condition | None = None) -> None:
        self._capacity = capacity
        self._changed = changed or threading.Condition()
        self._items: deque[T] = deque()
        self._closed = False
        self.error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def wait_for_room(self) -> None:
        """Return once there is room, or after the end."""
        with self._changed:
            wait_for(self._changed, lambda: len(self._items) < self._capacity or self._closed)

    def put(self, item: T, merge: Callable[[T, T], T] | None = None) -> bool:
        """Append `item`; False after the end.

        Args:
            merge: of a full queue's newest item and this one, which takes its place; without it,
                wait for room.
        """
        with self._changed:
            if merge is None:
                self.wait_for_room()
            if self._closed:
                return False
            if merge is not None and len(self._items) == self._capacity:
                item = merge(self._items.pop(), item)
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float = math.inf) -> T | None:
        """The oldest item, or the next; None after the end, or where none comes in time."""
        with self._changed:
            wait_for(self._changed, lambda: self._items or self._closed, timeout_s)
            item = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return item

    def close(self, error: BaseException | None = None) -> None:
        """Take nothing more; what waits is still given. Only the first call counts."""
        with self._changed:
            if not self._closed:
                self._closed, self.error = True, error
                self._changed.notify_all()

    def cancel(self) -> None:
        """Take nothing more and give nothing more."""
        with self._changed:
            self.close()
            self._items.clear()


def wait_for(
    changed: threading.Condition, condition: Callable[[], object], timeout_s: float = math.inf
) -> None:
    """Return once `condition` holds, or after the time; with the lock of `changed` held."""
    end_s = time.perf_counter() + timeout_s
    while (left_s := end_s - time.perf_counter()) > 0:
        if changed.wait_for(condition, min(left_s, SIGNAL_POLL_S)):
            break
