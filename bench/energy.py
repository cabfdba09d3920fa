"""Energy per frame of an engine."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import numpy as np

from bench.power import open_meter
from edge.engines import open_engine
from edge.engines.engine import infer
from edge.engines.onnx import OnnxEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import EdgeError
from edge.stage_timer import StageTimer
from train.data.synth import scene

IDLE_S = 3.0
MIN_FRAMES = 3
# Different images, so that no frame is the same as the one before.
IMAGES = 4


@dataclass(frozen=True)
class EnergyResult:
    """`frames` frames of `side` x `side` px through the engine alone, one after the other.

    `meter` is what was read; `watts` the mean power over the `seconds` of the frames,
    `idle_watts` that of `IDLE_S` seconds before the engine was opened. A frame's joules are all
    that the meter sees, and what of it is above idle.
    """

    engine: str
    device: str
    meter: str
    side: int
    frames: int
    seconds: float
    watts: float
    idle_watts: float
    joules_per_frame: float
    joules_per_frame_above_idle: float

    def describe(self) -> str:
        """The result for a terminal."""
        return "\n".join(
            (
                f"{self.engine} on {self.device}; {self.meter}",
                f"{self.frames} frames of {self.side}x{self.side} in {self.seconds:.1f} s: "
                f"{self.watts:.2f} W, idle {self.idle_watts:.2f} W",
                f"{self.joules_per_frame:.4g} J a frame, "
                f"{self.joules_per_frame_above_idle:.4g} J of it above idle",
            )
        )


def measure(engine_name: str, seconds: float, side: int = 1440) -> EnergyResult:
    """Run rendered frames for at least `seconds`, and at least `MIN_FRAMES` of them.

    Raises:
        EdgeError: power is not readable here, or not of what the engine runs on; the engine fails.
    """
    meter = open_meter()
    particles = max(1, side * side // 25_000)
    images = [
        scene(np.random.default_rng(i), side, side, particles=particles).image
        for i in range(IMAGES)
    ]
    with meter.measure() as idle:
        time.sleep(IDLE_S)
    with contextlib.closing(open_engine(engine_name)) as engine:
        on_cpu = isinstance(engine, OpenVinoEngine) or (
            isinstance(engine, OnnxEngine) and not engine.on_gpu
        )
        if meter.gpu_only and on_cpu:
            raise EdgeError(
                f"{engine_name}: runs on the CPU, but only the graphics card's energy is "
                f"measurable here; install onnxruntime-gpu or give a .trt engine"
            )
        with engine.session((side, side), 1, StageTimer()) as session:
            infer(session, images[-1])
            count = 0
            with meter.measure() as busy:
                start = time.perf_counter()
                while count < MIN_FRAMES or time.perf_counter() - start < seconds:
                    infer(session, images[count % IMAGES])
                    count += 1
        device = engine.device
    return EnergyResult(
        engine=engine_name,
        device=device,
        meter=meter.description,
        side=side,
        frames=count,
        seconds=round(busy.seconds, 3),
        watts=round(busy.watts, 3),
        idle_watts=round(idle.watts, 3),
        joules_per_frame=round(busy.joules / count, 5),
        joules_per_frame_above_idle=round((busy.joules - idle.watts * busy.seconds) / count, 5),
    )
