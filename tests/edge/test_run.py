"""Runs whose engine, sink or disk fails."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.engines import open_engine, shipped
from edge.engines.onnx import OnnxEngine
from edge.errors import ToolError
from edge.frame import Frame
from edge.latency import NEWEST, Stopwatch
from edge.pipeline import Policy
from edge.run import run
from edge.sinks import open_sinks
from edge.sinks.records import Records
from edge.sinks.sink import Result
from train.data.synth import Scene


class Frames:
    """The same image `total` times."""

    time_base = "clip"

    def __init__(self, image: NDArray[np.uint8], total: int) -> None:
        self.image, self.total = image, total
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(self.image, i, "f", i / 10) for i in range(self.total))


class FailingSink:
    """Fails at its second result."""

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
            raise ToolError("the engine failed")
        return super().run(tiles)


def nothing(_: Result) -> None:
    pass


def test_a_failing_engine_leaves_whole_records(sand: Scene, tmp_path: Path) -> None:
    sinks = open_sinks(tmp_path / "out", None)
    with pytest.raises(ToolError, match="the engine failed"):
        run(Frames(sand.image, 9), FailingEngine(), sinks, Policy.EVERY, nothing)
    lines = (tmp_path / "out/particles.jsonl").read_text(encoding="utf-8").splitlines()
    # Of the three frames before, one may have been in the engine still.
    assert {json.loads(line)["frame"] for line in lines} in ({0, 1}, {0, 1, 2})
    assert not list(tmp_path.rglob("*.part"))


def test_a_failing_sink_ends_the_run_and_every_sink_is_closed(sand: Scene, tmp_path: Path) -> None:
    failing = FailingSink()
    sinks = [failing, *open_sinks(tmp_path / "out", None)]
    with pytest.raises(OSError, match="No space left"):
        run(Frames(sand.image, 40), open_engine("quarter_mrunet"), sinks, Policy.EVERY, nothing)
    assert failing.closed
    assert failing.taken == [0]
    assert (tmp_path / "out/particles.csv").exists()


def test_frames_may_change_size(sand: Scene) -> None:
    class Changing(Frames):
        def __iter__(self) -> Iterator[Frame]:
            for i, cut in enumerate((0, 33, 0)):
                yield Frame(np.ascontiguousarray(self.image[cut:]), i, "f", 0.0)

    shapes = []
    summary = run(
        Changing(sand.image, 3),
        open_engine("quarter_mrunet"),
        [],
        Policy.EVERY,
        lambda result: shapes.append(result.mask.shape),
    )
    assert shapes == [(160, 200), (127, 200), (160, 200)]
    assert summary.frames == 3


def test_a_full_disk_leaves_whole_lines(
    sand: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes half of the second entry, then nothing."""
    records = Records(tmp_path, None)
    engine = open_engine("quarter_mrunet")
    results: list[Result] = []
    run(Frames(sand.image, 2), engine, [], Policy.EVERY, results.append)
    records.write(results[0])
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

    lines = records._jsonl
    monkeypatch.setattr(lines, "_file", HalfFull(lines._file))
    with pytest.raises(OSError, match="No space left"):
        records.write(results[1])
    records.close()
    assert (tmp_path / "particles.jsonl").read_bytes() == whole


def test_the_stopwatch_tells_medians() -> None:
    clock = Stopwatch()
    for seconds in (0.010, 0.020, 0.300):
        clock.add("engine", seconds)
    assert clock.milliseconds() == {"engine": {"p50": 20.0, "p99": 294.4, "max": 300.0}}


def test_the_stopwatch_forgets_the_oldest() -> None:
    clock = Stopwatch()
    for seconds in [9.0] * NEWEST + [0.5] * NEWEST:
        clock.add("engine", seconds)
    assert clock.milliseconds()["engine"]["max"] == 500.0
