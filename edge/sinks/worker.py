"""A sink with its queue and thread: disks must not hold up engines, nor one sink another."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.bounded_queue import BoundedQueue
from edge.errors import EdgeError, describe, is_expected
from edge.frame import SkippedFrame
from edge.result import Result
from edge.sinks.sink import Sink
from edge.stage_timer import StageTimer

# Frames whose results may wait for a sink; after that the run waits, so none is lost.
QUEUE_SIZE = 2
# Different problems that are kept; a run of weeks must not fill the memory with them.
MAX_PROBLEMS = 100
# How often a problem that lasts is logged.
LOG_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SinkStatus:
    """How a sink is.

    Attributes:
        name: as `Sink.name`.
        queue: frames whose results wait to be written.
        written: results that were.
        failed: results that were not, since writing them failed.
        waiting, lost: as in `Sink`.
    """

    name: str
    queue: int
    written: int
    failed: int
    waiting: int
    lost: int


class SinkWorker:
    """Hands everything to `sink`, in order, in a thread.

    Args:
        on_failure: called from the thread when the sink has failed for good.

    Attributes:
        error: what the sink failed with for good.
    """

    def __init__(self, sink: Sink, timer: StageTimer, on_failure: Callable[[], None]) -> None:
        self._sink, self._timer, self._on_failure = sink, timer, on_failure
        self._queue: BoundedQueue[Sequence[Result | SkippedFrame]] = BoundedQueue(QUEUE_SIZE)
        self.error: Exception | None = None
        self._problems: Counter[str] = Counter()
        self._written = self._failed = 0
        self._logged_s = -LOG_S
        # A daemon: a disk that hangs does not keep a process from ending.
        self._thread = threading.Thread(target=self._work, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[Result | SkippedFrame]) -> None:
        """Queue the results of a frame and what was skipped before; waits for room."""
        self._queue.put(items)

    def status(self) -> SinkStatus:
        """How the sink is now; from any thread."""
        sink = self._sink
        return SinkStatus(
            sink.name, len(self._queue), self._written, self._failed, sink.waiting, sink.lost
        )

    def close(self) -> None:
        """Write what waits, and close the sink."""
        self._queue.close()
        self._thread.join()
        try:
            self._sink.close()
        except Exception as error:  # of whatever kind: the other sinks are closed, too
            self._take(error)

    @property
    def problems(self) -> list[str]:
        """What could not be written or delivered, a sentence each."""
        sink = self._sink
        sentences = [
            f"{sink.name}: {problem}" + (f" ({count} times)" if count > 1 else "")
            for problem, count in self._problems.items()
        ]
        if sink.lost:
            sentences.append(f"{sink.name}: {sink.lost} results could not be delivered")
        if sink.waiting:
            sentences.append(f"{sink.name}: {sink.waiting} results are still to be delivered")
        return sentences

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
                self._written += 1
        except Exception as error:
            self._failed += isinstance(item, Result)
            self._take(error)

    def _take(self, error: Exception) -> None:
        """Take note of an error, and end the run where it lasts."""
        lasting = not isinstance(error, EdgeError) and self._sink.on_error == "fail"
        if lasting or not is_expected(error):
            self.error = self.error or error
            self._on_failure()
            return
        # Without the file: on a full disk there would be as many problems as files.
        problem = describe(error)
        if isinstance(error, OSError) and error.strerror:
            problem = error.strerror
        if problem not in self._problems and len(self._problems) >= MAX_PROBLEMS:
            problem = "other problems"
        self._problems[problem] += 1
        if time.monotonic() - self._logged_s >= LOG_S:
            self._logged_s = time.monotonic()
            _log.warning("%s: %s (%d failed)", self._sink.name, describe(error), self._failed)
