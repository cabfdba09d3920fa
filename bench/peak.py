"""Peak memory of an engine on one frame, in a process that does nothing else.

It imports no more than an engine needs, so that the numbers are those of a device.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.machine import gpu_memory_mb, memory_mb
from edge.engines.engine import Engine, infer
from edge.stage_timer import StageTimer


@dataclass(frozen=True)
class Peak:
    """MB of 10**6 bytes; `gpu_mb` is None where the driver does not tell."""

    host_mb: float
    gpu_mb: float | None


def peak_memory(opener: Callable[[Path], Engine], path: Path, frame_hw: tuple[int, int]) -> Peak:
    """Of opening `path` and running a frame of that size, px.

    Args:
        opener: which can be pickled.

    Raises:
        EdgeError: the engine fails, or memory cannot be read on this system.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, opener, path, frame_hw).result()


def _run(opener: Callable[[Path], Engine], path: Path, frame_hw: tuple[int, int]) -> Peak:
    image = np.random.default_rng(0).integers(0, 256, (*frame_hw, 3), np.uint8)
    with opener(path).session(frame_hw, 1, StageTimer()) as session:
        infer(session, image)
        return Peak(round(memory_mb("self", "VmHWM"), 1), gpu_memory_mb(os.getpid()))
