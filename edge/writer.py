"""Results on their way to the sinks, in a thread of their own: disks must not hold up engines."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from edge.latency import Stopwatch
from edge.sinks.sink import Result, Sink

# Results that may wait for the disk; after that the run waits with them, so none is lost.
WAITING = 2


class Writer:
    """Hands every result to every sink, in order; closes the sinks at the end, whatever happened.

    As a context manager it ends with everything written. When a sink fails, `failed` is called
    from the thread, its error raised by the next `write` or at the end, and nothing written after.
    """

    def __init__(self, sinks: Sequence[Sink], clock: Stopwatch, failed: Callable[[], None]) -> None:
        self._sinks = sinks
        self._clock = clock
        self._failed = failed
        self._results: queue.Queue[Result | None] = queue.Queue(WAITING)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="writer")

    def write(self, result: Result) -> None:
        """Queue `result`; waits while `WAITING` others do."""
        if self._error:
            raise self._error
        self._results.put(result)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._results.put(None)
        self._thread.join()
        with contextlib.ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)
            if self._error and error is None:
                raise self._error

    def _work(self) -> None:
        while (result := self._results.get()) is not None:
            if self._error:
                continue  # take what still comes, so that nobody waits for ever
            try:
                with self._clock.stage("write"):
                    for sink in self._sinks:
                        sink.write(result)
            except Exception as error:
                self._error = error
                self._failed()
