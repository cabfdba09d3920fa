"""Engines in TensorRT and TensorRT-RTX, on CUDA streams.

A frame goes up once. Tiles are cut out of it, and their probabilities stitched, by 2-D copies on
the device; only the stitched map comes down. Each frame under way has a stream, a context and
memory of its own, so that the copies of one overlap with the network on another; the whole way of a
frame is one CUDA graph where there are graphs.
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
from edge.cuda.cuda import Cuda, Graph, Region, Stream
from edge.engines.engine import INPUT, OUTPUT, EngineInfo, through
from edge.engines.flavour import (
    FLAVOURS,
    TITLES,
    Flavour,
    collecting_log,
    open_flavour,
    without_collector,
)
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, read_sidecar, sidecar_path
from edge.engines.tiled import ENGINE_STAGE
from edge.errors import ToolError
from edge.gpu import find_gpu
from edge.latency import Stopwatch


class TensorRtEngine:
    """A .trt file of ours on the first GPU.

    Args:
        trust: load a plan that no sidecar vouches for; a plan can run code when loaded.
        cuda: name of the package that speaks to the device; None is the first installed.

    Raises:
        ToolError: the file is not what its sidecar says, was built for another TensorRT or GPU, or
            does not keep the engine contract.
    """

    info: EngineInfo
    device: str
    # One comes up or down while the other computes.
    depth = 2

    def __init__(self, path: Path, *, trust: bool = False, cuda: str | None = None) -> None:
        if trust and not sidecar_path(path).is_file():
            sidecar, flavour = None, _any_flavour()
        else:
            sidecar = read_sidecar(path, trust=trust)
            flavour = matching_flavour(path, sidecar)
        with contextlib.ExitStack() as stack:
            self._cuda = stack.enter_context(open_cuda(cuda))
            stack.enter_context(self._cuda.attached())
            self._plan = stack.enter_context(loaded(path, flavour))
            profile = _profile(path, self._plan, flavour)
            self._owned = stack.pop_all()
        if sidecar and sidecar.profile != profile:
            self.close()
            raise ToolError(f"{path}: its sidecar speaks of another profile; {_again(sidecar)}")
        self.profile = profile
        self.info = sidecar.info if sidecar else _assumed(path, profile)
        self.device = f"{flavour.title}, {self._cuda.title}"

    def close(self) -> None:
        """Free what is on the device."""
        self._owned.close()

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Engine.run`; tiles of the profile's size."""
        count, height, width, _ = tiles.shape
        maps = np.empty((count, 1, height, width), np.uint8)
        with self.frames((height, width), 1, Stopwatch()) as frames:
            for tile, found in zip(tiles, maps, strict=True):
                found[0] = through(frames, tile)
        return maps

    def layout(self, frame_hw: tuple[int, int]) -> tiling.Plan:
        """As `Engine.layout`: tiles of the profile's size."""
        return tiling.plan_fixed(
            frame_hw, self.profile.tile_hw, multiple=self.info.multiple, halo=self.info.halo
        )

    @contextlib.contextmanager
    def frames(
        self, frame_hw: tuple[int, int], depth: int, clock: Stopwatch
    ) -> Iterator[DeviceFrames]:
        """As `Engine.frames`."""
        layout = self.layout(frame_hw)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._cuda.attached())
            lanes = [
                stack.enter_context(_lane(self._cuda, self._plan, self.profile, layout))
                for _ in range(depth)
            ]
            yield DeviceFrames(lanes, clock)


class DeviceFrames:
    """Frames in turn through lanes, each of which holds one at a time."""

    def __init__(self, lanes: list[Lane], clock: Stopwatch) -> None:
        self._free, self._busy = deque(lanes), deque[Lane]()
        self._clock = clock

    def start(self, image: NDArray[np.uint8]) -> None:
        lane = self._free.popleft()
        self._busy.append(lane)
        with self._clock.stage("upload"):
            lane.start(image)

    def finish(self) -> NDArray[np.uint8]:
        lane = self._busy.popleft()
        self._free.append(lane)
        with self._clock.stage(ENGINE_STAGE):
            return lane.finish()


class Lane:
    """Stream, context and memory for one frame at a time; made by `_lane`."""

    def __init__(
        self,
        cuda: Cuda,
        stream: Stream,
        context: Any,
        layout: tiling.Plan,
        batch: int,
        canvas: NDArray[np.uint8],
        result: NDArray[np.uint8],
        regions: dict[str, Region],
        stack: contextlib.ExitStack,
    ) -> None:
        self._cuda, self._stream, self._context = cuda, stream, context
        self._layout, self._batch = layout, batch
        self._canvas, self._result, self._regions = canvas, result, regions
        self._stack = stack
        self._graph: Graph | None = None
        self._started = 0

    def start(self, image: NDArray[np.uint8]) -> None:
        """Bring up a frame (H,W,3) and queue its whole way."""
        height, width = self._layout.frame_hw
        canvas = self._canvas
        canvas[:height, :width] = image
        # As `tiling.cut` pads: the last pixels repeated.
        canvas[:height, width:] = canvas[:height, width - 1 : width]
        canvas[height:] = canvas[height - 1 : height]
        if self._started == 1:
            # The first frame has warmed the context up, which capturing asks for.
            captured = self._cuda.capture(self._stream, self._queue)
            if captured:
                self._graph = self._stack.enter_context(captured)
                self._stack.callback(self._stream.synchronize)
        self._started += 1
        if self._graph:
            self._graph.launch(self._stream)
        else:
            self._queue()

    def finish(self) -> NDArray[np.uint8]:
        """The map (H,W) of that frame, the caller's own."""
        self._stream.synchronize()
        return self._result.copy()

    def release(self) -> None:
        """Let go of the context, which must be freed before its engine."""
        del self._context, self._graph

    def _queue(self) -> None:
        cuda, stream, at = self._cuda, self._stream, self._regions
        height, width = self._layout.frame_hw
        canvas_height, canvas_width = self._layout.canvas_hw
        if at["canvas"] != at["host canvas"]:
            cuda.copy(at["canvas"], at["host canvas"], 3 * canvas_width, canvas_height, stream)
        origins = list(self._layout.origins())
        spans = list(self._layout.spans())
        tile_height, tile_width = self._layout.tile_hw
        for first in range(0, len(origins), self._batch):
            chosen = range(first, min(first + self._batch, len(origins)))
            for place, number in enumerate(chosen):
                top, left = origins[number]
                cuda.copy(
                    _moved(at["tiles"], place * tile_height, 0),
                    _moved(at["canvas"], top, 3 * left),
                    3 * tile_width,
                    tile_height,
                    stream,
                )
            if not self._context.execute_async_v3(stream.handle):
                raise ToolError("TensorRT could not queue a batch of tiles")
            for place, number in enumerate(chosen):
                (top, left), ((y0, y1), (x0, x1)) = origins[number], spans[number]
                cuda.copy(
                    _moved(at["result"], y0, x0),
                    _moved(at["maps"], place * tile_height + y0 - top, x0 - left),
                    x1 - x0,
                    y1 - y0,
                    stream,
                )
        if at["result"] != at["host result"]:
            cuda.copy(at["host result"], at["result"], width, height, stream)


def matching_flavour(path: Path, sidecar: Sidecar) -> Flavour:
    """The TensorRT that can load the plan of `sidecar` on this machine.

    Raises:
        ToolError: it is not installed, another version, or there is no GPU that the plan is for.
    """
    if sidecar.flavour not in FLAVOURS or sidecar.profile is None:
        raise ToolError(f"{path}: its sidecar describes no TensorRT plan; {_again(sidecar)}")
    built_by = f"{TITLES[sidecar.flavour]} {sidecar.version}"
    try:
        flavour = open_flavour(sidecar.flavour)
    except ToolError as error:
        raise ToolError(f"{path}: was built by {built_by}; {error}") from None
    if flavour.version != sidecar.version:
        raise ToolError(
            f"{path}: was built by {built_by}, which {flavour.title} here cannot load; "
            f"{_again(sidecar)}"
        )
    gpu, wanted = find_gpu(), " or ".join(sidecar.compute_capabilities)
    if gpu is None:
        raise ToolError(
            f"{path}: needs a GPU of compute capability {wanted}, and this machine has none (or no "
            f"driver for it); export-trt with --out X.onnx writes what runs without one"
        )
    if gpu.compute_capability not in sidecar.compute_capabilities:
        raise ToolError(
            f"{path}: was built for compute capability {wanted}, and {gpu.name} has "
            f"{gpu.compute_capability}; {_again(sidecar)}"
        )
    return flavour


def _again(sidecar: Sidecar) -> str:
    target = f" --target {sidecar.flavour}" if sidecar.flavour == "rtx" else ""
    return (
        f"write it again here: export-trt {sidecar.info.model}.onnx"
        f"{target} --precision {sidecar.precision}"
    )


def _any_flavour() -> Flavour:
    """The first TensorRT that is installed."""
    for name in FLAVOURS:
        with contextlib.suppress(ToolError):
            return open_flavour(name)
    return open_flavour("native")


@contextlib.contextmanager
def loaded(path: Path, flavour: Flavour) -> Iterator[Any]:
    """The plan at `path` as an ICudaEngine.

    Raises:
        ToolError: TensorRT cannot load it; with what it logged.
    """
    log = collecting_log(flavour.module)
    with without_collector():
        runtime = flavour.module.Runtime(log)
        plan = runtime.deserialize_cuda_engine(path.read_bytes())
    if plan is None:
        raise ToolError(
            f"{path}: {flavour.title} cannot load it ({log.last_errors()}); it is damaged, or was "
            f"built elsewhere: write it again here with export-trt"
        )
    # The engine lives in what the runtime holds, and is freed before it.
    held = [runtime, plan]
    del runtime, plan
    try:
        yield held[1]
    finally:
        with without_collector():
            held.pop()
            held.pop()


def _profile(path: Path, plan: Any, flavour: Flavour) -> Profile:
    """Tile and batches of a plan, once it is seen to keep the engine contract.

    Raises:
        ToolError: its tensors are not those of the contract.
    """
    names = {plan.get_tensor_name(i) for i in range(plan.num_io_tensors)}
    uint8 = flavour.module.DataType.UINT8
    if names != {INPUT, OUTPUT} or any(plan.get_tensor_dtype(name) != uint8 for name in names):
        raise ToolError(
            f"{path}: is not an engine of this toolkit (it must turn {INPUT} into {OUTPUT}, both "
            f"uint8); write one with export-trt"
        )
    smallest, usual, largest = (tuple(s) for s in plan.get_tensor_profile_shape(INPUT, 0))
    return Profile((largest[1], largest[2]), (smallest[0], usual[0], largest[0]))


def _assumed(path: Path, profile: Profile) -> EngineInfo:
    """What a plan without a sidecar is taken for: on the safe side, so slower."""
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
def _lane(cuda: Cuda, plan: Any, profile: Profile, layout: tiling.Plan) -> Iterator[Lane]:
    """A lane for frames of `layout`, freed at the end, whatever it was doing."""
    batch = _batch(layout.count, profile.batch)
    tile_height, tile_width = layout.tile_hw
    (height, width), (canvas_height, canvas_width) = layout.frame_hw, layout.canvas_hw
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(cuda.stream())
        canvas = stack.enter_context(cuda.host_memory(canvas_height * canvas_width * 3))
        result = stack.enter_context(cuda.host_memory(height * width))
        tiles = stack.enter_context(cuda.device_memory(batch * tile_height * tile_width * 3))
        maps = stack.enter_context(cuda.device_memory(batch * tile_height * tile_width))
        regions = {
            "host canvas": Region(canvas.pointer, 3 * canvas_width),
            "host result": Region(result.pointer, width),
            "tiles": Region(tiles, 3 * tile_width),
            "maps": Region(maps, tile_width),
        }
        # Where the memory is shared, the device reads and writes the host's.
        for name, memory, size in (
            ("canvas", canvas, canvas_height * canvas_width * 3),
            ("result", result, height * width),
        ):
            there = memory.device_pointer or stack.enter_context(cuda.device_memory(size))
            regions[name] = Region(there, regions[f"host {name}"].pitch)
            if memory.device_pointer:
                regions[f"host {name}"] = regions[name]
        context = plan.create_execution_context()
        context.set_input_shape(INPUT, (batch, tile_height, tile_width, 3))
        context.set_tensor_address(INPUT, tiles)
        context.set_tensor_address(OUTPUT, maps)
        lane = Lane(
            cuda,
            stream,
            context,
            layout,
            batch,
            canvas.array.reshape(canvas_height, canvas_width, 3),
            result.array.reshape(height, width),
            regions,
            stack,
        )
        del context
        stack.callback(lane.release)
        stack.callback(stream.synchronize)
        yield lane


def _batch(count: int, allowed: tuple[int, int, int]) -> int:
    """Tiles at a time: the batch size that computes the fewest tiles too many, then the largest."""
    smallest, _, largest = allowed
    sizes = range(smallest, min(largest, max(count, smallest)) + 1)
    return min(sizes, key=lambda size: (-(-count // size) * size, -size))


def _moved(region: Region, rows: int, columns: int) -> Region:
    return Region(region.pointer + rows * region.pitch + columns, region.pitch)
