"""A run from Python: results, sinks, how it ends and what it says of itself."""

import contextlib
import errno
import gc
import json
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge
from edge.engines import shipped
from edge.engines.onnx import OnnxEngine
from edge.engines.tiled import TiledSession
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame
from edge.model import Model
from edge.particles import ParticleFilter
from edge.result import Result
from edge.sinks import open_sinks
from edge.sinks.records import JsonLinesSink
from edge.sinks.sink import Sink
from edge.sources.source import Source
from edge.stage_timer import NEWEST, StageTimer
from train.data.synth import Scene


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with edge.load_model("quarter_mrunet") as model:
        yield model


class Frames(Source):
    """The same image `total` times."""

    time_base = "clip"

    def __init__(self, image: NDArray[np.uint8], total: int) -> None:
        super().__init__("frames")
        self.image, self.expected = image, total
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(self.image, i, "f", i / 10) for i in range(self.expected or 0))

    def close(self) -> None:
        self.closed = True


class FailingSink(Sink):
    """Fails at its second result."""

    name = "failing"

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.closed = False

    def write(self, result: Result) -> None:
        if self.taken:
            raise OSError(errno.ENOSPC, "No space left on device", "results")
        self.taken.append(result.frame.index)

    def close(self) -> None:
        self.closed = True


class FailingEngine(OnnxEngine):
    """A shipped engine, until its fourth frame."""

    def __init__(self) -> None:
        super().__init__(shipped()["quarter_mrunet"])
        self._runs = 0

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._runs += 1
        if self._runs == 4:
            raise EdgeError("the engine failed")
        return super().run(tiles)


def test_a_failing_engine_leaves_whole_records(sand: Scene, tmp_path: Path) -> None:
    failing = Model(FailingEngine(), shipped()["quarter_mrunet"])
    run = edge.run(Frames(sand.image, 9), failing, sinks=open_sinks(tmp_path / "out"))
    with pytest.raises(EdgeError, match="f: the engine failed"):
        list(run)
    lines = (tmp_path / "out/particles.jsonl").read_text(encoding="utf-8").splitlines()
    # Of the three frames before, one may have been in the engine still.
    assert {json.loads(line)["frame"] for line in lines} in ({0, 1}, {0, 1, 2})
    assert not list(tmp_path.rglob("*.part"))
    report = run.report()
    assert (report.ended, report.reason) == ("failed", "f: the engine failed")
    assert (report.frames_expected, report.frames_processed) in ((9, 2), (9, 3))


def test_a_failing_sink_ends_the_run_and_every_sink_is_closed(
    sand: Scene, tmp_path: Path, model: Model
) -> None:
    failing, source = FailingSink(), Frames(sand.image, 40)
    run = edge.run(source, model, sinks=[failing, *open_sinks(tmp_path / "out")])
    with pytest.raises(OSError, match="No space left"):
        list(run)
    assert failing.closed
    assert source.closed
    assert failing.taken == [0]
    assert (tmp_path / "out/particles.csv").exists()
    assert run.report().reason == "results: No space left on device"


def test_a_sink_that_cannot_be_closed_leaves_the_others_whole(
    sand: Scene, tmp_path: Path, model: Model
) -> None:
    class Unclosable(FailingSink):
        def close(self) -> None:
            raise RuntimeError("a defect")

    run = edge.run(
        Frames(sand.image, 1), model, sinks=[Unclosable(), *open_sinks(tmp_path / "out")]
    )
    with pytest.raises(RuntimeError, match="a defect"):
        list(run)
    assert (tmp_path / "out/particles.csv").exists()


def test_a_session_that_was_closed_is_not_used_again(sand: Scene) -> None:
    class Opened(OnnxEngine):
        """Notes which sessions are open, and takes no wide frames."""

        def __init__(self) -> None:
            super().__init__(shipped()["quarter_mrunet"])
            self.opened = 0

        @contextlib.contextmanager
        def session(
            self, frame_hw: tuple[int, int], max_in_flight: int, timer: StageTimer
        ) -> Iterator[TiledSession]:
            if frame_hw[1] > 200:
                raise EdgeError("too wide")
            self.opened += 1
            with super().session(frame_hw, max_in_flight, timer) as session:
                yield session

    engine = Opened()
    with Model(engine, shipped()["quarter_mrunet"]) as model:
        model(sand.image)
        with pytest.raises(EdgeError, match="too wide"):
            model(np.zeros((160, 208, 3), np.uint8))
        model(sand.image)
        assert engine.opened == 2


def test_frames_may_change_size(sand: Scene, model: Model) -> None:
    class Changing(Frames):
        def __iter__(self) -> Iterator[Frame]:
            for i, cut in enumerate((0, 33, 0)):
                yield Frame(np.ascontiguousarray(self.image[cut:]), i, "f", 0.0)

    run = edge.run(Changing(sand.image, 3), model)
    assert [result.mask.shape for result in run] == [(160, 200), (127, 200), (160, 200)]
    report = run.report()
    assert (report.ended, report.reason, report.frames_processed) == ("complete", None, 3)


def test_a_dropped_run_ends(sand: Scene, tmp_path: Path, model: Model) -> None:
    before = threading.active_count()
    source = Frames(sand.image, 10**9)
    sinks = open_sinks(tmp_path / "out", masks=False, overlays=False)
    for result in edge.run(source, model, sinks=sinks):
        assert result.frame.index == 0
        break
    gc.collect()
    assert source.closed
    assert threading.active_count() == before
    assert not list(tmp_path.rglob("*.part"))
    # Nor does one that nobody iterated over keep anything.
    unused = Frames(sand.image, 10**9)
    edge.run(unused, model)
    gc.collect()
    assert unused.closed


def test_a_run_works_in_any_thread_and_can_be_stopped(sand: Scene, model: Model) -> None:
    run = edge.run(Frames(sand.image, 10**9), model)
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.extend(run))
    thread.start()
    while not run.statistics().counts.processed:
        pass
    run.particle_filter = ParticleFilter(1.0, min_diameter_px=50)
    run.stop("enough")
    thread.join(20)
    assert not thread.is_alive()
    report = run.report()
    assert (report.ended, report.reason) == ("interrupted", "enough")
    assert report.frames_processed == len(found)
    assert report.min_diameter_px == 50
    assert [result.frame.index for result in found] == list(range(len(found)))


def test_stages_change_results(sand: Scene, model: Model) -> None:
    def twice(result: Result) -> list[Result]:
        return [result, result]

    def odd(result: Result) -> list[Result]:
        return [result] if result.frame.index % 2 else []

    run = edge.run(Frames(sand.image, 4), model, stages=[twice, odd])
    assert [result.frame.index for result in run] == [1, 1, 3, 3]
    assert run.report().frames_processed == 4


def test_bad_limits_are_refused(sand: Scene, model: Model) -> None:
    for limits, words in (
        ({"threshold": 0.0}, "threshold of 0.0 is not above 0"),
        ({"threshold": float("nan")}, "threshold of nan is not"),
        ({"min_diameter_px": 5.0, "max_diameter_px": 2.0}, "from 5.0 to 2.0 px"),
        ({"min_diameter_px": float("nan")}, "from nan to inf px"),
    ):
        with pytest.raises(BadArgumentError, match=words):
            edge.run(Frames(sand.image, 1), model, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"frames": 0}, "frames=0: must be 1 or more"),
        ({"every": 0}, "every=0: must be 1 or more"),
        ({"seconds": float("nan")}, "seconds=nan: must be above 0"),
    ],
)
def test_a_run_without_frames_is_refused(
    limit: dict[str, Any], words: str, sand: Scene, model: Model
) -> None:
    source = Frames(sand.image, 1)
    with pytest.raises(BadArgumentError, match=words):
        edge.run(source, model, **limit)
    assert source.closed


def test_a_full_disk_leaves_whole_lines(
    sand: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    """The disk takes half of the second entry, then nothing."""
    sink = JsonLinesSink(tmp_path / "particles.jsonl")
    results = list(edge.run(Frames(sand.image, 2), model))
    sink.write(results[0])
    whole = (tmp_path / "particles.jsonl.part").read_bytes()

    class HalfFull:
        def __init__(self, file) -> None:  # type: ignore[no-untyped-def]
            self._file, self._room = file, 50
            self.name = file.name

        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return getattr(self._file, name)

        def write(self, data: memoryview) -> int:
            if not self._room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written: int = self._file.write(data[: self._room])
            self._room = 0
            return written

    lines = sink._file
    monkeypatch.setattr(lines, "_file", HalfFull(lines._file))
    with pytest.raises(OSError, match="No space left") as raised:
        sink.write(results[1])
    assert raised.value.filename == str(tmp_path / "particles.jsonl")
    sink.close()
    assert (tmp_path / "particles.jsonl").read_bytes() == whole


def test_the_stage_timer_tells_medians() -> None:
    timer = StageTimer()
    for seconds in (0.010, 0.020, 0.300):
        timer.add("engine", seconds)
    assert timer.milliseconds() == {"engine": {"p50": 20.0, "p99": 294.4, "max": 300.0}}


def test_asking_for_percentiles_takes_little_memory() -> None:
    # Whoever asks does so in a thread of its own, and malloc keeps for each what it once took.
    timer = StageTimer()
    for stage in range(20):
        for i in range(2000):
            timer.add(f"stage {stage}", i / 1000)
    found = timer.milliseconds()
    assert found["stage 19"] == {"p50": 999.5, "p99": 1979.01, "max": 1999.0}
    tracemalloc.start()
    timer.milliseconds()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A copy of one stage is 16 kB, of all 320 kB.
    assert peak < 100_000


def test_the_stage_timer_forgets_the_oldest() -> None:
    timer = StageTimer()
    for seconds in [9.0] * NEWEST + [0.5] * NEWEST:
        timer.add("engine", seconds)
    assert timer.milliseconds()["engine"]["max"] == 500.0
