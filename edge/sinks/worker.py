"""A sink with its queue and thread: disks must not hold up engines, nor one sink another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from edge.bounded_queue import BoundedQueue
from edge.errors import EdgeError, describe, is_expected
from edge.frame import SkippedFrame
from edge.result import Result
from edge.sinks.sink import Sink
from edge.stage_timer import StageTimer

# Frames whose results may wait for a sink; after that the run waits, so none is lost.
QUEUE_SIZE = 2


class SinkWorker:
    """Hands everything to `sink`, in order, in a thread.

    Args:
        on_failure: called from the thread when the sink has failed for good.

    Attributes:
        error: what the sink failed with for good.
        problems: what could not be written, a sentence each.
    """

    def __init__(self, sink: Sink, timer: StageTimer, on_failure: Callable[[], None]) -> None:
        self._sink, self._timer, self._on_failure = sink, timer, on_failure
        self._queue: BoundedQueue[Sequence[Result | SkippedFrame]] = BoundedQueue(QUEUE_SIZE)
        self.error: Exception | None = None
        self.problems: list[str] = []
        # A daemon: a disk that hangs does not keep a process from ending.
        self._thread = threading.Thread(target=self._work, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[Result | SkippedFrame]) -> None:
        """Queue the results of a frame and what was skipped before; waits for room."""
        self._queue.put(items)

    def close(self) -> None:
        """Write what waits, and close the sink."""
        self._queue.close()
        self._thread.join()
        try:
            self._sink.close()
        except OSError as error:
            self.error = self.error or error

    def _work(self) -> None:
        while (items := self._queue.get()) is not None:
            for item in items:
                # After an error take what still comes, so that nobody waits for ever.
                if not self.error:
                    self._write(item)

    def _write(self, item: Result | SkippedFrame) -> None:
        try:
            if isinstance(item, SkippedFrame):
                self._sink.skip(item)
            else:
                with self._timer.stage(f"write {self._sink.name}"):
                    self._sink.write(item)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        lasting = not isinstance(error, EdgeError) and self._sink.on_error == "fail"
        if lasting or not is_expected(error):
            self.error = error
            self._on_failure()
        else:
            self.problems.append(f"{self._sink.name}: {describe(error)}")
