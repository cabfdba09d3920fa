"""The queues between the sources of a run and its engine."""

from __future__ import annotations

import math
import threading
from typing import Generic, TypeVar

from edge.bounded_queue import BoundedQueue, wait_for

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """One short queue for each producer, and one consumer, which takes from them in turn.

    What is said of `BoundedQueue` holds for each producer alone, and the end comes when all of the
    queues have ended.

    Attributes:
        queues: in which the producers put their items.
    """

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition()
        self.queues: list[BoundedQueue[T]] = [
            BoundedQueue(changed=self._changed) for _ in range(count)
        ]
        self._next = 0

    @property
    def error(self) -> BaseException | None:
        """What the first of the producers that failed ended with."""
        return next((queue.error for queue in self.queues if queue.error), None)

    def get(self, timeout_s: float = math.inf) -> T | None:
        """The oldest item of the next queue that has one; None after the end of all, or where none
        comes in time."""
        with self._changed:
            wait_for(
                self._changed,
                lambda: any(self.queues) or all(queue.closed for queue in self.queues),
                timeout_s,
            )
            for turn in range(len(self.queues)):
                at = (self._next + turn) % len(self.queues)
                if self.queues[at]:
                    self._next = at + 1
                    return self.queues[at].get()
            return None

    def close(self) -> None:
        """As `BoundedQueue.close`, of all."""
        for queue in self.queues:
            queue.close()

    def cancel(self) -> None:
        """As `BoundedQueue.cancel`, of all."""
        for queue in self.queues:
            queue.cancel()
