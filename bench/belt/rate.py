"""Frames per second that a belt run sustains, and how soon a particle is known."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edge
from bench.belt.belts import rendered, unmarked
from bench.belt.camera import FPS
from bench.belt.looped import LoopedBelt
from bench.belt.metered import MeteredEngine
from bench.tables import table
from edge.belt.settings import BeltSettings
from edge.engines import open_engine
from edge.engines.engine import Engine
from edge.model import Model

STEP_PX = 40.25
# Across the belt and along it, px.
FRAMES_WH = ((1440, 1080), (1080, 1440))
# Rows of the belt that goes round, and particles on it.
LENGTH, PER_MEGAPIXEL = 6000, 40
# Frames before the first that counts: the network's first run is slow.
WARM_UP = 60


@dataclass(frozen=True)
class RateRow:
    """Frames of `across` x `along` px, across the belt and along it.

    Attributes:
        pixels: that the network computes per pixel of belt.
        fps: from a source that gives frames as fast as they are taken.
        paced_fps: from one that gives `FPS`, and waits where they are not taken.
        cpu_ms: of all cores together, of a frame of the first run; what other programs take from
            the machine leaves it as it is.
        latency_ms: p50, p99 and max of the paced run, from the frames between which a particle
            passes the scan row to its record.
        load: average of a minute before and after.
    """

    across: int
    along: int
    pixels: float
    fps: float
    cpu_ms: float
    paced_fps: float
    latency_ms: dict[str, float]
    load: tuple[float, float]


@dataclass(frozen=True)
class RateResult:
    """Of both ways to mount a camera.

    Attributes:
        seconds: that each run took, about.
        step_px: of the belt in a frame.
    """

    engine: str
    device: str
    seconds: float
    step_px: float
    fps_wanted: float
    max_latency_s: float | None
    rows: Sequence[RateRow]

    def describe(self) -> str:
        """A Markdown table."""
        head = (
            *("across x along the belt", "network px per belt px", "FPS", "CPU time a frame, ms"),
            *(f"at {self.fps_wanted:g} FPS", "latency p50, ms", "p99", "max", "load"),
        )
        lines = [
            (
                f"{row.across}x{row.along}",
                f"{row.pixels:.2f}",
                f"{row.fps:.1f}",
                f"{row.cpu_ms:.1f}",
                f"{row.paced_fps:.1f}",
                *(f"{row.latency_ms[key]:.0f}" for key in ("p50", "p99", "max")),
                "-".join(f"{load:.1f}" for load in row.load),
            )
            for row in self.rows
        ]
        return (
            f"{self.engine} on {self.device}; {self.step_px:g} px of belt a frame, "
            f"{self.seconds:g} s a run\n\n{table(head, lines)}"
        )


def measure(
    engine_name: str,
    seconds: float,
    on_progress: Callable[[str], None],
    max_latency_s: float | None = None,
    frames_wh: Sequence[tuple[int, int]] = FRAMES_WH,
    warm_up: int = WARM_UP,
) -> RateResult:
    """A run as fast as it goes and one at the pace of a camera, of each size of frames.

    Raises:
        EdgeError: the engine fails.
    """
    rows = []
    with contextlib.closing(open_engine(engine_name)) as engine:
        for across, along in frames_wh:
            on_progress(f"{across}x{along} px")
            rows.append(_row(engine, across, along, seconds, max_latency_s, warm_up))
        return RateResult(
            engine=engine_name,
            device=engine.device,
            seconds=seconds,
            step_px=STEP_PX,
            fps_wanted=FPS,
            max_latency_s=max_latency_s,
            rows=rows,
        )


def _row(
    engine: Engine,
    across: int,
    along: int,
    seconds: float,
    max_latency_s: float | None,
    warm_up: int,
) -> RateRow:
    load = os.getloadavg()[0]
    belt = unmarked(rendered(0, LENGTH, across, PER_MEGAPIXEL))
    settings = BeltSettings(max_latency_s=max_latency_s)
    frames = warm_up + round(seconds * FPS)
    meter = MeteredEngine(engine)
    fast = LoopedBelt(belt, along, STEP_PX, frames, paced=False)
    start_s = time.process_time()
    fps, _ = _run(fast, meter, settings, warm_up)
    cpu_ms = (time.process_time() - start_s) / frames * 1e3
    pixels = meter.pixels / (frames * STEP_PX * across)
    paced = LoopedBelt(belt, along, STEP_PX, frames, paced=True)
    _, latency_ms = _run(paced, meter, settings, warm_up)
    # Of what the source gave: results of a short run come in bursts.
    paced_fps = (frames - 1) / float(paced.given_s[-1] - paced.given_s[0])
    return RateRow(
        across=across,
        along=along,
        pixels=round(pixels, 3),
        fps=round(fps, 2),
        cpu_ms=round(cpu_ms, 2),
        paced_fps=round(paced_fps, 2),
        latency_ms=latency_ms,
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
    )


def _run(
    source: LoopedBelt, engine: Engine, settings: BeltSettings, warm_up: int
) -> tuple[float, dict[str, float]]:
    """Frames per second, and percentiles of the latency of particles, ms."""
    latency = []
    with edge.run(source, Model(engine, Path(engine.info.model)), belt=settings) as run:
        first: tuple[float, float] | None = None
        for result in run:
            now_s = time.perf_counter()
            at_s = result.frame.time_s or 0.0
            if at_s * FPS < warm_up:
                continue
            first = first or (now_s, at_s)
            last = now_s, at_s
            passed = np.array([record["passed_s"] for record in result.records()]) * FPS
            given_s = np.interp(passed, np.arange(len(source.given_s)), source.given_s)
            latency += (now_s - given_s).tolist()
    assert first
    fps = (last[1] - first[1]) * FPS / (last[0] - first[0])
    found = np.percentile(latency, (50, 99, 100)) * 1e3
    return fps, dict(zip(("p50", "p99", "max"), np.round(found, 1).tolist(), strict=True))
