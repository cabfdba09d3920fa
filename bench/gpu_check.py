"""All GPU checks in one run: what only a device can tell, and the speed of every engine."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.backends import write_engine
from bench.gpu_questions import about_cuda, about_engine, provider, timing_cache
from bench.machine import mb_per_1000_frames, memory_mb
from bench.networks import ALL_MODELS as NETWORKS
from bench.networks import FRAME_HW, BenchNetwork, open_network
from bench.tables import table
from bench.verdict import Answer, Verdict, ask
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

# The network that answers the questions, then the others while there is time.
ALL_MODELS = ("half_mrunet", *(key for key in NETWORKS if key != "half_mrunet"))
# Seconds after which no more engine is built, so that the run ends within ten minutes.
LAST_START_S = 420
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
    """What was found.

    Attributes:
        engines: of the networks for which there was time.
        seconds: that the run took.
    """

    gpu: str
    compute_capability: str
    device: str
    verdicts: Sequence[Verdict]
    engines: Sequence[GpuRow]
    seconds: float

    @property
    def problems(self) -> list[Verdict]:
        """What failed."""
        return [verdict for verdict in self.verdicts if verdict.ok is False]

    def describe(self) -> str:
        """The verdicts, a line each, and a Markdown table."""
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
        lines = [
            f"{self.gpu}, compute capability {self.compute_capability}; {self.device}; "
            f"{self.seconds:.0f} s",
            "\n".join(map(str, self.verdicts)),
        ]
        if cells:
            lines.append(table(head, cells, left=3))
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
    """Ask what only a device can tell, then measure the networks in every precision on this GPU.

    Raises:
        EdgeError: there is no GPU.
    """
    gpu = find_gpu()
    if gpu is None:
        raise EdgeError("there is no GPU here (or no driver for it): run this where there is one")
    start = time.monotonic()
    images = [scene(np.random.default_rng(i), *FRAME_HW, particles=80).image for i in range(4)]
    rows: list[GpuRow] = []
    with _cold_cache():
        verdicts = [*about_cuda(), *_about_tensorrt(variant, images)]
        if any(verdict.name == "engine" and verdict.ok for verdict in verdicts):
            verdicts.append(ask("networks", lambda: _networks(variant, images, rows, start)))
        if rows:
            verdicts += [ask("maps", lambda: _differences(rows)), ask("speed", lambda: _fps(rows))]
    seconds = round(time.monotonic() - start, 1)
    return GpuCheck(gpu.name, gpu.compute_capability, variant.title, verdicts, rows, seconds)


def _about_tensorrt(variant: TensorRtVariant, images: list[NDArray[np.uint8]]) -> list[Verdict]:
    """The questions that one engine answers."""
    network = open_network(ALL_MODELS[0])
    profile = planned_profile(FRAME_HW, network.info.multiple, network.info.halo)
    with tempfile.TemporaryDirectory() as folder:
        path, graph = Path(folder) / "engine.trt", Path(folder) / "engine.onnx"
        graph.write_bytes(network.graphs["fp16"].SerializeToString())

        def build_twice() -> Answer:
            first, second = (
                write_engine(network, "fp16", variant, profile, path) for _ in range(2)
            )
            return timing_cache(first, second)

        verdicts = [ask("second build", build_twice)]
        if path.is_file():
            verdicts += about_engine(path, images)
            if verdicts[1].ok:
                verdicts.append(ask("memory", lambda: _growth(path)))
        provided = ask("ONNX Runtime's TensorRT", lambda: provider(graph, images[0]))
    return [*verdicts, provided]


def _networks(
    variant: TensorRtVariant, images: list[NDArray[np.uint8]], rows: list[GpuRow], start: float
) -> Answer:
    """Add the row of each engine that there is time for."""
    failures: list[str] = []
    for key in ALL_MODELS:
        network = open_network(key)
        for precision in network.graphs:
            if time.monotonic() - start > LAST_START_S:
                failures.append("no time for the others")
                return len(failures) == 1, "; ".join([f"{len(rows)} measured", *failures])
            try:
                with _built(network, precision, variant) as subject:
                    rows.append(_row(subject, images))
            except EdgeError as error:
                failures.append(f"{key} {precision}: {error}")
    return not failures, "; ".join([f"{len(rows)} measured", *failures])


def _differences(rows: Sequence[GpuRow]) -> Answer:
    beyond = [
        f"{row.model} {row.precision} by {row.max_abs_difference} of 255"
        for row in rows
        if row.max_abs_difference > ALLOWED[row.precision]
    ]
    found = f"differ from ONNX Runtime's: {'; '.join(beyond)}" if beyond else "as ONNX Runtime's"
    return not beyond, found


def _fps(rows: Sequence[GpuRow]) -> Answer:
    slow = [
        f"{row.model} {row.precision} {row.efficiency:.2f}"
        for row in rows
        if row.efficiency < EFFICIENCY
    ]
    lowest = min(row.efficiency for row in rows)
    found = f"the pipeline keeps at least {lowest:.2f} of the engine's FPS"
    return not slow, f"{found} ({'; '.join(slow)})" if slow else found


@contextlib.contextmanager
def _cold_cache() -> Iterator[None]:
    """An empty cache folder in the place of the user's."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


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
            contextlib.closing(open_engine(str(graph_path), backend="onnxruntime")) as reference,
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
    settings = Settings(ParticleFilter.of(engine.info), Policy.EVERY)
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


def _growth(path: Path) -> Answer:
    """Does the process grow while small frames pass?"""
    images = [scene(np.random.default_rng(i), *SMALL_HW, particles=3).image for i in range(4)]
    memory: list[float] = []
    with (
        contextlib.closing(open_engine(str(path))) as engine,
        _pipeline(images, SMALL_FRAMES, engine) as pipeline,
    ):
        for _ in pipeline:
            memory.append(memory_mb("self", "VmRSS"))
    growth = mb_per_1000_frames(memory)
    return growth <= GROWTH_MB, f"{growth:+.3f} MB in 1,000 small frames"
