"""What a run of edge-run costs besides the engine, measured from outside as a user would."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.machine import memory_mb
from edge import latency
from edge.errors import ToolError
from edge.run import ENGINE_STAGE
from edge.writer import WRITE_STAGE
from train.data.synth import scene


@dataclass(frozen=True)
class PipelineResult:
    """One measured run of `frames` JPEG frames of `side` x `side` px.

    `latency_ms` is per stage as edge-run reports it, `peak_memory_mb` of the whole process in MB of
    10**6 bytes, `first_mask_s` from starting the process to its first mask on disk.
    """

    engine: str
    device: str
    frames: int
    side: int
    latency_ms: dict[str, dict[str, float]]
    peak_memory_mb: float
    first_mask_s: float

    @property
    def cut_and_stitch_ms(self) -> float:
        """Medians of cutting and stitching, added."""
        return self.latency_ms["cut"]["p50"] + self.latency_ms["stitch"]["p50"]

    @property
    def engine_ms(self) -> float:
        """Median of the engine."""
        return self.latency_ms[ENGINE_STAGE]["p50"]

    @property
    def besides_engine_ms(self) -> float:
        """What a frame waits for besides the engine: medians of the other stages, added.

        Not of writing, which goes on while the engine computes the next frame.
        """
        beside = {ENGINE_STAGE, WRITE_STAGE}
        return sum(ms["p50"] for stage, ms in self.latency_ms.items() if stage not in beside)

    def as_text(self) -> str:
        """The result for a terminal."""
        lines = [
            f"{self.engine} on {self.device}; {self.frames} frames of {self.side}x{self.side}",
            latency.as_text(self.latency_ms),
            f"{'cut + stitch':<20}{self.cut_and_stitch_ms:>10.2f}",
            f"{'besides the engine':<20}{self.besides_engine_ms:>10.2f}",
            f"peak memory {self.peak_memory_mb:.0f} MB; "
            f"first mask after {self.first_mask_s:.2f} s, "
            f"{self.first_mask_s - self.engine_ms / 1e3:.2f} s of it besides the engine",
        ]
        return "\n".join(lines)


def measure(engine: str, frames: int, side: int = 1440) -> PipelineResult:
    """Run edge-run in a process of its own over `frames` synthetic JPEG photos.

    Raises:
        ToolError: edge-run fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "out"
        photos.mkdir()
        for index in range(frames):
            image = scene(np.random.default_rng(index), side, side, particles=80).image
            path = str(photos / f"{index:03d}.jpg")
            cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        command = ["--source", str(photos), "--engine", engine, "--out", str(out)]
        first_mask_s, peak_memory_mb = _watched(command, out / "masks")
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return PipelineResult(
        engine=engine,
        device=summary["device"],
        frames=frames,
        side=side,
        latency_ms=summary["latency_ms"],
        peak_memory_mb=peak_memory_mb,
        first_mask_s=first_mask_s,
    )


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
            raise ToolError(f"edge-run failed: {message}")
    return first_mask_s, peak_memory_mb
