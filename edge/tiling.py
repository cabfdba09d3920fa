"""Split a frame into overlapping tiles and stitch their probabilities into one map.

A convolution near the edge of a tile sees zeros where the frame goes on, so only what lies farther
than the halo from an inner edge is used. With a halo of at least the radius of the network's
receptive field, and tile origins on its pooling grid, the stitched map is that of the whole frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError

# Bounds the memory of the engine: half_mrunet in ONNX Runtime stays within 500 MB.
MAX_TILE_PIXELS = 540 * 540


@dataclass(frozen=True)
class Axis:
    """One axis of a tile grid, px: `starts` of the tiles, and the part of each that is used."""

    frame: int
    padded: int
    tile: int
    starts: tuple[int, ...]

    @property
    def valid_spans(self) -> tuple[tuple[int, int], ...]:
        """(begin, end) of what each tile fills: neighbours meet in the middle of their overlap."""
        middles = [(right + left + self.tile) // 2 for left, right in pairwise(self.starts)]
        bounds = [0, *(min(middle, self.frame) for middle in middles), self.frame]
        return tuple(pairwise(bounds))


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of a frame lie; tiles are numbered row by row.

    The frame is first padded right and below to the padded, by repeating its last pixels.
    """

    rows: Axis
    columns: Axis

    @property
    def frame_hw(self) -> tuple[int, int]:
        return self.rows.frame, self.columns.frame

    @property
    def padded_hw(self) -> tuple[int, int]:
        return self.rows.padded, self.columns.padded

    @property
    def tile_hw(self) -> tuple[int, int]:
        return self.rows.tile, self.columns.tile

    @property
    def count(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def pixels(self) -> int:
        """Pixels that the network computes for one frame."""
        return self.count * self.rows.tile * self.columns.tile

    def origins(self) -> Iterator[tuple[int, int]]:
        """Top left corner (y, x) of every tile."""
        for top in self.rows.starts:
            for left in self.columns.starts:
                yield top, left

    def valid_regions(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """What every tile fills of the frame: (begin, end) of its rows, and of its columns."""
        for rows in self.rows.valid_spans:
            for columns in self.columns.valid_spans:
                yield rows, columns


def tile_grid(
    frame_hw: tuple[int, int],
    *,
    multiple: int,
    halo: int,
    max_tile_pixels: int | None = None,
) -> TileGrid:
    """The grid that computes the fewest pixels with tiles of at most `max_tile_pixels`.

    Args:
        frame_hw: height and width of the frame, px.
        multiple: tile sizes and origins are multiples of this (the network's 2**levels).
        halo: px from an inner edge of a tile that are not used.
        max_tile_pixels: limit on height * width of a tile; bounds the memory of the engine. By
            default `MAX_TILE_PIXELS`, more where smaller tiles would mostly be halo.

    Raises:
        EdgeError: the frame is empty, or no tile within the limit has room for the halo.
    """
    _check(frame_hw, halo)
    if max_tile_pixels is None:
        max_tile_pixels = max(MAX_TILE_PIXELS, (4 * halo) ** 2)
    best: TileGrid | None = None
    height, width = frame_hw
    for rows in _splits(height, multiple, halo):
        for columns in _splits(width, multiple, halo):
            if rows.tile * columns.tile <= max_tile_pixels:
                candidate = TileGrid(rows, columns)
                if best is None or (candidate.pixels, candidate.count) < (best.pixels, best.count):
                    best = candidate
                # More columns would only add overlap.
                break
    if best is None:
        raise EdgeError(
            f"no tile of at most {max_tile_pixels} pixels has room for a halo of {halo} px "
            f"on each side: allow larger tiles"
        )
    return best


def fixed_tile_grid(
    frame_hw: tuple[int, int], tile_hw: tuple[int, int], *, multiple: int, halo: int
) -> TileGrid:
    """The grid with the fewest tiles of one given size, for an engine built for that size.

    Raises:
        EdgeError: the frame is empty, the tile is no multiple of `multiple`, or the halo leaves
            nothing of a tile that is smaller than the frame.
    """
    _check(frame_hw, halo)
    axes = []
    for frame, tile in zip(frame_hw, tile_hw, strict=True):
        _check_tile(tile, multiple)
        padded = max(_round_up(frame, multiple), tile)
        step = tile - _overlap(multiple, halo)
        if padded > tile and step <= 0:
            raise EdgeError(f"a halo of {halo} px on each side leaves nothing of a {tile} px tile")
        count = 1 if padded == tile else 1 + -(-(padded - tile) // step)
        axes.append(_axis(frame, padded, tile, count, step))
    return TileGrid(*axes)


def paper_grid(frame_hw: tuple[int, int], multiple: int, *, tile: int = 512) -> TileGrid:
    """The paper's grid (Section 4): crops of `tile` px spread evenly over the photo.

    Neighbours share at least 100 px where a crop is 512 px, and as large a part of other crops: a
    1440x1440 photo becomes 4x4 crops. A side no longer than a crop is not split.

    Raises:
        EdgeError: the frame is empty, or the tile is no multiple of `multiple`.
    """
    _check(frame_hw, 0)
    _check_tile(tile, multiple)
    border = tile * 100 // 512
    axes = []
    for frame in frame_hw:
        padded = _round_up(frame, multiple)
        side = min(tile, padded)
        count = 1 if padded == side else -(-(padded - border) // (tile - border))
        room = (padded - side) // multiple
        starts = tuple(round(i * room / max(count - 1, 1)) * multiple for i in range(count))
        axes.append(Axis(frame, padded, side, starts))
    return TileGrid(*axes)


def split(frame: NDArray[np.uint8], grid: TileGrid) -> NDArray[np.uint8]:
    """Tiles (N,h,w,C) of a frame (H,W,C), or (N,h,w) of a map (H,W).

    Raises:
        ValueError: the frame is not of the size the grid was made for.
    """
    if frame.shape[:2] != grid.frame_hw:
        raise ValueError(f"grid for {grid.frame_hw}, frame of {frame.shape[:2]}")
    below, right = (c - f for c, f in zip(grid.padded_hw, grid.frame_hw, strict=True))
    if below or right:
        frame = np.asarray(
            cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE), frame.dtype
        )
    height, width = grid.tile_hw
    tiles = np.empty((grid.count, height, width, *frame.shape[2:]), frame.dtype)
    for tile, (top, left) in zip(tiles, grid.origins(), strict=True):
        tile[...] = frame[top : top + height, left : left + width]
    return tiles


def stitch(tiles: NDArray[Any], grid: TileGrid) -> NDArray[Any]:
    """One map (H,W) of the frame's size from tile maps (N,1,h,w) of any dtype.

    Raises:
        ValueError: the tiles are not those of the grid.
    """
    if tiles.shape != (grid.count, 1, *grid.tile_hw):
        raise ValueError(f"grid of {grid.count} tiles {grid.tile_hw}, got {tiles.shape}")
    stitched = np.empty(grid.frame_hw, tiles.dtype)
    for tile, (top, left), ((y0, y1), (x0, x1)) in zip(
        tiles[:, 0], grid.origins(), grid.valid_regions(), strict=True
    ):
        stitched[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
    return stitched


def _check(frame_hw: tuple[int, int], halo: int) -> None:
    if min(frame_hw) < 1:
        raise EdgeError(f"a frame of {frame_hw[0]}x{frame_hw[1]} px holds no pixels")
    if halo < 0:
        raise EdgeError(f"a halo of {halo} px is negative")


def _check_tile(tile: int, multiple: int) -> None:
    if tile < 1 or tile % multiple:
        raise EdgeError(f"a tile of {tile} px is not a multiple of {multiple}")


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _overlap(multiple: int, halo: int) -> int:
    """Px that neighbouring tiles share: a halo each, and origins stay on the grid."""
    return _round_up(2 * halo, multiple)


def _axis(frame: int, padded: int, tile: int, count: int, step: int) -> Axis:
    return Axis(frame, padded, tile, tuple(min(i * step, padded - tile) for i in range(count)))


def _splits(frame: int, multiple: int, halo: int) -> Iterator[Axis]:
    """Every way to split one axis, one tile first, each with its smallest tile."""
    padded, overlap = _round_up(frame, multiple), _overlap(multiple, halo)
    yield _axis(frame, padded, padded, 1, padded)
    previous = padded
    for count in range(2, padded // multiple + 1):
        tile = _round_up(-(-(padded + (count - 1) * overlap) // count), multiple)
        if tile <= overlap or tile >= previous:
            break
        previous = tile
        yield _axis(frame, padded, tile, count, tile - overlap)
