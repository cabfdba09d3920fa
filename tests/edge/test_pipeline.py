"""The stages side by side: what waits, what is lost, and how they end."""

import contextlib
import errno
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.bounded_queue import BoundedQueue
from edge.engines.engine import EngineInfo
from edge.errors import EdgeError
from edge.frame import Frame, SkippedFrame
from edge.particles import ParticleFilter
from edge.pipeline import Pipeline, Policy, Settings
from edge.result import Result
from edge.sinks.sink import Sink
from edge.sources.source import Source
from edge.stage_timer import StageTimer

INFO = EngineInfo("test", 0, 1, 0.5, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), {}, "")


class PacedSource(Source):
    """`total` frames, `period_s` apart; frame i has i % 200 in every pixel."""

    def __init__(self, total: int, period_s: float = 0, sizes: tuple[int, ...] = (8,)) -> None:
        super().__init__("paced")
        self.expected = total
        self._period_s, self._sizes = period_s, sizes

    def __iter__(self) -> Iterator[Frame]:
        start = time.perf_counter()
        for i in range(self.expected or 0):
            time.sleep(max(0.0, start + i * self._period_s - time.perf_counter()))
            side = self._sizes[i * len(self._sizes) // (self.expected or 1)]
            yield Frame(np.full((side, side, 3), i % 200, np.uint8), i, "f", 0.0)


class SlowEngine:
    """Takes `seconds` for a frame and gives it back as its map; fails from frame `fails_at` on."""

    info = INFO
    max_in_flight = 2
    device = "test"

    def __init__(self, seconds: float = 0, fails_at: int = 200) -> None:
        self._seconds, self._fails_at = seconds, fails_at
        self.opened: list[tuple[int, int]] = []
        self.most_in_flight = 0
        self._in_flight: deque[NDArray[np.uint8]] = deque()

    def close(self) -> None:
        pass

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise NotImplementedError

    @contextlib.contextmanager
    def session(
        self, frame_hw: tuple[int, int], max_in_flight: int, timer: StageTimer
    ) -> Iterator["SlowEngine"]:
        self.opened.append(frame_hw)
        yield self
        assert not self._in_flight, "everything in flight is finished"

    def submit(self, image: NDArray[np.uint8]) -> None:
        assert image.shape[:2] == self.opened[-1]
        if image[0, 0, 0] >= self._fails_at:
            raise EdgeError("the engine failed")
        self._in_flight.append(image)
        self.most_in_flight = max(self.most_in_flight, len(self._in_flight))

    def result(self) -> NDArray[np.uint8]:
        time.sleep(self._seconds)
        return np.ascontiguousarray(self._in_flight.popleft()[..., 0])


class KeepingSink(Sink):
    """Keeps the numbers of the frames; takes `seconds` for each, fails at `fails_at`."""

    name = "keeping"

    def __init__(self, seconds: float = 0, fails_at: int = -1) -> None:
        self._seconds, self._fails_at = seconds, fails_at
        self.taken: list[int] = []
        self.skipped: list[SkippedFrame] = []
        self.closed = False

    def write(self, result: Result) -> None:
        time.sleep(self._seconds)
        if result.frame.index == self._fails_at:
            raise OSError(errno.ENOSPC, "No space left on device", "results")
        assert result.mask.shape == result.frame.image.shape[:2]
        self.taken.append(result.frame.index)

    def skip(self, frame: SkippedFrame) -> None:
        self.skipped.append(frame)

    def close(self) -> None:
        self.closed = True


def pipeline(
    source: PacedSource, engine: SlowEngine, policy: Policy, *sinks: Sink, **limits: Any
) -> Pipeline:
    return Pipeline(source, engine, Settings(ParticleFilter(0.5), policy, **limits), sinks)


def go(
    source: PacedSource, engine: SlowEngine, policy: Policy, *sinks: Sink, **limits: Any
) -> Pipeline:
    done = pipeline(source, engine, policy, *sinks, **limits)
    with done:
        for _ in done:
            pass
    return done


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("slow", ["source", "engine", "sink", "none"])
def test_every_loses_none_and_keeps_the_order(slow: str) -> None:
    sink, engine = KeepingSink(0.01 * (slow == "sink")), SlowEngine(0.01 * (slow == "engine"))
    done = go(PacedSource(40, 0.01 * (slow == "source")), engine, Policy.EVERY, sink)
    assert sink.taken == list(range(40))
    assert (done.counts.processed, done.counts.dropped) == (40, 0)
    assert engine.most_in_flight <= 2
    if slow == "engine":
        assert engine.most_in_flight == 2
        assert 40 < done.statistics().fps <= 101


def test_latest_replaces_what_waits() -> None:
    sink, engine = KeepingSink(), SlowEngine(0.05)
    done = go(PacedSource(100, 0.005), engine, Policy.LATEST, sink)
    assert engine.most_in_flight == 1
    assert sink.taken == sorted(set(sink.taken))
    assert sink.taken[-1] == 99  # the newest is not lost at the end
    assert done.counts.processed == len(sink.taken)
    assert done.counts.processed + done.counts.dropped == 100
    assert 5 <= done.counts.processed <= 13
    assert 50 <= done.statistics().end_to_end_ms["p50"] < 75
    assert done.statistics().end_to_end_ms["p99"] < 100


def test_a_slow_sink_makes_no_result_older_than_two_of_its_frames() -> None:
    done = go(PacedSource(250, 0.004), SlowEngine(0.004), Policy.LATEST, KeepingSink(0.05))
    assert done.counts.dropped > 200
    assert done.statistics().end_to_end_ms["p50"] < 75
    assert done.statistics().end_to_end_ms["p99"] < 100


def test_latest_drops_nothing_where_the_engine_keeps_up() -> None:
    done = go(PacedSource(10, 0.05), SlowEngine(0.001), Policy.LATEST)
    assert (done.counts.processed, done.counts.dropped) == (10, 0)


def test_a_new_size_opens_the_engine_anew() -> None:
    engine, sink = SlowEngine(0.002), KeepingSink()
    go(PacedSource(30, sizes=(8, 5, 8)), engine, Policy.EVERY, sink)
    assert engine.opened == [(8, 8), (5, 5), (8, 8)]
    assert sink.taken == list(range(30))


def test_a_failing_source_comes_after_its_frames() -> None:
    class Failing(PacedSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from itertools.islice(super().__iter__(), 7)
            raise EdgeError("the source failed")

    sink = KeepingSink()
    with pytest.raises(EdgeError, match="the source failed"):
        go(Failing(40), SlowEngine(0.005), Policy.EVERY, sink)
    assert sink.taken == list(range(7))
    assert sink.closed


@pytest.mark.parametrize("policy", Policy)
def test_a_failing_engine_ends_an_endless_source(policy: Policy) -> None:
    sink = KeepingSink()
    with pytest.raises(EdgeError, match="the engine failed"):
        go(PacedSource(10**9, 0.002), SlowEngine(fails_at=9), policy, sink)
    assert sink.taken == sorted(set(sink.taken))
    assert max(sink.taken) < 9
    assert sink.closed


def test_a_failing_sink_ends_an_endless_source() -> None:
    failing, other = KeepingSink(fails_at=3), KeepingSink()
    with pytest.raises(OSError, match="No space left"):
        go(PacedSource(10**9), SlowEngine(), Policy.EVERY, failing, other)
    assert failing.taken == [0, 1, 2]
    assert failing.closed
    assert other.closed


def test_a_failing_stage_ends_an_endless_source() -> None:
    def stage(result: Result) -> list[Result]:
        if result.frame.index == 5:
            raise EdgeError("the stage failed")
        return [result]

    sink = KeepingSink()
    failing = pipeline(PacedSource(10**9), SlowEngine(), Policy.EVERY, sink)
    failing.stages = [stage]
    with pytest.raises(EdgeError, match="the stage failed"), failing:
        list(failing)
    assert sink.taken == list(range(5))
    assert sink.closed


def test_a_failing_sink_does_not_wait_for_a_hanging_source() -> None:
    hanging = threading.Event()

    class Hanging(PacedSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            hanging.wait(20)

    start = time.perf_counter()
    with pytest.raises(OSError, match="No space left"):
        go(Hanging(1), SlowEngine(), Policy.EVERY, KeepingSink(fails_at=0))
    assert time.perf_counter() - start < 5
    hanging.set()
    time.sleep(0.1)


@pytest.mark.parametrize(("policy", "most"), [(Policy.EVERY, 9), (Policy.LATEST, 7)])
def test_few_frames_are_alive_at_once(policy: Policy, most: int) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    counts = []

    class Counted(Frame):
        __hash__ = object.__hash__  # a frame of its own, whatever its pixels

    class Counting(PacedSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                counted = Counted(frame.image, frame.index, frame.file, frame.time_s)
                alive.add(counted)
                counts.append(len(alive))
                yield counted

    # Everything fills up behind the slowest, the sinks.
    done = go(Counting(200, 0.001), SlowEngine(0.001), policy, KeepingSink(0.005))
    assert done.counts.processed + done.counts.dropped == 200
    assert 5 <= max(counts) <= most


def test_a_queue_gives_what_came_before_the_end() -> None:
    queue: BoundedQueue[int] = BoundedQueue()
    assert queue.put(1)
    queue.close(EdgeError("first"))
    queue.close(EdgeError("second"))
    assert not queue.put(2)
    assert queue.get() == 1
    assert queue.get() is None
    assert str(queue.error) == "first"


def test_dropped_frames_are_told_in_order() -> None:
    sink = KeepingSink()
    go(PacedSource(100, 0.002), SlowEngine(0.02), Policy.LATEST, sink)
    dropped = [frame.index for frame in sink.skipped]
    assert {frame.status for frame in sink.skipped} == {"dropped"}
    assert dropped == sorted(dropped)
    assert sorted(dropped + sink.taken) == list(range(100))


@pytest.mark.parametrize("policy", Policy)
def test_frames_that_could_not_be_read_are_told(policy: Policy) -> None:
    class Damaged(PacedSource):
        def __iter__(self) -> Iterator[Frame | SkippedFrame]:
            for frame in super().__iter__():
                bad = frame.index in (0, 5, 19)
                yield SkippedFrame(frame.index, "f", None, "failed", "bad") if bad else frame

    sink = KeepingSink()
    done = go(Damaged(20), SlowEngine(), policy, sink)
    assert [f.index for f in sink.skipped if f.status == "failed"] == [0, 5, 19]
    assert done.counts.failed == 3
    assert done.counts.processed + done.counts.dropped == 17


def test_limits_end_a_run() -> None:
    endless = PacedSource(10**9, 0.002)
    done = go(endless, SlowEngine(), Policy.EVERY, frames=7, every=3)
    assert (done.counts.processed, done.stop_reason) == (7, "limit")
    sink = KeepingSink()
    start = time.perf_counter()
    done = go(PacedSource(10**9, 0.002), SlowEngine(), Policy.EVERY, sink, seconds=0.3, every=2)
    assert done.stop_reason == "limit"
    assert sink.taken == list(range(0, 2 * len(sink.taken), 2))
    assert 0.3 <= time.perf_counter() - start < 5


def test_the_threshold_may_change_while_it_runs() -> None:
    changing = pipeline(PacedSource(20, 0.001), SlowEngine(), Policy.EVERY)
    found = []
    with changing:
        for result in changing:
            found.append(len(result.particles))
            # Frame i is i in every pixel: from now on, 255 is asked for.
            if result.frame.index == 4:
                changing.settings.particle_filter = ParticleFilter(1.0)
            elif not result.frame.index:
                changing.settings.particle_filter = ParticleFilter(0.001)
    assert found == [0, 1, 1, 1, 1] + [0] * 15


def test_statistics_can_be_read_from_another_thread() -> None:
    running = pipeline(PacedSource(200, 0.001), SlowEngine(), Policy.EVERY)
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            seen.append(running.statistics().counts.processed)

    watching = threading.Thread(target=watch)
    watching.start()
    with running:
        list(running)
    over.set()
    watching.join()
    assert seen == sorted(seen)
    assert 0 < seen[len(seen) // 2] < 200


def test_a_sink_that_may_drop_does_not_end_the_run() -> None:
    class Lossy(KeepingSink):
        on_error = "drop"

    lossy, other = Lossy(fails_at=3), KeepingSink()
    done = go(PacedSource(9), SlowEngine(), Policy.EVERY, lossy, other)
    assert lossy.taken == [0, 1, 2, 4, 5, 6, 7, 8]
    assert other.taken == list(range(9))
    assert done.problems == ["keeping: No space left on device"]
