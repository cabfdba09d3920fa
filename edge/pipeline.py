"""A frame's whole way through a run:

    source -> capture queue -> engine -> prediction queue -> particles -> stages -> sink workers

Each source and the engine have threads of their own, and so has each sink; what lies between runs
in the thread that iterates over the pipeline. Each source has a capture queue of its own, and the
engine takes from them in turn. Every queue is short, so memory stays bounded and a run ends soon.
An end, and the error of a thread, travel the same way as the frames: behind all before them.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge.bounded_queue import SIGNAL_POLL_S, BoundedQueue
from edge.engines.engine import Engine, Session
from edge.engines.sessions import Sessions
from edge.errors import BadArgumentError, EdgeError, describe, is_expected, printable
from edge.frame import Frame, SkippedFrame
from edge.particles import ParticleFilter
from edge.result import Result
from edge.round_robin import RoundRobin
from edge.sinks.sink import Sink
from edge.sinks.worker import SinkStatus, SinkWorker
from edge.sources.source import Source, SourceStatus
from edge.stage_timer import Histogram, StageTimer

_log = logging.getLogger(__name__)

# How long the end of a run waits for a source inside a read, where a camera may hang.
SOURCE_TIMEOUT_S = 1.0
# How long a frame in flight waits for the next, which a GPU could take up meanwhile.
NEXT_FRAME_TIMEOUT_S = 0.005

# What happens to each result before the sinks get it: none, one or several come of one.
Stage = Callable[[Result], Iterable[Result]]


class Policy(enum.Enum):
    """What becomes of a frame that still waits for the engine when the next one comes."""

    EVERY = "every"  # it holds the source up: none is lost
    LATEST = "latest"  # it is dropped: no result is of an old frame


@dataclass
class Settings:
    """Of a run. `particle_filter` may be replaced while it runs, from any thread.

    Attributes:
        frames: stop after so many; None is no limit.
        seconds: stop after so long.
        every: process one frame in so many.

    Raises:
        BadArgumentError: a value is out of range.
    """

    particle_filter: ParticleFilter
    policy: Policy
    frames: int | None = None
    seconds: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        for name, count in (("frames", self.frames), ("every", self.every)):
            if count is not None and count < 1:
                raise BadArgumentError(f"{name}={count}: must be 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise BadArgumentError(f"seconds={self.seconds}: must be above 0")


@dataclass(frozen=True, eq=False)
class Captured:
    """A captured frame, when it came, by `time.perf_counter`, and what was skipped before it.

    `frame` is None at the end of a source and in a pause, where only skipped ones are to tell.
    """

    frame: Frame | None
    at_s: float
    skipped: tuple[SkippedFrame, ...]

    def replaced_by(self, newer: Captured) -> Captured:
        """The newer one, with the account of this one, which is dropped."""
        skipped = self.skipped
        if self.frame:
            frame = self.frame
            skipped += (
                SkippedFrame(frame.index, frame.file, frame.time_s, "dropped", source=frame.source),
            )
        return replace(newer, skipped=skipped + newer.skipped)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A captured frame and its probability map uint8 (H,W); None where there is no frame."""

    captured: Captured
    probability: NDArray[np.uint8] | None


@dataclass
class Counts:
    """Of a run so far. `captured` holds `processed` and those in flight; no other does."""

    captured: int = 0
    processed: int = 0
    dropped: int = 0
    failed: int = 0
    particles: int = 0


@dataclass(frozen=True)
class Statistics:
    """A run so far.

    Attributes:
        latency_ms: p50, p99 and max of each stage; stages run at the same time.
        end_to_end_ms: the same from a frame's capture to its particles; empty without frames.
        fps: frames processed per second, from the first capture to the last result.
        sources: how each source is.
        latency_histograms: durations of each stage since the run began.
        end_to_end_histogram: the same from capture to particles; None without frames.
        queues: captured frames, and predictions, that wait.
        sinks: how each sink is.
    """

    counts: Counts
    latency_ms: dict[str, dict[str, float]]
    end_to_end_ms: dict[str, float]
    fps: float
    sources: tuple[SourceStatus, ...]
    latency_histograms: dict[str, Histogram]
    end_to_end_histogram: Histogram | None
    queues: dict[str, int]
    sinks: tuple[SinkStatus, ...]


@dataclass
class Pipeline:
    """Iterates over what `engine` finds in the frames of `source`, in their order; of several, each
    in its own. One that fails does not end the others; its error is raised behind the last of them.

    As a context manager it runs the threads; leaving it ends them, wherever they are, and closes
    source and sinks. The iteration raises what source or engine raised, after the results that
    came before, and so does leaving it for a sink.

    Attributes:
        paused: frames of a live source are dropped, and other sources wait; may be set from any
            thread.
        last_latency_s: from the last frame's capture to its particles.
    """

    source: Source
    engine: Engine
    settings: Settings
    sinks: Sequence[Sink] = ()
    stages: Sequence[Stage] = ()
    counts: Counts = field(default_factory=Counts)
    problems: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    paused: bool = False
    last_latency_s: float = 0.0

    def __post_init__(self) -> None:
        self._timer, self._end_to_end = StageTimer(), StageTimer()
        self._first_s = self._last_s = 0.0
        self._cancelled = False
        # More than one frame in flight makes results older, which cameras do not want.
        latest = self.settings.policy is Policy.LATEST
        self._max_in_flight = 1 if latest else self.engine.max_in_flight
        parts = self.source.parts()
        self._captures: RoundRobin[Captured] = RoundRobin(len(parts))
        # A map is never replaced, or its inference would have been for nothing.
        self._predictions: BoundedQueue[Prediction] = BoundedQueue()
        self._workers: list[SinkWorker] = []
        self._counting = threading.Lock()
        self._put = 0
        # Daemons: neither a hanging camera nor a hanging GPU keeps a process from ending.
        self._capturing = [
            threading.Thread(
                target=self._capture, args=(name, part, queue), name=f"source {name}", daemon=True
            )
            for (name, part), queue in zip(parts.items(), self._captures.queues, strict=True)
        ]
        self._inferring = threading.Thread(target=self._infer, name="engine", daemon=True)

    def stop(self, reason: str) -> None:
        """Take no more frames from the source; those captured are finished. From any thread, also
        in a signal handler. Only the first reason counts."""
        self.stop_reason = self.stop_reason or reason
        self._captures.close()

    def cancel(self) -> None:
        """End at once, without the frames in flight; from any thread, also in a signal handler."""
        self._cancelled = True
        self._captures.cancel()
        self._predictions.cancel()

    def statistics(self) -> Statistics:
        """Of the run so far; from any thread."""
        seconds = self._last_s - self._first_s
        return Statistics(
            replace(self.counts),
            self._timer.milliseconds(),
            self._end_to_end.milliseconds().get("frame", {}),
            round(self.counts.processed / seconds, 3) if seconds > 0 else 0.0,
            self.source.statuses(),
            self._timer.histograms(),
            self._end_to_end.histograms().get("frame"),
            {"capture": sum(map(len, self._captures.queues)), "prediction": len(self._predictions)},
            tuple(worker.status() for worker in self._workers),
        )

    def __enter__(self) -> Pipeline:
        def failed() -> None:
            self.stop("failed")

        self._attach_sinks()
        self._workers = [SinkWorker(sink, self._timer, failed) for sink in self.sinks]
        self._limit = threading.Timer(self.settings.seconds or 0, self.stop, ["limit"])
        self._limit.daemon = True
        if self.settings.seconds is not None:
            self._limit.start()
        for capturing in self._capturing:
            capturing.start()
        self._inferring.start()
        return self

    def _attach_sinks(self) -> None:
        try:
            for sink in self.sinks:
                sink.attach(self)
        except BaseException:
            self.source.close()
            for sink in self.sinks:
                with contextlib.suppress(OSError):
                    sink.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._limit.cancel()
        self._captures.cancel()
        self._predictions.cancel()
        self.source.close()
        # Whatever the engine does to a frame has an end, but who cancels does not wait for it.
        self._cancelled |= kind is KeyboardInterrupt
        while self._inferring.is_alive() and not self._cancelled:
            self._inferring.join(SIGNAL_POLL_S)
        self._inferring.join(SOURCE_TIMEOUT_S)
        end_s = time.monotonic() + SOURCE_TIMEOUT_S
        for capturing in self._capturing:
            capturing.join(max(0.0, end_s - time.monotonic()))
        for worker in self._workers:
            worker.close()
            self.problems += worker.problems
        parts = self.source.parts().values()
        self.problems = [*(said for part in parts for said in part.problems), *self.problems]
        errors = [worker.error for worker in self._workers if worker.error]
        if errors and kind in (None, GeneratorExit):
            raise errors[0]

    def __iter__(self) -> Iterator[Result]:
        while (prediction := self._predictions.get()) is not None:
            results = self._processed(prediction)
            with self._timer.stage("queue"):
                for worker in self._workers:
                    worker.put([*prediction.captured.skipped, *results])
            yield from results
        if self._predictions.error:
            raise self._predictions.error

    def _processed(self, prediction: Prediction) -> list[Result]:
        """The results of a prediction, counted, and with them what was skipped before it."""
        captured = prediction.captured
        for skipped in captured.skipped:
            self.counts.dropped += skipped.status == "dropped"
            self.counts.failed += skipped.status == "failed"
        if captured.frame is None or prediction.probability is None:
            return []
        with self._timer.stage("particles"):
            particle_filter = self.settings.particle_filter
            results = [Result.of(captured.frame, prediction.probability, particle_filter)]
            for stage in self.stages:
                results = [out for result in results for out in stage(result)]
        self._last_s = time.perf_counter()
        self._first_s = self._first_s or captured.at_s
        self.last_latency_s = self._last_s - captured.at_s
        self._end_to_end.add("frame", self.last_latency_s)
        self.counts.processed += 1
        _log.debug("frame %d: %d results", captured.frame.index, len(results))
        self.counts.particles += sum(len(result.particles) for result in results)
        return results

    def _capture(self, name: str, source: Source, queue: BoundedQueue[Captured]) -> None:
        """The thread of a source."""
        settings, skipped = self.settings, list[SkippedFrame]()
        merge = Captured.replaced_by if settings.policy is Policy.LATEST else None
        try:
            frames = iter(source)
            start = time.perf_counter()
            while (frame := next(frames, None)) is not None:
                if frame.index % settings.every:
                    continue
                if name:
                    frame = replace(frame, source=name)
                if isinstance(frame, SkippedFrame):
                    skipped.append(frame)
                    continue
                at_s = time.perf_counter()
                self._timer.add("read", at_s - start)
                if self.paused:
                    if source.live:
                        if not _drop_in_pause(queue, frame, skipped):
                            return
                        start = time.perf_counter()
                        continue
                    while self.paused and not queue.closed:
                        time.sleep(SIGNAL_POLL_S)
                    at_s = time.perf_counter()
                if not self._reserve():
                    break
                if not queue.put(Captured(frame, at_s, tuple(skipped)), merge):
                    return
                skipped.clear()
                if self._was_last():
                    self.stop("limit")
                    return
                start = time.perf_counter()
            _end_of_source(queue, skipped)
        except BaseException as error:
            if name:
                # Said at once, since the others go on, and the error is raised behind them.
                self.problems.append(f"{name} failed: {describe(error)}")
                _log.error("%s failed: %s", name, describe(error))
            _end_of_source(queue, skipped, error)

    def _reserve(self) -> bool:
        """Whether one more frame may be captured."""
        with self._counting:
            if self.counts.captured == self.settings.frames:
                return False
            self.counts.captured += 1
            return True

    def _was_last(self) -> bool:
        """Whether the frame just put into a queue was the last that may be captured."""
        with self._counting:
            self._put += 1
            return self._put == self.settings.frames

    def _infer(self) -> None:
        """The engine's thread."""
        try:
            self._infer_all()
            self._predictions.close(self._captures.error)
        except BaseException as error:
            self._captures.cancel()
            self._predictions.close(error)

    def _infer_all(self) -> None:
        in_flight: deque[Captured] = deque()
        session: Session
        frame_hw: tuple[int, int] | None = None

        def finish_all_but(count: int) -> None:
            while len(in_flight) > count:
                probability = session.result()
                self._predictions.put(Prediction(in_flight.popleft(), probability))

        # Sources may differ in size: none has to open its session anew for each of its frames.
        open_session = functools.partial(
            self.engine.session, max_in_flight=self._max_in_flight, timer=self._timer
        )
        with Sessions(open_session, len(self._capturing)) as sessions:
            while True:
                # A frame is taken when its map will find room: until then a newer one may come.
                self._predictions.wait_for_room()
                captured = self._captures.get(NEXT_FRAME_TIMEOUT_S if in_flight else math.inf)
                if captured is None:
                    if not in_flight:
                        return
                    finish_all_but(0)
                    continue
                if captured.frame is None:
                    finish_all_but(0)
                    self._predictions.put(Prediction(captured, None))
                    continue
                if captured.frame.size_hw != frame_hw:
                    finish_all_but(0)
                    frame_hw = captured.frame.size_hw
                    session = sessions.of(frame_hw)
                try:
                    session.submit(captured.frame.image)
                except Exception as error:
                    if is_expected(error):
                        file = printable(captured.frame.file)
                        raise EdgeError(f"{file}: {describe(error)}") from error
                    raise
                in_flight.append(captured)
                finish_all_but(self._max_in_flight - 1)


def _drop_in_pause(
    queue: BoundedQueue[Captured], frame: Frame, skipped: list[SkippedFrame]
) -> bool:
    """Tell at once, as a pause may be long, and what is left to tell would grow; False after the
    end."""
    dropped = SkippedFrame(frame.index, frame.file, frame.time_s, "dropped", "paused", frame.source)
    told = Captured(None, time.perf_counter(), (*skipped, dropped))
    skipped.clear()
    return queue.put(told)


def _end_of_source(
    queue: BoundedQueue[Captured],
    skipped: Sequence[SkippedFrame],
    error: BaseException | None = None,
) -> None:
    if skipped:
        queue.put(Captured(None, time.perf_counter(), tuple(skipped)))
    queue.close(error)
