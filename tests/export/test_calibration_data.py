from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import EdgeError
from export.calibration_data import CROPS, SIDE, from_folder, padded, rendered
from tests.conftest import write_rgb
from train.data.synth import composited, scene


def photos(folder: Path, count: int, side: int = 300) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(count):
        write_rgb(folder / f"{index}.png", scene(rng, side, side, particles=0).image)
    return folder


def test_no_photo_is_on_both_sides(rendered_data: Path) -> None:
    found = from_folder(rendered_data, 4)
    sides = [{crop.name for crop in kind} for kind in (found.calibration, found.held_out)]
    assert not sides[0] & sides[1]
    assert [len(found.calibration), len(found.held_out)] == [CROPS, CROPS]
    assert all(crop.image.shape == (64, 64, 3) for crop in found.calibration)


def test_crops_lie_around_particles(tmp_path: Path) -> None:
    """Two in a photo of 16 crops' size: hardly ever in a crop at random."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    mask = np.zeros((4 * SIDE, 4 * SIDE), np.uint8)
    mask[5, 900] = mask[700, 80] = 255
    for index in range(2):
        write_rgb(tmp_path / "images" / f"{index}.png", np.stack([mask] * 3, axis=2))
        cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), mask)
    crops = from_folder(tmp_path, 4).held_out
    assert all(crop.image.shape == (SIDE, SIDE, 3) and crop.mask.sum() == 1 for crop in crops)
    assert all((crop.image[..., 0] == 255 * crop.mask).all() for crop in crops)
    assert len({crop.mask.argmax() for crop in crops}) > 1


def test_photos_without_masks_get_rendered_particles(tmp_path: Path) -> None:
    found = from_folder(photos(tmp_path / "belt", 3), 16)
    assert "rendered" in found.label_source
    assert all(crop.mask.any() for crop in found.held_out)
    assert not any(crop.mask.any() for crop in found.calibration)
    assert all(crop.image.shape == (SIDE, SIDE, 3) for crop in found.held_out)


def test_rendered_scenes_where_there_are_no_photos() -> None:
    found = rendered()
    assert not found.calibration
    assert sum(crop.mask.any() for crop in found.held_out) == CROPS


def test_only_what_was_rendered_changes_a_photo() -> None:
    rng = np.random.default_rng(2)
    photo = scene(rng, 120, 160, particles=0).image
    made = composited(rng, photo, particles=10)
    changed = (made.image != photo).any(axis=2)
    assert 5 < (made.mask > 0).sum() < 1000
    # Particles, their shadows and a soft edge; the rest of the photo is untouched.
    assert (changed & (made.mask > 0)).sum() > 0.9 * (made.mask > 0).sum()
    assert changed.mean() < 0.2


def test_broken_photos_are_left_out_and_named(tmp_path: Path) -> None:
    folder = photos(tmp_path / "belt", 3)
    for name in ("broken.png", "empty.jpg"):
        (folder / name).write_bytes(b"no image" if name == "broken.png" else b"")
    found = from_folder(folder, 4)
    assert len(found.skipped) == 2
    assert all("not a readable image" in sentence for sentence in found.skipped)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds 0 readable photo"),
        ({"a.png": b"no image", "b.png": b"nor this"}, "a.png: not a readable image"),
    ],
)
def test_folders_without_photos(files, words, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgeError, match=words):
        from_folder(tmp_path, 4)


def test_photos_smaller_than_the_network_takes(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="too small"):
        from_folder(photos(tmp_path / "belt", 2, side=20), 32)


def test_crops_are_made_as_large_as_tiles() -> None:
    crop = rendered().held_out[0]
    larger = padded(crop, (300, 200))
    assert larger.image.shape == (300, 200, 3)
    assert larger.mask.shape == (300, 200)
    assert (larger.image[:SIDE, :200] == crop.image[:, :200]).all()
    assert (larger.image[SIDE:] == crop.image[-1:, :200]).all()
    assert not larger.mask[SIDE:].any()
