"""Runs over a belt: what comes out is what is on it, once."""

import contextlib
import csv
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import edge
from edge.belt.direction import Direction
from edge.belt.frame import BeltFrame
from edge.belt.registration import Position
from edge.belt.result import BELT_COLUMNS, BeltResult
from edge.belt.source import BeltSource as ChunkSource
from edge.belt.strip import Strip
from edge.cli import edge_run
from edge.frame import Frame, SkippedFrame
from edge.model import Model
from edge.runner import Run
from edge.sinks import open_sinks
from edge.sources.source import Source
from tests.edge.belts import MARGIN, BeltSource, Image, noisy
from train.data.synth import scene

SIZE = 160, 120
SCAN_ROW = SIZE[0] // 2
PLACES = np.arange(0, 500, 17.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return edge.load_model("quarter_mrunet")


@pytest.fixture(scope="module")
def belt() -> Image:
    return scene(np.random.default_rng(31), 900, SIZE[1] + 2 * MARGIN, particles=60).image


def passed(belt: Image, last: float) -> Image:
    """The part of the belt that has passed the scan row."""
    rows = slice(SCAN_ROW, SCAN_ROW + int(last) + 1)
    return belt[rows, MARGIN : MARGIN + SIZE[1]]


def found(results: Run | list[BeltResult]) -> list[tuple[float, float, int]]:
    rows = [row for result in results for row in result.records()]
    return sorted((row["downweb_px"], row["crossweb_px"], row["area_px"]) for row in rows)


def whole(model: Model, image: Image) -> list[tuple[float, float, int]]:
    return sorted((particle.y, particle.x, particle.area_px) for particle in model(image).particles)


@pytest.mark.parametrize("direction", Direction)
def test_a_run_finds_what_is_on_the_whole_belt(
    belt: Image, model: Model, direction: Direction
) -> None:
    source = BeltSource(belt, PLACES, SIZE, direction=direction)
    run = edge.run(source, model, belt=edge.BeltSettings(chunk_rows=96))
    # Whole pixels: the strip is the belt but for what the first frames' skew does.
    assert np.allclose(found(run), whole(model, passed(belt, PLACES[-1])), atol=1.5)
    report = run.report()
    assert (report.ended, report.policy, report.problems) == ("complete", "every", [])


def test_frames_of_any_speed_give_one_strip(belt: Image, model: Model) -> None:
    """Sub-pixel steps, noise, a stop, a reversal, drops: every row comes once, in order."""
    rng = np.random.default_rng(4)
    steps = np.concatenate([np.full(20, 7.3), np.zeros(4), np.full(6, 61.7), np.full(3, -20.4),
                            np.full(3, 110.2), np.full(4, 2.6)])  # fmt: skip
    places = np.concatenate([[0.0], np.cumsum(steps)])
    source = BeltSource(belt, places, SIZE, change=lambda image, _: noisy(image, 2, rng))
    results: list[Any] = list(edge.run(source, model, belt=edge.BeltSettings(chunk_rows=80)))
    last = results[-1].frame
    strip = np.zeros((last.valid[1], SIZE[1], 3), np.uint8)
    for result in results:
        strip[result.frame.first_row : result.frame.valid[1]] = result.frame.image
    assert len(strip) == pytest.approx(places.max() + 1, abs=1.1)
    difference = np.abs(strip.astype(float) - passed(belt, len(strip) - 1))
    assert difference.mean() < 2.5  # noise of 2 is 1.6
    assert found(results) == whole(model, strip)


def test_records_tell_when_and_where(belt: Image, model: Model) -> None:
    settings = edge.BeltSettings(eject_px=300, chunk_rows=96)
    run = edge.run(BeltSource(belt, PLACES, SIZE, fps=10), model, belt=settings)
    rows = [row for result in run for row in result.records(0.5)]
    assert rows
    assert set(BELT_COLUMNS) <= set(rows[0])
    for row in rows:
        assert row["registration"] == "measured"
        # A row passes when the belt's position is its number: 17 px in each tenth of a second.
        passed_s = row["downweb_px"] / 170
        assert row["passed_s"] == pytest.approx(passed_s, abs=0.005)
        assert row["speed_px_s"] == pytest.approx(170, abs=2)
        assert row["eject_s"] == pytest.approx(passed_s + 300 / 170, abs=row["eject_error_s"])
        assert 0 < row["eject_error_s"] < 0.1
        assert row["eject_crossweb_px"] == pytest.approx(
            row["crossweb_px"], abs=row["eject_error_px"]
        )
        assert row["y_mm"] == pytest.approx(row["downweb_px"] / 2, abs=0.01)
        assert row["x_mm"] == pytest.approx(row["crossweb_px"] / 2, abs=0.01)


def test_without_times_nothing_is_foretold(belt: Image, model: Model) -> None:
    settings = edge.BeltSettings(eject_px=300)
    run = edge.run(BeltSource(belt, PLACES, SIZE, fps=None), model, belt=settings)
    rows = [row for result in run for row in result.records()]
    assert {row["passed_s"] for row in rows} == {row["eject_s"] for row in rows} == {None}


def chunks(model: Model, source: Source, settings: edge.BeltSettings) -> list[BeltFrame]:
    frames = list(ChunkSource(source, model.engine, settings))
    assert all(isinstance(frame, BeltFrame) for frame in frames)
    return frames  # type: ignore[return-value]


def test_a_slow_belt_is_not_kept_waiting(belt: Image, model: Model) -> None:
    places = np.arange(120) * 1.5
    patient = chunks(model, BeltSource(belt, places, SIZE), edge.BeltSettings())
    hurried = chunks(model, BeltSource(belt, places, SIZE), edge.BeltSettings(max_latency_s=0.5))
    assert len(patient) == 1
    assert len(hurried) > 6
    valid = [row for frame in hurried for row in range(*frame.valid)]
    assert valid == list(range(*patient[0].valid))
    for frame in hurried[:-1]:
        halo = frame.first_row + len(frame.image) - frame.valid[1]
        at = frame.valid[0] - frame.first_row + halo
        assert frame.time_s is not None
        assert frame.time_s - frame.passed_s[at] < 0.5 + 0.1


def test_a_belt_that_stands_still_computes_nothing(belt: Image, model: Model) -> None:
    source = BeltSource(belt, np.zeros(30), SIZE)
    run = edge.run(source, model, belt=edge.BeltSettings(max_latency_s=0.1))
    assert list(run) == []
    assert run.report().problems == ["belt: the belt was not seen to move in 30 frames"]


class Interrupted(BeltSource):
    """A belt source whose camera is away for a while, and then fails to decode a frame."""

    def __iter__(self) -> Iterator[Any]:
        for frame in super().__iter__():
            if frame.index == 20:
                yield SkippedFrame(20, "belt", None, "failed", "could not be decoded")
            elif not 10 <= frame.index < 20:
                yield frame


def test_rows_that_no_frame_shows_are_told(belt: Image, model: Model) -> None:
    places = np.concatenate([np.arange(10) * 17.0, 10 * 17 + np.arange(1, 40) * 17.0])
    run = edge.run(Interrupted(belt, places[:40], SIZE), model, belt=edge.BeltSettings())
    results: list[Any] = list(run)
    spans = [(result.frame.first_row, result.frame.valid[1]) for result in results]
    # Rows down to the lower edge of the last frame before, and from the upper edge of the next.
    assert spans[0][1] == pytest.approx(9 * 17 + 80, abs=3)
    assert spans[1][0] == pytest.approx(21 * 17 - 80, abs=3)
    report = run.report()
    assert report.frames_failed == 1
    lost = spans[1][0] - spans[0][1]
    assert f"belt: {lost} rows of the belt were in no frame" in report.problems


@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_a_strip_takes_each_row_once(offset: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 8, 3), np.uint8)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8)
    strip = Strip(scan_row=10)
    rows: list[Image] = []
    for place in (0.0, 3.0, 3.0, 2.0, 7.0 + offset, 20.0 + offset):
        low = int(place)
        transform = np.array([[1, 0, 0], [0, 1, place - low]], float)
        seen = cv2.warpAffine(picture[low:], transform, (8, 30),
                              flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)  # fmt: skip
        for part in strip.add(np.asarray(seen, np.uint8), Position(place, 0.0, 0.0, True, 99.0)):
            assert part.first == sum(map(len, rows))
            rows.append(part.pixels)
    taken = np.concatenate(rows)
    assert len(taken) == 21
    assert np.abs(taken.astype(int) - picture[10:31]).max() <= (4 if offset else 0)


def test_arguments_that_do_not_go_with_a_belt(belt: Image, model: Model) -> None:
    source = BeltSource(belt, PLACES, SIZE)
    with pytest.raises(edge.BadArgumentError, match="needs every frame"):
        edge.run(source, model, belt=edge.BeltSettings(), every=2)
    with pytest.raises(edge.BadArgumentError, match="give one source"):
        edge.run([source, source], model, belt=edge.BeltSettings())
    with pytest.raises(edge.BadArgumentError, match="a maximum latency of 0 is not above 0"):
        edge.BeltSettings(max_latency_s=0)
    with pytest.raises(edge.EdgeError, match="scan row 160 is not in frames of 120x160 px"):
        list(edge.run(source, model, belt=edge.BeltSettings(scan_row=160)))


def test_sinks_hold_the_columns_of_a_belt(belt: Image, model: Model, tmp_path: Path) -> None:
    sinks = [*open_sinks(tmp_path / "out", 0.05, belt=True),
             edge.open_sink(f"sqlite:{tmp_path}/belt.db", 0.05),
             edge.open_sink("prometheus://:0", 0.05)]  # fmt: skip
    settings = edge.BeltSettings(chunk_rows=96, eject_px=300, segment_px=200)
    run = edge.run(BeltSource(belt, PLACES, SIZE), model, belt=settings, sinks=sinks)
    count = 0
    for result in run:
        count += len(result.particles)
        page = urlopen(f"http://127.0.0.1:{sinks[-1].port}/metrics").read().decode()
    header, *rows = (tmp_path / "out/particles.csv").read_text().splitlines()
    assert header.endswith(",".join(BELT_COLUMNS))
    assert len(rows) == count > 0
    with (tmp_path / "out/segments.csv").open() as file:
        segments = list(csv.DictReader(file))
    assert [row["end_px"] for row in segments[:-1]] == ["200", "400"]
    assert sum(int(row["particles"]) for row in segments) == count
    assert float(segments[0]["particles_per_m"]) == int(segments[0]["particles"]) / 0.01
    with contextlib.closing(sqlite3.connect(tmp_path / "belt.db")) as database:
        stored = database.execute(
            "SELECT sum(particles), max(end_px), max(width_mm) FROM segments"
        ).fetchone()
        told = database.execute("SELECT count(passed_s), count(eject_s) FROM particles").fetchone()
    assert stored == (count, int(segments[-1]["end_px"]), SIZE[1] * 0.05)
    assert told == (count, count)
    speed = re.search(r"^edge_belt_speed_pixels_per_second (.+)$", page, re.MULTILINE)
    assert speed
    assert float(speed[1]) == pytest.approx(17 * 25, rel=0.01)


def test_only_a_belt_has_segments(photos: Path, tmp_path: Path) -> None:
    words = ["--source", str(photos), "--engine", "quarter_mrunet", "--sink",
             f"segments:{tmp_path}/s.csv"]  # fmt: skip
    done = CliRunner().invoke(edge_run, words)
    assert done.exit_code == 2
    assert "s.csv: only a belt has segments; give --belt" in done.output
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def photos(belt: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of lossless photos of the moving belt."""
    folder = tmp_path_factory.mktemp("belt")
    for frame in BeltSource(belt, PLACES[:12] * 2, SIZE, direction=Direction.LEFT):
        image = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), image)
    return folder


def test_edge_run_belt(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--source", str(photos), "--engine", "quarter_mrunet", "--belt", "--out", str(out),
             "--encoder-step", "0.01",
             "--mm-per-pixel", "0.05", "--eject-line", "20", "--belt-direction", "left",
             "--belt-speed", "40", "--max-latency", "2", "--scan-row", "70"]  # fmt: skip
    done = CliRunner().invoke(edge_run, words)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (out / "particles.jsonl").read_text().splitlines()]
    assert rows
    assert {row["registration"] for row in rows} == {"measured"}
    assert json.loads((out / "summary.json").read_text())["particles"] == len(rows)
    assert "particles_per_m2" in (out / "segments.csv").read_text()

    words = ["report", str(out), "--out", str(tmp_path / "report"), "--no-xlsx"]
    done = CliRunner().invoke(edge_run, words)
    assert done.exit_code == 0, done.output
    with (tmp_path / "report/repeats.csv").open(encoding="utf-8-sig") as file:
        (repeat,) = csv.DictReader(file)  # a belt is one repeat, whatever its chunks
    with (out / "segments.csv").open() as file:
        area_px = sum((int(s["end_px"]) - int(s["begin_px"])) * int(s["width_px"])
                      for s in csv.DictReader(file))  # fmt: skip
    assert int(repeat["particles"]) == len(rows)
    assert float(repeat["area_cm2"]) == pytest.approx(area_px * 0.05**2 / 100, rel=1e-3)
    assert "by position on the belt" in (tmp_path / "report/report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scan-row", "5"], "need --belt"),
        (["--belt", "--every", "2"], "leave out --every"),
        (["--belt", "--eject-line", "3"], "--eject-line is in mm and needs --mm-per-pixel"),
        (["--belt", "--belt-speed", "3"], "--belt-speed is in mm and needs --mm-per-pixel"),
        (["--belt", "--encoder", "EncoderValue"], "is no camera whose"),
        (["--belt", "--camera", "7"], "--belt is of one camera"),
    ],
)
def test_options_that_do_not_go_together(photos: Path, words: list[str], message: str) -> None:
    done = CliRunner().invoke(edge_run, ["--source", str(photos), *words])
    assert done.exit_code == 2
    assert message in done.output


def test_a_frame_of_a_belt_is_a_frame(belt: Image, model: Model) -> None:
    first = chunks(model, BeltSource(belt, PLACES, SIZE), edge.BeltSettings())[0]
    assert isinstance(first, Frame)
    assert replace(first, source="left").stem == "000000_left_belt"
