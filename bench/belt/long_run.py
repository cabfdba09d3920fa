"""Hours of belt as fast as they can be taken: whether memory stays flat, and the count right."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edge
from bench.belt.belts import marked, rendered
from bench.belt.camera import FPS
from bench.belt.looped import LoopedBelt
from bench.belt.oracle import Oracle
from bench.machine import mb_per_1000_frames, memory_mb
from edge.belt.settings import BeltSettings
from edge.engines import open_engine
from edge.errors import EdgeError
from edge.model import Model

STEP_PX = 40.25
# Of the frames, px; and rows of the belt that goes round, with particles on it.
WIDTH, HEIGHT = 128, 128
LENGTH, PER_MEGAPIXEL = 3000, 100
# Number of times that a result has the memory.
SAMPLES = 100


@dataclass(frozen=True)
class LongRunResult:
    """A belt run of `hours` at `FPS` and `step_px`, in `seconds`, with an oracle as network.

    Attributes:
        rows: of the belt.
        particles, expected: that were counted, and whose centroids passed; one that lies across
            the first or the last row may be counted or not.
        memory_mb: resident set after each hundredth of the run, MB of 10**6 bytes.
        mb_per_hour: of belt, slope of a line through it, the first tenth left out.
    """

    hours: float
    seconds: float
    frames: int
    rows: int
    step_px: float
    particles: int
    expected: int
    memory_mb: list[float]
    mb_per_hour: float

    def describe(self) -> str:
        """The result for a terminal."""
        memory = self.memory_mb
        return (
            f"{self.hours:g} hours of belt in {self.seconds / 60:.1f} min: {self.frames:,} frames "
            f"of {WIDTH}x{HEIGHT} px, {self.rows:,} rows\n"
            f"{self.particles:,} particles counted of {self.expected:,}\n"
            f"memory {memory[0]:.1f} MB after the first hundredth, {memory[-1]:.1f} MB at the end, "
            f"{max(memory):.1f} MB at most: {self.mb_per_hour:+.3f} MB an hour"
        )


def measure(engine_name: str, hours: float, on_progress: Callable[[str], None]) -> LongRunResult:
    """Run it; the oracle's tiles are those of `engine_name`.

    Raises:
        EdgeError: the time is too short to tell a slope.
    """
    frames = round(hours * 3600 * FPS)
    belt = marked(rendered(0, LENGTH, WIDTH, PER_MEGAPIXEL))
    with contextlib.closing(open_engine(engine_name)) as network:
        oracle = Oracle(network.info)
    source = LoopedBelt(belt, HEIGHT, STEP_PX, frames, paced=False)
    memory: list[float] = []
    counted = 0
    start = time.perf_counter()
    with edge.run(source, Model(oracle, Path(oracle.info.model)), belt=BeltSettings()) as run:
        for result in run:
            counted += len(result.particles)
            done = (result.frame.time_s or 0.0) * FPS / frames
            if done * SAMPLES >= len(memory) + 1:
                memory.append(round(memory_mb("self", "VmRSS"), 2))
                if len(memory) % 10 == 0:
                    on_progress(f"{hours * done:.2f} hours, {memory[-1]:.1f} MB")
    if len(memory) < SAMPLES // 2:
        raise EdgeError(f"{hours:g} hours are too few chunks to tell a slope: give more")
    travel = (frames - 1) * STEP_PX
    return LongRunResult(
        hours=hours,
        seconds=round(time.perf_counter() - start, 1),
        frames=frames,
        rows=round(travel),
        step_px=STEP_PX,
        particles=counted,
        expected=_passed(belt.particles[:, 1], HEIGHT // 2, travel),
        memory_mb=memory,
        mb_per_hour=round(mb_per_1000_frames(memory) / 1000 * SAMPLES / hours, 4),
    )


def _passed(places: NDArray[np.float64], scan_row: int, travel: float) -> int:
    """How many of the particles in rows `places` of the belt passed, in all its rounds."""
    first = (places - scan_row) % LENGTH
    return int((np.floor((travel - first) / LENGTH) + 1)[first <= travel].sum())
