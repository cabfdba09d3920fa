"""Three ways to find the particles of a belt with the same detector: on all of it at once, on the
strip of a belt run, and on every frame with a tracker and a counting line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import edge
from bench.belt.camera import FPS, MARGIN, TURNS, BeltCamera, exposed
from bench.belt.metered import MeteredEngine
from bench.belt.tracking import CountingLine
from edge.belt.frame import BeltFrame
from edge.belt.settings import BeltSettings
from edge.engines.engine import Engine, infer
from edge.frame import Frame
from edge.model import Model
from edge.particles import ParticleFilter
from edge.result import Result
from edge.sources.source import Source
from edge.stage_timer import StageTimer

Places = NDArray[np.float64]
# What is smaller is mostly noise, px.
MIN_DIAMETER_PX = 2.5


@dataclass(frozen=True, eq=False)
class StripRun:
    """A belt run: its `records`, and their `places` (k,2), as (x, y) in the strip, px; the
    `picture` of the strip (H,W,3) uint8 RGB; network `pixels`; and `seconds`."""

    records: list[dict[str, Any]]
    places: Places
    picture: NDArray[np.uint8]
    pixels: int
    seconds: float


@dataclass(frozen=True, eq=False)
class LineRun:
    """Places (k,2), px, of what crossed the counting line, with a tracker as it comes and with one
    that is given the step; network `pixels`; and `seconds` with the first of them."""

    as_it_comes: Places
    padded: Places
    pixels: int
    seconds: float


def on_mosaic(detector: Engine, camera: BeltCamera, seed: int) -> Places:
    """Places (k,2) of what the detector finds on all rows that pass, and some around, at once.

    They are as noisy as the frames, and each is as bright as it was in the first frame in which it
    has passed the scan row. As in a strip, y counts from the row that is there in the first frame.
    """
    condition, around = camera.condition, MARGIN
    begin = MARGIN + condition.scan_row
    end = begin + int(condition.travel()[-1])
    tops = np.array([shot.top for shot in camera.shots])
    gain = np.array([camera.gain[shot.moment] for shot in camera.shots])
    passed = np.arange(-around, end - begin + around) + tops[0]
    seen = np.searchsorted(np.maximum.accumulate(tops), passed).clip(max=len(tops) - 1)
    rows = camera.belt.image[begin - around : end + around, MARGIN:-MARGIN]
    image = exposed(np.random.default_rng(seed), rows, gain[seen, None, None], condition.noise)
    return at_once(detector, image) - (0, around)


def at_once(detector: Engine, image: NDArray[np.uint8]) -> Places:
    """Places (k,2) of what the detector finds on an image (H,W,3) uint8 RGB."""
    with detector.session((image.shape[0], image.shape[1]), 1, StageTimer()) as session:
        result = _result(detector, Frame(image, 0, "mosaic", None), infer(session, image))
    return _places([(particle.x, particle.y) for particle in result.particles])


def on_strip(detector: Engine, frames: Sequence[Frame], eject_px: float) -> StripRun:
    """A belt run over frames in memory."""
    engine = MeteredEngine(detector)
    model = Model(engine, Path(detector.info.model))
    records: list[dict[str, Any]] = []
    parts: list[tuple[int, NDArray[np.uint8]]] = []
    start = time.perf_counter()
    settings = BeltSettings(eject_px=eject_px)
    source = Recording(frames)
    with edge.run(source, model, min_diameter_px=MIN_DIAMETER_PX, belt=settings) as run:
        for result in run:
            records += result.records()
            frame = cast(BeltFrame, result.frame)
            parts.append((frame.first_row, frame.image))
    seconds = time.perf_counter() - start
    places = _places([(record["crossweb_px"], record["downweb_px"]) for record in records])
    return StripRun(records, places, _put_together(parts), engine.pixels, seconds)


def _put_together(parts: Sequence[tuple[int, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """A picture of parts, which have some rows twice; black where rows were in no frame."""
    first, image = parts[-1]
    picture = np.zeros((first + len(image), *image.shape[1:]), np.uint8)
    for first, image in parts:
        picture[first : first + len(image)] = image
    return picture


def on_frames(detector: Engine, camera: BeltCamera, frames: Sequence[Frame]) -> LineRun:
    """Every frame through the detector, then the trackers; places as those of `on_mosaic`."""
    condition, engine = camera.condition, MeteredEngine(detector)
    width = camera.belt.image.shape[1] - 2 * MARGIN
    lines = [
        CountingLine(condition.scan_row, width, FPS, detector.info.threshold, step)
        for step in (None, condition.step_px)
    ]
    crossed: list[list[Places]] = [[], []]
    seconds = 0.0
    with engine.session((condition.height, width), 1, StageTimer()) as session:
        for frame, shot in zip(frames, camera.shots, strict=True):
            upright = np.rot90(frame.image, -TURNS[condition.direction])
            frame = replace(frame, image=np.ascontiguousarray(upright))
            origin = np.array([shot.left, shot.top - condition.scan_row]) - MARGIN
            start = time.perf_counter()
            result = _result(engine, frame, infer(session, frame.image))
            crossed[0].append(lines[0].update(result) + origin)
            seconds += time.perf_counter() - start
            crossed[1].append(lines[1].update(result) + origin)
    as_it_comes, padded = map(np.concatenate, crossed)
    return LineRun(as_it_comes, padded, engine.pixels, seconds)


class Recording(Source):
    """Frames in memory."""

    time_base = "clip"

    def __init__(self, frames: Sequence[Frame]) -> None:
        super().__init__("recorded belt")
        self._frames = frames
        self.expected = len(frames)

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames


def _result(detector: Engine, frame: Frame, probability: NDArray[np.uint8]) -> Result:
    return Result.of(frame, probability, ParticleFilter(detector.info.threshold, MIN_DIAMETER_PX))


def _places(found: Sequence[tuple[float, float]]) -> Places:
    return np.array(found, np.float64).reshape(-1, 2)
