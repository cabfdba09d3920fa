"""All GPU checks in one run: engines built, compared and timed, and the memory watched."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.backends import write_engine
from bench.machine import mb_per_1000_frames, memory_mb
from bench.networks import ALL_MODELS, FRAME_HW, BenchNetwork, open_network
from bench.tables import table
from edge.engines import open_engine
from edge.engines.engine import Engine, infer
from edge.engines.profile import Profile
from edge.engines.tiled import TiledSession
from edge.engines.variant import TensorRtVariant
from edge.errors import EdgeError
from edge.frame import Frame
from edge.gpu import find_gpu
from edge.particles import ParticleFilter
from edge.pipeline import Pipeline, Policy, Settings
from edge.sources.source import Source
from edge.stage_timer import StageTimer
from export.verify import max_abs_difference
from export.write import planned_profile
from train.data.synth import scene

# Largest difference allowed from ONNX Runtime's map, 0-255; of INT8 it is only reported.
ALLOWED = {"fp32": 2, "fp16": 4, "int8": 255}
WARM_UP, TIMED, PIPELINED = 20, 200, 200
SMALL_FRAMES, SMALL_HW = 10_000, (96, 96)
# MB of 10**6 bytes that the process may grow by in 1,000 small frames.
GROWTH_MB = 1.0
# Fraction of the engine's own FPS that the whole pipeline must keep.
EFFICIENCY = 0.90


@dataclass(frozen=True)
class GpuRow:
    """One engine on frames of `FRAME_HW`.

    Attributes:
        max_abs_difference: of the whole map, 0-255, from the same tiles in ONNX Runtime on the CPU.
        frame_ms: p50, p99 and max from upload to map, one frame at a time.
        engine_fps: FPS of the engine alone, two frames in flight.
        pipeline_fps: FPS of the pipeline, from memory, with particles.
    """

    model: str
    precision: str
    tile_hw: tuple[int, int]
    batch: int
    build_s: float
    engine_mb: float
    max_abs_difference: int
    frame_ms: dict[str, float]
    engine_fps: float
    pipeline_fps: float

    @property
    def efficiency(self) -> float:
        return self.pipeline_fps / self.engine_fps


@dataclass(frozen=True)
class GpuCheck:
    """What was found; `problems` holds a sentence on each failed check."""

    gpu: str
    compute_capability: str
    device: str
    engines: Sequence[GpuRow]
    mb_per_1000_frames: float
    problems: Sequence[str]

    def describe(self) -> str:
        """A Markdown table."""
        cells = [
            (
                row.model,
                row.precision,
                f"{row.batch} x {row.tile_hw[0]}x{row.tile_hw[1]}",
                f"{row.build_s:.1f}",
                f"{row.engine_mb:.1f}",
                row.max_abs_difference,
                f"{row.frame_ms['p50']:.2f}",
                f"{row.frame_ms['p99']:.2f}",
                f"{row.engine_fps:.1f}",
                f"{row.efficiency:.2f}",
            )
            for row in self.engines
        ]
        head = (
            *("", "precision", "tiles", "build, s", "MB", "max abs difference (0-255)"),
            *("frame p50, ms", "p99", "FPS", "efficiency"),
        )
        lines = (
            f"{self.gpu}, compute capability {self.compute_capability}; {self.device}",
            table(head, cells, left=3),
            f"memory: {self.mb_per_1000_frames:+.3f} MB in 1,000 small frames",
        )
        return "\n\n".join(lines)


class MemorySource(Source):
    """`total` frames from memory."""

    def __init__(self, images: list[NDArray[np.uint8]], total: int) -> None:
        super().__init__("memory")
        self._images = images
        self.expected = total

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.expected or 0):
            yield Frame(self._images[index % len(self._images)], index, "memory", 0.0)


def measure(variant: TensorRtVariant) -> GpuCheck:
    """Check every network of the paper in every precision on this machine's GPU.

    Raises:
        EdgeError: there is no GPU, or an engine cannot be built or run.
    """
    gpu = find_gpu()
    if gpu is None:
        raise EdgeError("there is no GPU here (or no driver for it): run this where there is one")
    images = [scene(np.random.default_rng(i), *FRAME_HW, particles=80).image for i in range(4)]
    rows: list[GpuRow] = []
    device, growth = "", 0.0
    for key in ALL_MODELS:
        network = open_network(key)
        for precision in network.graphs:
            with _built(network, precision, variant) as subject:
                device = subject.engine.device
                rows.append(_row(subject, images))
                if (key, precision) == ("half_mrunet", "fp16"):
                    growth = _growth(subject.engine)
    problems = [
        f"{row.model} {row.precision} differs from ONNX Runtime by {row.max_abs_difference} of 255"
        for row in rows
        if row.max_abs_difference > ALLOWED[row.precision]
    ]
    problems += [
        f"{row.model} {row.precision} keeps {row.efficiency:.2f} of the engine's FPS"
        for row in rows
        if row.efficiency < EFFICIENCY
    ]
    if growth > GROWTH_MB:
        problems.append(f"memory grows by {growth:.2f} MB in 1,000 frames")
    return GpuCheck(gpu.name, gpu.compute_capability, device, rows, growth, problems)


@dataclass(frozen=True)
class EngineUnderTest:
    """An engine that is open, and the same graph in ONNX Runtime."""

    engine: Engine
    reference: Engine
    precision: str
    profile: Profile
    build_s: float
    engine_mb: float


@contextlib.contextmanager
def _built(
    network: BenchNetwork, precision: str, variant: TensorRtVariant
) -> Iterator[EngineUnderTest]:
    info = network.info
    profile = planned_profile(FRAME_HW, info.multiple, info.halo)
    with tempfile.TemporaryDirectory() as folder:
        path, graph_path = Path(folder) / "engine.trt", Path(folder) / "engine.onnx"
        build_s = write_engine(network, precision, variant, profile, path)
        graph_path.write_bytes(network.graphs[precision].SerializeToString())
        with (
            contextlib.closing(open_engine(str(path))) as engine,
            contextlib.closing(open_engine(str(graph_path))) as reference,
        ):
            engine_mb = path.stat().st_size / 1e6
            yield EngineUnderTest(engine, reference, precision, profile, build_s, engine_mb)


def _row(subject: EngineUnderTest, images: list[NDArray[np.uint8]]) -> GpuRow:
    engine = subject.engine
    with engine.session(FRAME_HW, 1, StageTimer()) as session:
        found = [infer(session, image) for image in images[:1] * 2][-1]  # a graph's second
        for image in images * (WARM_UP // len(images)):
            infer(session, image)
        clock = StageTimer()
        for index in range(TIMED):
            with clock.stage("frame"):
                infer(session, images[index % len(images)])
    info = engine.info
    expected = infer(
        TiledSession(engine.tile_grid(FRAME_HW), subject.reference.run, StageTimer()), images[0]
    )
    with _pipeline(images, PIPELINED, engine) as pipeline:
        for _ in pipeline:
            pass
    return GpuRow(
        model=info.model,
        precision=subject.precision,
        tile_hw=subject.profile.tile_hw,
        batch=subject.profile.batch[1],
        build_s=round(subject.build_s, 2),
        engine_mb=round(subject.engine_mb, 3),
        max_abs_difference=int(max_abs_difference(found, expected)),
        frame_ms=clock.milliseconds()["frame"],
        engine_fps=round(_frames_per_second(engine, images), 2),
        pipeline_fps=pipeline.statistics().fps,
    )


def _pipeline(images: list[NDArray[np.uint8]], total: int, engine: Engine) -> Pipeline:
    settings = Settings(ParticleFilter(engine.info.threshold), Policy.EVERY)
    return Pipeline(MemorySource(images, total), engine, settings)


def _frames_per_second(engine: Engine, images: list[NDArray[np.uint8]]) -> float:
    """With two frames in flight, as in the pipeline."""
    with engine.session(FRAME_HW, 2, StageTimer()) as session:
        for image in images:
            infer(session, image)
        start = time.perf_counter()
        session.submit(images[0])
        for index in range(1, TIMED):
            session.submit(images[index % len(images)])
            session.result()
        session.result()
        return TIMED / (time.perf_counter() - start)


def _growth(engine: Engine) -> float:
    """MB of resident memory that the process gains in 1,000 small frames."""
    images = [scene(np.random.default_rng(i), *SMALL_HW, particles=3).image for i in range(4)]
    memory: list[float] = []
    with _pipeline(images, SMALL_FRAMES, engine) as pipeline:
        for _ in pipeline:
            memory.append(memory_mb("self", "VmRSS"))
    return mb_per_1000_frames(memory)
