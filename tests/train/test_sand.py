from pathlib import Path

import numpy as np
import pytest

from edge.errors import EdgeError
from tests.conftest import write_rgb
from train.data.camera import photograph
from train.data.sand import SandPhotos, rendered_sand


def photo(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(60, 200, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size_hw", [(128, 128), (40, 300), (400, 40), (500, 600)])
def test_a_view_has_the_size_asked_for_whatever_the_photos(size_hw: tuple[int, int]) -> None:
    sand = SandPhotos([photo(300, 400), photo(40, 64)])
    for seed in range(12):
        view = sand.view(np.random.default_rng(seed), *size_hw)
        assert view.shape == (*size_hw, 3)
        assert view.dtype == np.float32
        assert view.flags.c_contiguous
        assert 0 <= view.min() <= view.max() <= 1


def test_a_seed_is_a_view_and_a_photograph() -> None:
    sand = SandPhotos([photo(300, 400)])
    first, again = (sand.view(np.random.default_rng(4), 64, 64) for _ in range(2))
    assert np.array_equal(first, again)
    first_image, again_image, other = (
        photograph(np.random.default_rng(s), rendered_sand(np.random.default_rng(s), 50, 61))
        for s in (5, 5, 6)
    )
    assert first_image.shape == (50, 61, 3)
    assert np.array_equal(first_image, again_image)
    assert not np.array_equal(first_image, other)


def test_the_camera_moves_nothing() -> None:
    """A bright dot stays where it is, whatever lens, sensor and JPEG do: masks stay true."""
    for seed in range(40):
        canvas = np.full((41, 41, 3), 0.3, np.float32)
        canvas[18:23, 18:23] = 0.9
        seen = photograph(np.random.default_rng(seed), canvas).astype(float).mean(axis=2)
        weight = np.clip(seen - seen.min() - (np.ptp(seen)) / 2, 0, None)
        rows, columns = np.mgrid[:41, :41]
        centre = [(weight * axis).sum() / weight.sum() for axis in (rows, columns)]
        assert centre == pytest.approx([20, 20], abs=0.8)


def test_places_are_folders_or_globs(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_rgb(tmp_path / name, photo(64, 64))
    SandPhotos.read([str(tmp_path), str(tmp_path / "a*")])
    with pytest.raises(EdgeError, match=r"c\*: neither a folder with images nor a glob"):
        SandPhotos.read([str(tmp_path / "c*")])
