"""Every network on every backend and in every precision of this machine, against the paper."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.backends import Backend, find_backends
from bench.networks import FRAME_HW, GROUPS, BenchNetwork, open_network
from bench.paper import PaperRow, table_4
from bench.peak import peak_memory
from bench.roofline import Roofline, flops_per_byte, measure_roofline
from bench.sampling import MIN_RUNS, Samples, interleaved, seconds_of
from edge.engines import open_engine
from edge.engines.engine import Engine, Session, infer
from edge.engines.profile import Profile
from edge.engines.tiled import TiledEngine
from edge.errors import EdgeError
from edge.particles import particle_mask
from edge.stage_timer import StageTimer
from export.write import planned_profile
from train.data.synth import scene
from train.metrics import mask_iou
from train.models.registry import MODELS

# The paper's crops, px.
TILE = 512
BATCHES = (1, 2, 4, 8)
# A larger batch is worth its memory where it gives this much more tiles a second.
WORTHWHILE = 1.03
# In every group, so that it shows how the machine drifts between them.
REFERENCE = "quarter_mrunet"


@dataclass(frozen=True)
class BackendRow:
    """One network on one backend in one precision.

    Attributes:
        device: description of what runs it.
        tile_ms, frame_ms: of `Samples.as_json`, for one tile of `TILE` px and for one frame.
        tiles: that the frame was split into, such as "9 x 528x528".
        batch: tiles at a time with the most tiles a second, which are `tiles_per_s`.
        gflops_per_s: by the paper's rule, over the median of a tile.
        flops_per_byte: if each convolution read its input and wrote its output once.
        peak_memory_mb: of a process that does nothing but this frame, MB of 10**6 bytes.
        gpu_memory_mb: the same on the GPU; None where the driver does not tell.
        engine_mb: size of the file.
        rw_f1: on the validation photos, of the model card; None of random weights.
        mask_iou: of the frame's particle mask with that of FP32, 0..1.
    """

    model: str
    backend: str
    precision: str
    device: str
    tile_ms: dict[str, Any]
    frame_ms: dict[str, Any]
    tiles: str
    batch: int
    tiles_per_s: float
    gflops_per_s: float
    flops_per_byte: float
    peak_memory_mb: float
    gpu_memory_mb: float | None
    engine_mb: float
    rw_f1: float | None
    mask_iou: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.backend, self.precision


@dataclass(frozen=True)
class ModelsResult:
    """All of it.

    Attributes:
        table_4: parameters and FLOPs of each network; the paper's, and whether they match, of its.
        unavailable: backends that are not here, or that failed, and why.
        drift: largest over smallest median of one task that was timed in every group.
        frame_hw: px.
    """

    table_4: Sequence[PaperRow]
    rows: Sequence[BackendRow]
    unavailable: Mapping[str, str]
    roofline: Roofline
    drift: float
    frame_hw: tuple[int, int]


@dataclass(frozen=True)
class OpenedEngine:
    """An engine that is open and has run its first frame.

    Attributes:
        path: of the file that it runs.
        mask: particles (H,W) of that frame.
        first_s: how long that frame took.
    """

    network: BenchNetwork
    backend: Backend
    precision: str
    path: Path
    engine: Engine
    session: Session
    mask: NDArray[np.uint8]
    first_s: float


def measure(
    models: Sequence[str],
    limit_s: float,
    progress: Callable[[str], None] = lambda _: None,
) -> ModelsResult:
    """Measure `models`, keys of the model registry, for at most `limit_s` a row and kind of time.

    Args:
        progress: called with the networks that are measured next.

    Raises:
        EdgeError: an export differs from torch, or memory cannot be read on this system.
    """
    backends, unavailable = find_backends()
    grouped = [[key for key in group if key in models] for group in GROUPS]
    alone = [[key] for key in models if not any(key in group for group in grouped)]
    configurations = [
        (backend, precision) for backend in backends for precision in backend.precisions
    ]
    rows: list[BackendRow] = []
    references: list[float] = []
    roofline = measure_roofline()
    for group in filter(None, (*grouped, *alone)):
        progress(f"measuring {', '.join(group)}")
        found, failed, reference_s = _measure_group(group, configurations, limit_s)
        rows += found
        unavailable |= failed
        references.append(reference_s)
    return ModelsResult(
        table_4=table_4(models),
        rows=rows,
        unavailable=unavailable,
        roofline=roofline,
        drift=round(max(references) / min(references), 3),
        frame_hw=FRAME_HW,
    )


def _measure_group(
    keys: Sequence[str], configurations: Sequence[tuple[Backend, str]], limit_s: float
) -> tuple[list[BackendRow], dict[str, str], float]:
    """Rows of these networks on these backends and precisions; what failed and why; and the median
    of the reference, s."""
    image = scene(np.random.default_rng(0), *FRAME_HW, particles=80).image
    failed: dict[str, str] = {}
    subjects: dict[str, OpenedEngine] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for key in keys:
            network = open_network(key)
            for backend, precision in configurations:
                name = f"{key}, {backend.name} {precision}"
                try:
                    subjects[name] = stack.enter_context(
                        _opened(network, backend, precision, image, folder)
                    )
                except EdgeError as error:
                    failed[name] = str(error)
        reference = stack.enter_context(
            contextlib.closing(open_engine(REFERENCE, backend="onnxruntime"))
        )
        with contextlib.ExitStack() as opened:
            tasks: dict[str, Callable[[], object]] = {
                name: opened.enter_context(_tiles(subject, 1, folder))
                for name, subject in subjects.items()
            }
            tile = image[None, :TILE, :TILE]
            tasks["the reference"] = lambda: reference.run(tile)
            tile_times = interleaved(tasks, limit_s)
        tasks = {
            name: functools.partial(infer, subject.session, image)
            for name, subject in subjects.items()
        }
        warm = {name: subject.first_s for name, subject in subjects.items()}
        frame_times = interleaved(tasks, limit_s, warm)
        rows = []
        exact: dict[str, NDArray[np.uint8]] = {}
        for name, subject in subjects.items():
            # The first of a network is torch in FP32.
            expected = exact.setdefault(subject.network.info.model, subject.mask)
            rows.append(_row(subject, tile_times[name], frame_times[name], expected, folder))
    return rows, failed, tile_times["the reference"].median


def _row(
    subject: OpenedEngine,
    tile: Samples,
    frame: Samples,
    expected: NDArray[np.uint8],
    folder: Path,
) -> BackendRow:
    info = subject.network.info
    spec, layout = MODELS[info.model], subject.engine.tile_grid(FRAME_HW)
    batch, tiles_per_s = _best_batch(subject, tile, folder)
    opener = subject.backend.opener(subject.precision)
    peak = peak_memory(opener, subject.path, FRAME_HW)
    scores = info.training.get("validation_at_threshold", {})
    return BackendRow(
        model=info.model,
        backend=subject.backend.name,
        precision=subject.precision,
        device=subject.engine.device,
        tile_ms=tile.as_json(),
        frame_ms=frame.as_json(),
        tiles=f"{layout.count} x {layout.tile_hw[0]}x{layout.tile_hw[1]}",
        batch=batch,
        tiles_per_s=round(tiles_per_s, 3),
        gflops_per_s=round(spec.flops(TILE, TILE) / tile.median / 1e9, 2),
        flops_per_byte=round(flops_per_byte(spec, TILE, subject.precision), 2),
        peak_memory_mb=peak.host_mb,
        gpu_memory_mb=peak.gpu_mb,
        engine_mb=round(subject.path.stat().st_size / 1e6, 3),
        rw_f1=scores.get("rw_f1"),
        mask_iou=round(mask_iou(subject.mask, expected), 5),
    )


def _best_batch(subject: OpenedEngine, one: Samples, folder: Path) -> tuple[int, float]:
    """Tiles at a time with the most tiles a second, and how many; the smallest such batch."""
    best, rate = 1, 1 / one.median
    for batch in BATCHES[1:]:
        try:
            with _tiles(subject, batch, folder) as task:
                task()
                seconds = Samples(tuple(seconds_of(task) for _ in range(MIN_RUNS))).median
        except EdgeError:  # no room for so many
            break
        if batch / seconds < WORTHWHILE * rate:
            break
        best, rate = batch, batch / seconds
    return best, rate


@contextlib.contextmanager
def _opened(
    network: BenchNetwork,
    backend: Backend,
    precision: str,
    image: NDArray[np.uint8],
    folder: Path,
) -> Iterator[OpenedEngine]:
    profile = planned_profile(FRAME_HW, network.info.multiple, network.info.halo)
    path = backend.write(network, precision, profile, folder)
    with (
        contextlib.closing(backend.opener(precision)(path)) as engine,
        engine.session(FRAME_HW, 1, StageTimer()) as session,
    ):
        if not backend.runs(engine):
            raise EdgeError(f"it fell back to {engine.device}")
        start = time.perf_counter()
        found = infer(session, image)
        first_s = time.perf_counter() - start
        mask = particle_mask(found, network.info.threshold_u8)
        yield OpenedEngine(network, backend, precision, path, engine, session, mask, first_s)


@contextlib.contextmanager
def _tiles(subject: OpenedEngine, batch: int, folder: Path) -> Iterator[Callable[[], object]]:
    """Runs `batch` tiles of `TILE` px at a time."""
    engine, info = subject.engine, subject.network.info
    if isinstance(engine, TiledEngine):
        tiles = np.random.default_rng(0).integers(0, 256, (batch, TILE, TILE, 3), np.uint8)
        default_batch = engine.batch
        engine.batch = batch
        try:
            yield lambda: engine.run(tiles)
        finally:
            engine.batch = default_batch
        return
    # A TensorRT engine takes one size: a strip that is split into that many tiles.
    overlap = -(-2 * info.halo // info.multiple) * info.multiple
    strip_hw = (TILE, TILE + (batch - 1) * (TILE - overlap))
    strip = np.random.default_rng(0).integers(0, 256, (*strip_hw, 3), np.uint8)
    own = folder / f"batch{batch}"
    own.mkdir(exist_ok=True)
    profile = Profile((TILE, TILE), (batch, batch, batch))
    path = subject.backend.write(subject.network, subject.precision, profile, own)
    with (
        contextlib.closing(subject.backend.opener(subject.precision)(path)) as opened,
        opened.session(strip_hw, 1, StageTimer()) as session,
    ):
        yield lambda: infer(session, strip)
