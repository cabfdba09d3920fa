"""Several sources in one run: fair, in order, and kept apart in everything that is written."""

import csv
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import edge
from edge.cli import edge_run
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame
from edge.particles import ParticleFilter
from edge.pipeline import Pipeline, Policy, Settings
from edge.round_robin import RoundRobin
from edge.sources.several import SeveralSources
from edge.sources.source import Source, State
from tests.edge.test_pipeline import KeepingSink, SlowEngine
from train.data.synth import Scene


class Paced(Source):
    """Frames `period_s` apart until it is closed, or `total` of them; then it may fail."""

    live = True

    def __init__(self, uri: str, period_s: float, total: int | None = None, side: int = 8) -> None:
        super().__init__(uri)
        self.error: EdgeError | None = None
        self._period_s, self._total, self._side = period_s, total, side
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._closed.wait(self._period_s) and index != self._total:
            yield Frame(np.zeros((self._side, self._side, 3), np.uint8), index, self.uri, 0.0)
            index += 1
        if self.error:
            raise self.error

    def close(self) -> None:
        self._closed.set()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def go(
    sources: list[Source], engine: SlowEngine, policy: Policy, frames: int | None = None
) -> tuple[list[tuple[str, int]], KeepingSink, Pipeline]:
    """(source, index) of each result, and what was skipped."""
    sink = KeepingSink()
    settings = Settings(ParticleFilter(0.5), policy, frames=frames)
    with Pipeline(SeveralSources(sources), engine, settings, [sink]) as pipeline:
        found = [(result.frame.source, result.frame.index) for result in pipeline]
    return found, sink, pipeline


def test_a_fast_source_does_not_crowd_out_a_slow_one() -> None:
    sources: list[Source] = [Paced("fast", 0.001), Paced("slow", 0.06), Paced("other", 0.001)]
    found, sink, _ = go(sources, SlowEngine(0.01), Policy.LATEST, frames=2000)
    for name in ("fast", "slow", "other"):
        indices = [index for source, index in found if source == name]
        assert indices == sorted(set(indices))
    dropped = Counter(frame.source for frame in sink.skipped)
    counts = Counter(source for source, _ in found)
    # Whatever the slow one gave was processed, and the fast ones shared what was left.
    assert counts["slow"] > 5
    assert dropped["slow"] <= 1
    assert dropped["fast"] > 100
    assert abs(counts["fast"] - counts["other"]) <= 2


def test_every_loses_none_of_any() -> None:
    sources: list[Source] = [Paced("a", 0, 30), Paced("b", 0.002, 20), Paced("c", 0, 0)]
    found, sink, pipeline = go(sources, SlowEngine(), Policy.EVERY)
    assert [index for source, index in found if source == "a"] == list(range(30))
    assert [index for source, index in found if source == "b"] == list(range(20))
    assert sink.skipped == []
    assert pipeline.counts.captured == pipeline.counts.processed == 50


def test_a_limit_is_of_all_together() -> None:
    sources: list[Source] = [Paced("a", 0), Paced("b", 0)]
    for _ in range(5):
        found, _, pipeline = go(sources, SlowEngine(), Policy.EVERY, frames=7)
        assert len(found) == 7
        assert pipeline.stop_reason == "limit"
        sources = [Paced("a", 0), Paced("b", 0)]


def test_each_size_keeps_its_session() -> None:
    class Engine(SlowEngine):
        def submit(self, image: object) -> None:
            self._in_flight.append(image)  # type: ignore[arg-type]

    engine = Engine()
    sources: list[Source] = [Paced("a", 0, 20), Paced("b", 0, 20, side=16)]
    found, _, _ = go(sources, engine, Policy.EVERY)
    assert len(found) == 40
    assert sorted(engine.opened) == [(8, 8), (16, 16)]


def test_one_that_fails_does_not_end_the_others() -> None:
    failing, other = Paced("failing", 0, 3), Paced("other", 0.005, 40)
    failing.error = EdgeError("failing: is broken")
    sink, settings = KeepingSink(), Settings(ParticleFilter(0.5), Policy.EVERY)
    pipeline = Pipeline(SeveralSources([failing, other]), SlowEngine(), settings, [sink])
    found = []

    def iterate() -> None:
        with pipeline:
            found.extend(result.frame.source for result in pipeline)

    with pytest.raises(EdgeError, match="is broken"):
        iterate()
    assert Counter(found) == {"failing": 3, "other": 40}
    assert pipeline.problems == ["failing failed: failing: is broken"]


def test_a_queue_is_taken_from_in_turn() -> None:
    queues: RoundRobin[str] = RoundRobin(3)
    for letter, queue in zip("abc", queues.queues, strict=True):
        queue.put(letter)
    assert queues.get() == "a"
    queues.queues[0].put("d")
    assert [queues.get() for _ in range(3)] == ["b", "c", "d"]
    assert queues.get(0.01) is None
    queues.queues[1].close(EdgeError("broken"))
    queues.queues[0].put("e")
    queues.close()
    assert [queues.get(), queues.get()] == ["e", None]
    assert str(queues.error) == "broken"


def test_names_are_short_unique_and_fit_into_file_names() -> None:
    uris = ("rtsp://10.0.0.5:554/a b", "photos/", "photos", "/", "x" * 300)
    several = SeveralSources([Paced(uri, 0) for uri in uris])
    names = list(several.parts())
    assert names == ["rtsp_10.0.0.5_554_a_b", "photos", "photos_2", "source", "x" * 60]
    assert [status.name for status in several.statuses()] == names
    assert several.statuses()[0].state is State.LIVE


def test_a_run_keeps_sources_apart(photo: Path, sand: Scene, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    result = CliRunner().invoke(
        edge_run,
        ["--source", str(tmp_path / "a"), "--source", str(tmp_path / "b"), "--out", str(out),
         "--engine", "quarter_mrunet"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = read(out / "frames.csv")
    assert len(rows) == 4
    names = {Path(row["file"]).parent.name: row["source"] for row in rows}
    assert names["a"] != names["b"]
    assert {(row["source"], row["frame"]) for row in rows} == {
        (name, str(index)) for name in names.values() for index in range(2)
    }
    for row in read(out / "particles.csv"):
        assert row["source"] == names[Path(row["file"]).parent.name]
    ids = [row["id"] for row in read(out / "particles.csv")]
    assert len(ids) == len(set(ids)) > 4
    assert len(list((out / "overlays").iterdir())) == len(list((out / "masks").iterdir())) == 4
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames_expected"] == summary["frames_processed"] == 4
    assert [source["name"] for source in summary["sources"]] == [names["a"], names["b"]]
    assert [source["uri"] for source in summary["sources"]] == [
        str(tmp_path / "a"), str(tmp_path / "b"),
    ]  # fmt: skip


def test_a_source_that_fails_is_said_and_costs_the_exit_code(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    out = tmp_path / "out"
    result = CliRunner().invoke(
        edge_run,
        ["--source", str(tmp_path / "bad.png"), "--source", str(photo), "--out", str(out),
         "--engine", "quarter_mrunet"],
    )  # fmt: skip
    assert result.exit_code == 1
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["frames_processed"]) == ("failed", 1)
    assert "not a readable image" in summary["reason"]
    assert len(summary["problems"]) == 1


def test_a_run_from_python(photo: Path) -> None:
    with edge.run([photo, str(photo)], "quarter_mrunet") as run:
        found = [(result.frame.source, result.records()[0]["source"]) for result in run]
    assert len({name for name, _ in found}) == 2
    assert all(name == source for name, source in found)
    with edge.run([photo], "quarter_mrunet") as run:
        assert [result.frame.source for result in run] == [""]
    live = Paced("camera", 0)
    with pytest.raises(BadArgumentError, match="choose a policy"):
        edge.run([photo, live], "quarter_mrunet")
    assert live._closed.is_set()
    with pytest.raises(BadArgumentError, match="there is no source"):
        edge.run([], "quarter_mrunet")
