"""End-to-end latency from a simulated camera, and memory over time."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.machine import mb_per_1000_frames, memory_mb
from edge.engines import open_engine
from edge.engines.tiled import ENGINE_STAGE
from edge.errors import EdgeError
from edge.frame import Frame
from edge.particles import ParticleFilter
from edge.pipeline import Pipeline, Policy, Settings
from edge.sinks import open_sinks
from edge.sources.source import Source
from train.data.synth import scene

# Different images, so that no stage sees the same twice in a row.
IMAGES = 16


class PacedSource(Source):
    """`total` frames at `fps`, whether or not the pipeline keeps up, as from a camera."""

    def __init__(self, images: list[NDArray[np.uint8]], fps: float, total: int) -> None:
        super().__init__("simulated camera")
        self._images, self._fps = images, fps
        self.expected = total

    def __iter__(self) -> Iterator[Frame]:
        start = time.perf_counter()
        for index in range(self.expected or 0):
            time.sleep(max(0.0, start + index / self._fps - time.perf_counter()))
            yield Frame(self._images[index % len(self._images)], index, "camera", time.time())


@dataclass(frozen=True)
class LatencyResult:
    """A run under `latest` on `given` frames of `side` x `side` px, at `fps`, all sinks on.

    `end_to_end_ms` is from capturing a frame to knowing its particles, `engine_ms` the time of the
    engine on one frame, both p50, p99 and max over the same run; `p99_in_engine_times` is the p99
    of the first over the p50 of the second. Both include what other programs on the machine cost.
    Memory is the resident set of the process, MB of 10**6 bytes, at the first result and at the
    last; `mb_per_1000_frames` is of `bench.machine`.
    """

    engine: str
    device: str
    side: int
    fps: float
    given: int
    frames: int
    dropped: int
    frames_per_second: float
    engine_ms: dict[str, float]
    end_to_end_ms: dict[str, float]
    p99_in_engine_times: float
    memory_start_mb: float
    memory_end_mb: float
    mb_per_1000_frames: float

    def describe(self) -> str:
        """The result for a terminal."""
        total, engine = self.end_to_end_ms, self.engine_ms
        return "\n".join(
            (
                f"{self.engine} on {self.device}; camera of {self.side}x{self.side}, "
                f"{self.fps:g} FPS",
                f"{self.given} frames given, {self.frames} with a result "
                f"({self.frames_per_second:.1f} FPS), {self.dropped} dropped",
                f"end-to-end latency p50 {total['p50']:.1f}, p99 {total['p99']:.1f}, "
                f"max {total['max']:.1f} ms; "
                f"engine p50 {engine['p50']:.1f}, p99 {engine['p99']:.1f} ms/frame",
                f"p99 end to end is {self.p99_in_engine_times:.2f} times the p50 of the engine",
                f"memory {self.memory_start_mb:.1f} MB at first, {self.memory_end_mb:.1f} MB at "
                f"last: {self.mb_per_1000_frames:+.3f} MB in 1,000 frames",
            )
        )


def measure(engine_name: str, fps: float, frames: int, side: int) -> LatencyResult:
    """Run the pipeline with every sink on `frames` frames of a simulated camera.

    Raises:
        EdgeError: the engine fails, or too few frames came through to tell a slope.
    """
    particles = max(1, side * side // 25_000)
    images = [
        scene(np.random.default_rng(i), side, side, particles=particles).image
        for i in range(IMAGES)
    ]
    memory: list[float] = []

    with (
        contextlib.closing(open_engine(engine_name)) as engine,
        tempfile.TemporaryDirectory() as folder,
    ):
        settings = Settings(ParticleFilter.of(engine.info), Policy.LATEST)
        sinks = open_sinks(Path(folder) / "out")
        with Pipeline(PacedSource(images, fps, frames), engine, settings, sinks) as pipeline:
            for _ in pipeline:
                memory.append(memory_mb("self", "VmRSS"))
        done, device = pipeline.statistics(), engine.device
    if len(memory) < 2:
        raise EdgeError(f"only {len(memory)} frames came through: give more frames or seconds")
    engine_ms = done.latency_ms[ENGINE_STAGE]
    return LatencyResult(
        engine=engine_name,
        device=device,
        side=side,
        fps=fps,
        given=frames,
        frames=done.counts.processed,
        dropped=done.counts.dropped,
        frames_per_second=done.fps,
        engine_ms=engine_ms,
        end_to_end_ms=done.end_to_end_ms,
        p99_in_engine_times=round(done.end_to_end_ms["p99"] / engine_ms["p50"], 3),
        memory_start_mb=round(memory[0], 1),
        memory_end_mb=round(memory[-1], 1),
        mb_per_1000_frames=mb_per_1000_frames(memory),
    )
