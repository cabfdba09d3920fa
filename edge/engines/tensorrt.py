"""Engines in TensorRT and TensorRT-RTX, on CUDA streams.

A frame is copied to the device once. It is split into tiles, and their probabilities are stitched,
by 2-D copies on the device; only the stitched map is copied back. Each frame in flight has an
execution slot: a stream, a context and memory of its own, so that the copies of one overlap with
the network on another. All work on a frame is one CUDA graph where there are graphs.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.cuda import open_cuda
from edge.cuda.cuda import Cuda, Graph, PitchedPointer, Stream
from edge.engines.engine import INPUT, OUTPUT, EngineInfo, infer
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, read_sidecar, sidecar_path
from edge.engines.tiled import ENGINE_STAGE
from edge.engines.variant import (
    DISPLAY_NAMES,
    VARIANTS,
    TensorRtVariant,
    collecting_log,
    open_variant,
    without_collector,
)
from edge.errors import EdgeError
from edge.gpu import find_gpu
from edge.stage_timer import StageTimer


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
    # One is copied while the other computes.
    max_in_flight = 2

    def __init__(self, path: Path, *, trust: bool = False, cuda: str | None = None) -> None:
        if trust and not sidecar_path(path).is_file():
            sidecar, variant = None, _any_variant()
        else:
            sidecar = read_sidecar(path, trust=trust)
            variant = matching_variant(path, sidecar)
        with contextlib.ExitStack() as stack:
            self._cuda = stack.enter_context(open_cuda(cuda))
            stack.enter_context(self._cuda.current())
            self._engine = stack.enter_context(load_engine(path, variant))
            profile = _profile(path, self._engine, variant)
            self._owned = stack.pop_all()
        if sidecar and sidecar.profile != profile:
            self.close()
            raise EdgeError(f"{path}: its sidecar describes another profile; {_again(sidecar)}")
        self.profile = profile
        self.info = sidecar.info if sidecar else _assumed(path, profile)
        self.device = f"{variant.title}, {self._cuda.title}"

    def close(self) -> None:
        """Free what is on the device."""
        self._owned.close()

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
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._cuda.current())
            slots = [
                stack.enter_context(_execution_slot(self._cuda, self._engine, self.profile, grid))
                for _ in range(max_in_flight)
            ]
            yield CudaSession(slots, timer)


class CudaSession:
    """Frames one after the other in the free one of some slots."""

    def __init__(self, slots: list[ExecutionSlot], timer: StageTimer) -> None:
        self._free, self._busy = deque(slots), deque[ExecutionSlot]()
        self._timer = timer

    def submit(self, image: NDArray[np.uint8]) -> None:
        slot = self._free.popleft()
        self._busy.append(slot)
        with self._timer.stage("upload"):
            slot.submit(image)

    def result(self) -> NDArray[np.uint8]:
        slot = self._busy.popleft()
        self._free.append(slot)
        with self._timer.stage(ENGINE_STAGE):
            return slot.result()


class ExecutionSlot:
    """Stream, context and memory for one frame at a time; made by `_execution_slot`."""

    def __init__(
        self,
        cuda: Cuda,
        stream: Stream,
        context: Any,
        grid: tiling.TileGrid,
        batch: int,
        padded: NDArray[np.uint8],
        result: NDArray[np.uint8],
        pointers: dict[str, PitchedPointer],
        stack: contextlib.ExitStack,
    ) -> None:
        self._cuda, self._stream, self._context = cuda, stream, context
        self._grid, self._batch = grid, batch
        self._padded, self._result, self._pointers = padded, result, pointers
        self._stack = stack
        self._graph: Graph | None = None
        self._submitted = 0

    def submit(self, image: NDArray[np.uint8]) -> None:
        """Copy a frame (H,W,3) to pinned memory and queue all work on it."""
        height, width = self._grid.frame_hw
        padded = self._padded
        padded[:height, :width] = image
        # As `tiling.split` pads: the last pixels repeated.
        padded[:height, width:] = padded[:height, width - 1 : width]
        padded[height:] = padded[height - 1 : height]
        if self._submitted == 1:
            # The first frame has warmed the context up, which capturing asks for.
            captured = self._cuda.capture(self._stream, self._queue)
            if captured:
                self._graph = self._stack.enter_context(captured)
                self._stack.callback(self._stream.synchronize)
        self._submitted += 1
        if self._graph:
            self._graph.launch(self._stream)
        else:
            self._queue()

    def result(self) -> NDArray[np.uint8]:
        """The map (H,W) of that frame, the caller's own."""
        self._stream.synchronize()
        return self._result.copy()

    def release(self) -> None:
        """Let go of the context, which must be freed before its engine."""
        del self._context, self._graph

    def _queue(self) -> None:
        cuda, stream, at = self._cuda, self._stream, self._pointers
        height, width = self._grid.frame_hw
        padded_height, padded_width = self._grid.padded_hw
        if at["padded"] != at["host padded"]:
            cuda.copy(at["padded"], at["host padded"], 3 * padded_width, padded_height, stream)
        origins = list(self._grid.origins())
        regions = list(self._grid.valid_regions())
        tile_height, tile_width = self._grid.tile_hw
        for first in range(0, len(origins), self._batch):
            chosen = range(first, min(first + self._batch, len(origins)))
            for place, number in enumerate(chosen):
                top, left = origins[number]
                cuda.copy(
                    _moved(at["tiles"], place * tile_height, 0),
                    _moved(at["padded"], top, 3 * left),
                    3 * tile_width,
                    tile_height,
                    stream,
                )
            if not self._context.execute_async_v3(stream.handle):
                raise EdgeError("TensorRT could not queue a batch of tiles")
            for place, number in enumerate(chosen):
                (top, left), ((y0, y1), (x0, x1)) = origins[number], regions[number]
                cuda.copy(
                    _moved(at["result"], y0, x0),
                    _moved(at["maps"], place * tile_height + y0 - top, x0 - left),
                    x1 - x0,
                    y1 - y0,
                    stream,
                )
        if at["result"] != at["host result"]:
            cuda.copy(at["host result"], at["result"], width, height, stream)


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
def load_engine(path: Path, variant: TensorRtVariant) -> Iterator[Any]:
    """The serialized engine at `path` as an ICudaEngine.

    Raises:
        EdgeError: TensorRT cannot load it; with what it logged.
    """
    log = collecting_log(variant.module)
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


@contextlib.contextmanager
def _execution_slot(
    cuda: Cuda, engine: Any, profile: Profile, grid: tiling.TileGrid
) -> Iterator[ExecutionSlot]:
    """For frames of `grid`; freed at the end, whatever it was doing."""
    batch = _batch(grid.count, profile.batch)
    tile_height, tile_width = grid.tile_hw
    (height, width), (padded_height, padded_width) = grid.frame_hw, grid.padded_hw
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(cuda.stream())
        padded = stack.enter_context(cuda.host_memory(padded_height * padded_width * 3))
        result = stack.enter_context(cuda.host_memory(height * width))
        tiles = stack.enter_context(cuda.device_memory(batch * tile_height * tile_width * 3))
        maps = stack.enter_context(cuda.device_memory(batch * tile_height * tile_width))
        pointers = {
            "host padded": PitchedPointer(padded.pointer, 3 * padded_width),
            "host result": PitchedPointer(result.pointer, width),
            "tiles": PitchedPointer(tiles, 3 * tile_width),
            "maps": PitchedPointer(maps, tile_width),
        }
        # Where the memory is shared, the device reads and writes the host's.
        for name, memory, size in (
            ("padded", padded, padded_height * padded_width * 3),
            ("result", result, height * width),
        ):
            there = memory.device_pointer or stack.enter_context(cuda.device_memory(size))
            pointers[name] = PitchedPointer(there, pointers[f"host {name}"].pitch)
            if memory.device_pointer:
                pointers[f"host {name}"] = pointers[name]
        context = engine.create_execution_context()
        context.set_input_shape(INPUT, (batch, tile_height, tile_width, 3))
        context.set_tensor_address(INPUT, tiles)
        context.set_tensor_address(OUTPUT, maps)
        slot = ExecutionSlot(
            cuda,
            stream,
            context,
            grid,
            batch,
            padded.array.reshape(padded_height, padded_width, 3),
            result.array.reshape(height, width),
            pointers,
            stack,
        )
        del context
        stack.callback(slot.release)
        stack.callback(stream.synchronize)
        yield slot


def _batch(count: int, allowed: tuple[int, int, int]) -> int:
    """Tiles at a time: the batch size that computes the fewest tiles too many, then the largest."""
    smallest, _, largest = allowed
    sizes = range(smallest, min(largest, max(count, smallest)) + 1)
    return min(sizes, key=lambda size: (-(-count // size) * size, -size))


def _moved(region: PitchedPointer, rows: int, columns: int) -> PitchedPointer:
    return PitchedPointer(region.pointer + rows * region.pitch + columns, region.pitch)
