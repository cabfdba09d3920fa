import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.tiling import Axis, TileGrid, fixed_tile_grid, paper_grid, split, stitch, tile_grid

FRAME = (1440, 1440)
sizes = st.integers(1, 700)


def check(grid: TileGrid, multiple: int, halo: int) -> None:
    for axis in (grid.rows, grid.columns):
        check_axis(axis, multiple, halo)


def check_axis(axis: Axis, multiple: int, halo: int) -> None:
    assert axis.padded >= axis.frame
    assert not axis.padded % multiple
    assert not axis.tile % multiple
    assert all(not start % multiple for start in axis.starts)
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.tile == axis.padded
    # They cover the frame once, each within its tile and beyond the halo of its inner edges.
    assert axis.valid_spans[0][0] == 0
    assert axis.valid_spans[-1][1] == axis.frame
    for before, after in zip(axis.valid_spans, axis.valid_spans[1:], strict=False):
        assert before[1] == after[0]
    for i, (start, (begin, end)) in enumerate(zip(axis.starts, axis.valid_spans, strict=True)):
        assert begin <= end
        if i > 0 and begin < end:
            assert begin - start >= halo
        if i < len(axis.starts) - 1 and begin < end:
            assert start + axis.tile - end >= halo


@given(sizes, sizes, st.sampled_from([1, 2, 4, 16]), st.integers(0, 60))
def test_grids_keep_their_promises(height: int, width: int, multiple: int, halo: int) -> None:
    grid = tile_grid((height, width), multiple=multiple, halo=halo, max_tile_pixels=200 * 200)
    check(grid, multiple, halo)
    assert grid.tile_hw[0] * grid.tile_hw[1] <= 200 * 200


@given(sizes, sizes, st.sampled_from([1, 2, 4, 16]), st.integers(0, 40))
def test_fixed_grids_keep_their_promises(height: int, width: int, multiple: int, halo: int) -> None:
    check(
        fixed_tile_grid((height, width), (128, 112), multiple=multiple, halo=halo), multiple, halo
    )


@given(sizes, sizes)
def test_stitching_what_was_cut_gives_the_frame_back(height: int, width: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    grid = tile_grid((height, width), multiple=4, halo=9, max_tile_pixels=80 * 80)
    assert np.array_equal(stitch(split(frame, grid)[:, None], grid), frame)


def test_a_frame_of_half_mrunet_computes_at_most_2_6_megapixels() -> None:
    grid = tile_grid(FRAME, multiple=4, halo=35)
    assert grid.pixels <= 2.6e6
    assert paper_grid(FRAME, 4).pixels == 16 * 512 * 512


def test_no_other_split_within_the_limit_computes_fewer_pixels() -> None:
    grid = tile_grid((500, 900), multiple=4, halo=10, max_tile_pixels=300 * 300)
    others = (
        fixed_tile_grid((500, 900), (h, w), multiple=4, halo=10).pixels
        for h in range(24, 504, 4)
        for w in range(24, 904, 4)
        if h * w <= 300 * 300
    )
    assert grid.pixels == min(others)


def test_the_papers_grid_is_16_crops_of_512_with_100_px_borders() -> None:
    grid = paper_grid(FRAME, 16)
    check(grid, 16, 90)
    assert grid.count == 16
    assert grid.tile_hw == (512, 512)
    overlaps = [a + 512 - b for a, b in zip(grid.rows.starts, grid.rows.starts[1:], strict=False)]
    assert all(abs(overlap - 200) <= 16 for overlap in overlaps)
    assert paper_grid((300, 200), 4).count == 1


@given(sizes, sizes, st.sampled_from([32, 64, 512]))
def test_the_papers_grid_covers_photos_of_any_size(height: int, width: int, tile: int) -> None:
    grid = paper_grid((height, width), 4, tile=tile)
    # Neighbours share the border's part of a crop; half of it is the halo, less the rounding.
    check(grid, 4, max(0, tile * 50 // 512 - 4))
    assert max(grid.tile_hw) <= tile


def test_cut_repeats_the_last_pixels_of_an_odd_frame() -> None:
    frame = np.arange(15, dtype=np.uint8).reshape(3, 5)
    tile = split(frame, tile_grid((3, 5), multiple=4, halo=0))[0]
    assert tile.shape == (4, 8)
    assert np.array_equal(tile[3], tile[2])
    assert np.array_equal(tile[:3, 5:], np.repeat(frame[:, 4:], 3, axis=1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tile_grid((0, 5), multiple=4, halo=1), "holds no pixels"),
        (lambda: tile_grid((900, 900), multiple=4, halo=200, max_tile_pixels=9000), "allow larger"),
        (lambda: tile_grid((9, 9), multiple=4, halo=-1), "negative"),
        (lambda: fixed_tile_grid((900, 900), (66, 64), multiple=4, halo=1), "not a multiple of 4"),
        (lambda: fixed_tile_grid((900, 900), (64, 64), multiple=4, halo=40), "leaves nothing"),
        (lambda: paper_grid((900, 900), 16, tile=100), "not a multiple of 16"),
    ],
)
def test_impossible_grids_say_why(call, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EdgeError, match=words):
        call()


def test_wrong_shapes_are_refused() -> None:
    grid = tile_grid((64, 64), multiple=4, halo=2)
    with pytest.raises(ValueError, match="grid for"):
        split(np.zeros((60, 64, 3), np.uint8), grid)
    with pytest.raises(ValueError, match="tiles"):
        stitch(np.zeros((2, 1, 64, 64), np.uint8), grid)
