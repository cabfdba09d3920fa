"""Engines in TensorRT and TensorRT-RTX, on CUDA streams.

A frame is copied to the device once. It is split into tiles, and their probabilities are stitched,
by 2-D copies on the device; only the stitched map is copied back. Each frame in flight has an
execution slot: a stream, a context and memory of its own, so that the copies of one overlap with
the network on another. All work on a frame is one CUDA graph where there are graphs.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.cuda import open_cuda
from edge.cuda.cuda import Cuda
from edge.engines.cache import cache_file
from edge.engines.contexts import ExecutionContexts
from edge.engines.engine import INPUT, OUTPUT, EngineInfo, infer
from edge.engines.execution_slot import ExecutionSlot, execution_slot
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, read_sidecar, sha256, sidecar_path
from edge.engines.tiled import ENGINE_STAGE
from edge.engines.variant import (
    DISPLAY_NAMES,
    VARIANTS,
    CollectingLog,
    TensorRtVariant,
    collecting_log,
    open_variant,
    without_collector,
)
from edge.errors import EdgeError
from edge.gpu import driver_version, find_gpu
from edge.stage_timer import StageTimer

# One frame is copied while the other computes.
MAX_IN_FLIGHT = 2


class TensorRtEngine:
    """A .trt file of ours on the first GPU.

    Args:
        trust: load an engine that no sidecar verifies; such a file can run code when loaded.
        cuda: name of the package with the CUDA bindings; None is the first installed.

    Raises:
        EdgeError: the file is not what its sidecar says, was built for another TensorRT or GPU, or
            does not keep the engine contract.
    """

    info: EngineInfo
    device: str
    max_in_flight = MAX_IN_FLIGHT

    def __init__(self, path: Path, *, trust: bool = False, cuda: str | None = None) -> None:
        if trust and not sidecar_path(path).is_file():
            sidecar, variant = None, _any_variant()
        else:
            sidecar = read_sidecar(path, trust=trust)
            variant = matching_variant(path, sidecar)
        with contextlib.ExitStack() as stack:
            self._cuda = stack.enter_context(open_cuda(cuda))
            with self._cuda.current(), contextlib.ExitStack() as opening:
                log = collecting_log(variant.module)
                engine = opening.enter_context(load_engine(path, variant, log))
                profile = _profile(path, engine, variant)
                kernels = _kernels_file(path, variant)
                self._contexts = ExecutionContexts(engine, variant, log, kernels)
                opening.callback(self._contexts.close)
                del engine
                self._opened = opening.pop_all()
            self._device = stack.pop_all()
        if sidecar and sidecar.profile != profile:
            self.close()
            raise EdgeError(f"{path}: its sidecar describes another profile; {_again(sidecar)}")
        self.profile = profile
        self.info = sidecar.info if sidecar else _assumed(path, profile)
        self.device = f"{variant.title}, {self._cuda.title}"

    def close(self) -> None:
        """Free what is on the device."""
        with self._device, self._cuda.current():
            self._opened.close()

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Engine.run`; tiles of the profile's size."""
        count, height, width, _ = tiles.shape
        maps = np.empty((count, 1, height, width), np.uint8)
        with self.session((height, width), 1, StageTimer()) as session:
            for tile, found in zip(tiles, maps, strict=True):
                found[0] = infer(session, tile)
        return maps

    def tile_grid(self, frame_hw: tuple[int, int]) -> tiling.TileGrid:
        """As `Engine.tile_grid`: tiles of the profile's size."""
        return tiling.fixed_tile_grid(
            frame_hw, self.profile.tile_hw, multiple=self.info.multiple, halo=self.info.halo
        )

    @contextlib.contextmanager
    def session(
        self, frame_hw: tuple[int, int], max_in_flight: int, timer: StageTimer
    ) -> Iterator[CudaSession]:
        """As `Engine.session`."""
        grid = self.tile_grid(frame_hw)
        with self._cuda.current(), contextlib.ExitStack() as opening:
            slots = [
                opening.enter_context(
                    execution_slot(self._cuda, self._contexts, self.profile, grid)
                )
                for _ in range(max_in_flight)
            ]
            opened = opening.pop_all()
        try:
            yield CudaSession(self._cuda, slots, timer)
        except BaseException:
            with self._cuda.current():
                opened.__exit__(*sys.exc_info())
            raise
        with self._cuda.current():
            opened.close()


class CudaSession:
    """Frames one after the other in the free one of some slots.

    Any thread may use it, one at a time: the CUDA context is current within a call alone.
    """

    def __init__(self, cuda: Cuda, slots: list[ExecutionSlot], timer: StageTimer) -> None:
        self._cuda = cuda
        self._free, self._busy = deque(slots), deque[ExecutionSlot]()
        self._timer = timer

    @property
    def captured(self) -> bool:
        """Whether each frame is one CUDA graph by now."""
        return all(slot.captured for slot in (*self._free, *self._busy))

    def submit(self, image: NDArray[np.uint8]) -> None:
        slot = self._free[0]
        with self._timer.stage("upload"), self._cuda.current():
            slot.submit(image)
        self._busy.append(self._free.popleft())

    def result(self) -> NDArray[np.uint8]:
        slot = self._busy.popleft()
        self._free.append(slot)
        with self._timer.stage(ENGINE_STAGE), self._cuda.current():
            return slot.result()


def matching_variant(path: Path, sidecar: Sidecar) -> TensorRtVariant:
    """The TensorRT that can load the engine of `sidecar` on this machine.

    Raises:
        EdgeError: it is not installed, another version, or there is no GPU that the engine is for.
    """
    if sidecar.variant not in VARIANTS or sidecar.profile is None:
        raise EdgeError(f"{path}: its sidecar describes no TensorRT engine; {_again(sidecar)}")
    built_by = f"{DISPLAY_NAMES[sidecar.variant]} {sidecar.version}"
    try:
        variant = open_variant(sidecar.variant)
    except EdgeError as error:
        raise EdgeError(f"{path}: was built by {built_by}; {error}") from None
    if variant.version != sidecar.version:
        raise EdgeError(
            f"{path}: was built by {built_by}, which {variant.title} here cannot load; "
            f"{_again(sidecar)}"
        )
    gpu, wanted = find_gpu(), " or ".join(sidecar.compute_capabilities)
    if gpu is None:
        raise EdgeError(
            f"{path}: needs a GPU of compute capability {wanted}, and this machine has none (or no "
            f"driver for it); export-trt with --out X.onnx writes what runs without one"
        )
    if gpu.compute_capability not in sidecar.compute_capabilities:
        served = variant.compute_capabilities
        fix = _again(sidecar)
        if served and gpu.compute_capability not in served:  # such as a Hopper or a Jetson
            fix = (
                f"{variant.title} does not run there at all: build the engine there with TensorRT, "
                f"or take the .onnx"
            )
        raise EdgeError(
            f"{path}: was built for compute capability {wanted}, and {gpu.name} has "
            f"{gpu.compute_capability}; {fix}"
        )
    return variant


def _again(sidecar: Sidecar) -> str:
    target = f" --target {sidecar.variant}" if sidecar.variant == "rtx" else ""
    return (
        f"write it again here: export-trt {sidecar.info.model}.onnx"
        f"{target} --precision {sidecar.precision}"
    )


def _any_variant() -> TensorRtVariant:
    """The first TensorRT that is installed."""
    for name in VARIANTS:
        with contextlib.suppress(EdgeError):
            return open_variant(name)
    return open_variant("native")


@contextlib.contextmanager
def load_engine(
    path: Path, variant: TensorRtVariant, log: CollectingLog | None = None
) -> Iterator[Any]:
    """The serialized engine at `path` as an ICudaEngine.

    Args:
        log: gets what TensorRT says of it, also later.

    Raises:
        EdgeError: TensorRT cannot load it; with what it logged.
    """
    log = log or collecting_log(variant.module)
    with without_collector():
        runtime = variant.module.Runtime(log)
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EdgeError(
            f"{path}: {variant.title} cannot load it ({log.last_errors()}); it is damaged, or was "
            f"built elsewhere: write it again here with export-trt"
        )
    # The engine lives in what the runtime holds, and is freed before it.
    held = [runtime, engine]
    del runtime, engine
    try:
        yield held[1]
    finally:
        with without_collector():
            held.pop()
            held.pop()


def _profile(path: Path, engine: Any, variant: TensorRtVariant) -> Profile:
    """Tile and batches of an engine, once it is seen to keep the engine contract.

    Raises:
        EdgeError: its tensors are not those of the contract.
    """
    names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
    uint8 = variant.module.DataType.UINT8
    if names != {INPUT, OUTPUT} or any(engine.get_tensor_dtype(name) != uint8 for name in names):
        raise EdgeError(
            f"{path}: is not an engine of this toolkit (it must turn {INPUT} into {OUTPUT}, both "
            f"uint8); write one with export-trt"
        )
    smallest, optimum, largest = (tuple(s) for s in engine.get_tensor_profile_shape(INPUT, 0))
    return Profile((largest[1], largest[2]), (smallest[0], optimum[0], largest[0]))


def _kernels_file(path: Path, variant: TensorRtVariant) -> Path | None:
    """Where the kernels that are compiled for an engine are kept; None where none are."""
    if not variant.compiles_at_run_time:
        return None
    gpu = find_gpu()
    machine = (gpu.name, gpu.compute_capability) if gpu else ()
    return cache_file(path.stem, "kernels", sha256(path), *machine, driver_version(), variant.title)


def _assumed(path: Path, profile: Profile) -> EngineInfo:
    """What an engine without a sidecar is taken for: on the safe side, so slower."""
    height, width = profile.tile_hw
    # Of any network that takes such tiles, the pooling grid; and more halo than most need.
    multiple = min(side & -side for side in (height, width))
    return EngineInfo(
        model=path.stem,
        halo=min(height, width) // 3,
        multiple=multiple,
        threshold=math.nan,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        training={},
        content_hash="",
    )
