"""A frame's way through the device: copied there, split, run, stitched, and copied back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.cuda.cuda import Cuda, Graph, PitchedPointer, Stream
from edge.engines.contexts import ExecutionContexts, is_capturable
from edge.engines.engine import INPUT, OUTPUT
from edge.engines.profile import Profile
from edge.errors import EdgeError


class ExecutionSlot:
    """Stream, context and memory for one frame at a time; made by `execution_slot`."""

    def __init__(
        self,
        cuda: Cuda,
        stream: Stream,
        contexts: ExecutionContexts,
        context: Any,
        grid: tiling.TileGrid,
        batch: int,
        padded: NDArray[np.uint8],
        result: NDArray[np.uint8],
        pointers: dict[str, PitchedPointer],
        stack: contextlib.ExitStack,
    ) -> None:
        self._cuda, self._stream = cuda, stream
        self._contexts, self._context = contexts, context
        self._grid, self._batch = grid, batch
        self._padded, self._result, self._pointers = padded, result, pointers
        self._stack = stack
        self._graph: Graph | None = None
        self._submitted = 0

    @property
    def captured(self) -> bool:
        """Whether its work is one CUDA graph by now."""
        return self._graph is not None

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
            self._contexts.keep_kernels()
            self._capture()
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
        """Drop the context, which must be freed before its engine."""
        del self._context, self._graph

    def _capture(self) -> None:
        if not is_capturable(self._context, self._stream):
            return
        captured = self._cuda.capture(self._stream, self._queue)
        if captured:
            self._graph = self._stack.enter_context(captured)
            self._stack.callback(self._stream.synchronize)

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


@contextlib.contextmanager
def execution_slot(
    cuda: Cuda, contexts: ExecutionContexts, profile: Profile, grid: tiling.TileGrid
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
        shape = (batch, tile_height, tile_width, 3)
        context = stack.enter_context(
            contexts.context(cuda, stream, shape, {INPUT: tiles, OUTPUT: maps})
        )
        slot = ExecutionSlot(
            cuda,
            stream,
            contexts,
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
