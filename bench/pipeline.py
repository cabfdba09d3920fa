"""Overhead of edge-run over the engine alone."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.machine import memory_mb
from edge import stage_timer, tiling
from edge.engines import open_engine
from edge.engines.engine import Engine, infer
from edge.engines.tiled import ENGINE_STAGE
from edge.errors import EdgeError
from edge.particles import ParticleFilter
from edge.pipeline import Pipeline, Policy, Settings, Statistics
from edge.sinks import open_sinks
from edge.sources.images import ImageSource, image_files, read_image
from edge.stage_timer import StageTimer
from train.data.synth import scene


@dataclass(frozen=True)
class PipelineResult:
    """`frames` JPEG frames of `side` x `side` px, twice: here, and in an edge-run of its own.

    Here: `alone_ms` is the median time of the engine on the tiles of a frame with nothing beside
    it, over the same frames once before and once after the run; `latency_ms`, `end_to_end_ms` and
    `frames_per_second` are of the run, as edge-run reports them; `efficiency` is what of the
    engine's own rate is left, 1 when the other stages cost nothing.

    The frame was cut into `tiles`, `megapixels` for the network; the paper's grid
    (`edge.tiling.paper_grid`) would be `paper_tiles` and `paper_megapixels`.

    From outside: `peak_memory_mb` of the process in MB of 10**6 bytes, `first_mask_s` from
    starting it to its first mask on disk.
    """

    engine: str
    device: str
    frames: int
    side: int
    latency_ms: dict[str, dict[str, float]]
    end_to_end_ms: dict[str, float]
    frames_per_second: float
    alone_ms: float
    efficiency: float
    tiles: int
    megapixels: float
    paper_tiles: int
    paper_megapixels: float
    peak_memory_mb: float
    first_mask_s: float

    def describe(self) -> str:
        """The result for a terminal."""
        lines = [
            f"{self.engine} on {self.device}; {self.frames} frames of {self.side}x{self.side}",
            stage_timer.format_latency({**self.latency_ms, "end to end": self.end_to_end_ms}),
            f"{self.frames_per_second:.3f} FPS, the engine alone "
            f"{1e3 / self.alone_ms:.3f} ({self.alone_ms:.1f} ms): "
            f"efficiency {self.efficiency:.3f}",
            f"{self.tiles} tiles of {self.megapixels:.2f} megapixels in all, the paper's grid "
            f"{self.paper_tiles} of {self.paper_megapixels:.2f}: "
            f"{self.paper_megapixels / self.megapixels:.2f} times as many",
            f"peak memory {self.peak_memory_mb:.0f} MB; "
            f"first mask after {self.first_mask_s:.2f} s, "
            f"{self.first_mask_s - self.alone_ms / 1e3:.2f} s of it besides the engine",
        ]
        return "\n".join(lines)


def measure(engine_name: str, frames: int, side: int = 1440) -> PipelineResult:
    """Run the pipeline over `frames` synthetic JPEG photos, with every sink.

    Raises:
        EdgeError: edge-run or the engine fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "out"
        photos.mkdir()
        for index in range(frames):
            image = scene(np.random.default_rng(index), side, side, particles=80).image
            path = str(photos / f"{index:03d}.jpg")
            cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        command = ["--source", str(photos), "--engine", engine_name, "--out", str(out)]
        first_mask_s, peak_memory_mb = _watched(command, out / "masks")
        with contextlib.closing(open_engine(engine_name)) as engine:
            device = engine.device
            done, alone_s = _beside_alone(engine, photos, (side, side), Path(folder) / "here")
            layout = engine.tile_grid((side, side))
            grid = tiling.paper_grid((side, side), engine.info.multiple)
    return PipelineResult(
        engine=engine_name,
        device=device,
        frames=frames,
        side=side,
        latency_ms=done.latency_ms,
        end_to_end_ms=done.end_to_end_ms,
        frames_per_second=done.fps,
        alone_ms=round(alone_s * 1e3, 3),
        efficiency=round(done.fps * alone_s, 4),
        tiles=layout.count,
        megapixels=round(layout.pixels / 1e6, 3),
        paper_tiles=grid.count,
        paper_megapixels=round(grid.pixels / 1e6, 3),
        peak_memory_mb=peak_memory_mb,
        first_mask_s=first_mask_s,
    )


def _beside_alone(
    engine: Engine, photos: Path, frame_hw: tuple[int, int], out: Path
) -> tuple[Statistics, float]:
    """A run over `photos` into `out`, and the median time of the engine alone on a frame, s."""
    paths = image_files(photos)
    alone = StageTimer()

    def engine_alone() -> None:
        with engine.session(frame_hw, 1, alone) as session:
            for path in paths:
                infer(session, read_image(path))

    engine_alone()
    settings = Settings(ParticleFilter.of(engine.info), Policy.EVERY)
    source = ImageSource.from_folder(str(photos))
    with Pipeline(source, engine, settings, open_sinks(out)) as pipeline:
        for _ in pipeline:
            pass
    engine_alone()
    return pipeline.statistics(), alone.milliseconds()[ENGINE_STAGE]["p50"] / 1e3


def _watched(arguments: list[str], masks: Path) -> tuple[float, float]:
    """Run edge-run; seconds to its first mask, and its peak memory in MB."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", *arguments], stdout=subprocess.DEVNULL, stderr=errors
        )
        first_mask_s = peak_memory_mb = 0.0
        while process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                peak_memory_mb = memory_mb(process.pid, "VmHWM")
            if not first_mask_s and any(masks.glob("*.png")):
                first_mask_s = time.perf_counter() - start
            time.sleep(0.005)
        if process.returncode:
            errors.seek(0)
            message = errors.read().decode(errors="replace").strip()
            raise EdgeError(f"edge-run failed: {message}")
    return first_mask_s, peak_memory_mb
