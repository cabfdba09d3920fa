"""The stages side by side: what waits, what is lost, and how they end."""

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.engines.engine import EngineInfo
from edge.errors import ToolError
from edge.frame import Frame
from edge.latency import Stopwatch
from edge.pipeline import Policy, Slot
from edge.run import Summary, run
from edge.sinks.sink import Result, Sink

INFO = EngineInfo("test", 0, 1, 0.5, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), {}, "")


class PacedSource:
    """`total` frames, `period_s` apart; frame i has i % 200 in every pixel."""

    time_base = "clip"

    def __init__(self, total: int, period_s: float = 0, sizes: tuple[int, ...] = (8,)) -> None:
        self.total: int | None = total
        self.skipped: list[str] = []
        self._period_s, self._sizes = period_s, sizes

    def __iter__(self) -> Iterator[Frame]:
        start = time.perf_counter()
        for i in range(self.total or 0):
            time.sleep(max(0.0, start + i * self._period_s - time.perf_counter()))
            side = self._sizes[i * len(self._sizes) // (self.total or 1)]
            yield Frame(np.full((side, side, 3), i % 200, np.uint8), i, "f", 0.0)


class SlowEngine:
    """Takes `seconds` for a frame and gives it back as its map; fails from frame `fails_at` on."""

    info = INFO
    depth = 2
    device = "test"

    def __init__(self, seconds: float = 0, fails_at: int = 200) -> None:
        self._seconds, self._fails_at = seconds, fails_at
        self.opened: list[tuple[int, int]] = []
        self.most_begun = 0
        self._begun: deque[NDArray[np.uint8]] = deque()

    def close(self) -> None:
        pass

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise NotImplementedError

    @contextlib.contextmanager
    def frames(
        self, frame_hw: tuple[int, int], depth: int, clock: Stopwatch
    ) -> Iterator["SlowEngine"]:
        self.opened.append(frame_hw)
        yield self
        assert not self._begun, "everything begun is finished"

    def start(self, image: NDArray[np.uint8]) -> None:
        assert image.shape[:2] == self.opened[-1]
        if image[0, 0, 0] >= self._fails_at:
            raise ToolError("the engine failed")
        self._begun.append(image)
        self.most_begun = max(self.most_begun, len(self._begun))

    def finish(self) -> NDArray[np.uint8]:
        time.sleep(self._seconds)
        return np.ascontiguousarray(self._begun.popleft()[..., 0])


class KeepingSink:
    """Keeps the numbers of the frames; takes `seconds` for each, fails at `fails_at`."""

    def __init__(self, seconds: float = 0, fails_at: int = -1) -> None:
        self._seconds, self._fails_at = seconds, fails_at
        self.taken: list[int] = []
        self.closed = False

    def write(self, result: Result) -> None:
        time.sleep(self._seconds)
        if result.frame.index == self._fails_at:
            raise OSError(errno.ENOSPC, "No space left on device", "results")
        assert result.mask.shape == result.frame.image.shape[:2]
        self.taken.append(result.frame.index)

    def close(self) -> None:
        self.closed = True


def go(source: PacedSource, engine: SlowEngine, policy: Policy, *sinks: Sink) -> Summary:
    return run(source, engine, sinks, policy, lambda _: None)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("slow", ["source", "engine", "sink", "none"])
def test_every_loses_none_and_keeps_the_order(slow: str) -> None:
    sink, engine = KeepingSink(0.01 * (slow == "sink")), SlowEngine(0.01 * (slow == "engine"))
    summary = go(PacedSource(40, 0.01 * (slow == "source")), engine, Policy.EVERY, sink)
    assert sink.taken == list(range(40))
    assert (summary.frames, summary.dropped, summary.policy) == (40, 0, "every")
    assert engine.most_begun <= 2
    if slow == "engine":
        assert engine.most_begun == 2
        assert 40 < summary.frames_per_second <= 101


def test_latest_replaces_what_waits() -> None:
    sink, engine = KeepingSink(), SlowEngine(0.05)
    summary = go(PacedSource(100, 0.005), engine, Policy.LATEST, sink)
    assert engine.most_begun == 1
    assert sink.taken == sorted(set(sink.taken))
    assert sink.taken[-1] == 99  # the newest is not lost at the end
    assert summary.frames == len(sink.taken)
    assert summary.frames + summary.dropped == 100
    assert 5 <= summary.frames <= 13
    assert 50 <= summary.age_ms["p50"] < 75
    assert summary.age_ms["p99"] < 100


def test_a_slow_sink_makes_no_result_older_than_two_of_its_frames() -> None:
    summary = go(PacedSource(250, 0.004), SlowEngine(0.004), Policy.LATEST, KeepingSink(0.05))
    assert summary.dropped > 200
    assert summary.age_ms["p50"] < 75
    assert summary.age_ms["p99"] < 100


def test_latest_drops_nothing_where_the_engine_keeps_up() -> None:
    summary = go(PacedSource(10, 0.05), SlowEngine(0.001), Policy.LATEST)
    assert (summary.frames, summary.dropped) == (10, 0)


def test_a_new_size_opens_the_engine_anew() -> None:
    engine, sink = SlowEngine(0.002), KeepingSink()
    go(PacedSource(30, sizes=(8, 5, 8)), engine, Policy.EVERY, sink)
    assert engine.opened == [(8, 8), (5, 5), (8, 8)]
    assert sink.taken == list(range(30))


def test_a_failing_source_comes_after_its_frames() -> None:
    class Failing(PacedSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from itertools.islice(super().__iter__(), 7)
            raise ToolError("the source failed")

    sink = KeepingSink()
    with pytest.raises(ToolError, match="the source failed"):
        go(Failing(40), SlowEngine(0.005), Policy.EVERY, sink)
    assert sink.taken == list(range(7))
    assert sink.closed


@pytest.mark.parametrize("policy", Policy)
def test_a_failing_engine_ends_an_endless_source(policy: Policy) -> None:
    sink = KeepingSink()
    with pytest.raises(ToolError, match="the engine failed"):
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


def test_a_failing_label_ends_an_endless_source() -> None:
    def report(result: Result) -> None:
        if result.frame.index == 5:
            raise ToolError("the label failed")

    sink = KeepingSink()
    with pytest.raises(ToolError, match="the label failed"):
        run(PacedSource(10**9), SlowEngine(), [sink], Policy.EVERY, report)
    assert sink.taken == list(range(6))
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
                counted = Counted(frame.image, frame.index, frame.name, frame.time_s)
                alive.add(counted)
                counts.append(len(alive))
                yield counted

    # Everything fills up behind the slowest, the sinks.
    summary = go(Counting(200, 0.001), SlowEngine(0.001), policy, KeepingSink(0.005))
    assert summary.frames + summary.dropped == 200
    assert 5 <= max(counts) <= most


def test_a_slot_gives_what_came_before_the_end() -> None:
    slot: Slot[int] = Slot(Policy.EVERY)
    assert slot.put(1)
    slot.end(ToolError("first"))
    slot.end(ToolError("second"))
    assert not slot.put(2)
    assert slot.get() == 1
    assert slot.get() is None
    assert str(slot.error) == "first"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_whose_frames_are_finished(number: signal.Signals) -> None:
    sink = KeepingSink()
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    earlier = signal.getsignal(number)
    summary = go(PacedSource(10**9, 0.002), SlowEngine(0.02), Policy.EVERY, sink)
    assert 3 < summary.frames < 30
    assert sink.taken == list(range(summary.frames))
    assert sink.closed
    assert signal.getsignal(number) is earlier


HANGING = """
import time, numpy as np
from edge.engines import open_engine
from edge.frame import Frame
from edge.pipeline import Policy
from edge.run import run

class Hanging:
    time_base, total, skipped = "unix", None, []
    def __iter__(self):
        yield Frame(np.zeros((64, 64, 3), np.uint8), 0, "f", 0.0)
        time.sleep(1000)

summary = run(Hanging(), open_engine("quarter_mrunet"), [], Policy.LATEST,
              lambda _: print("known", flush=True))
print(summary.frames)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_hanging_camera_does_not_keep_the_process(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "known\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "1\n")
    finally:
        process.kill()
