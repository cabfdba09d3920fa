from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import EdgeError
from edge.particles import find_particles
from train.data.camera import blurred
from train.data.plastic import BLUR_PX, LARGEST_PX, Plastic, read_cutouts, stands_out, visible
from train.data.shapes import Floats


def sand(level: float = 0.5, std: float = 0.02) -> Floats:
    noise = np.random.default_rng(0).normal(level, std, (300, 300, 3))
    return noise.astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_holds_what_was_drawn_and_no_more(seed: int) -> None:
    canvas, bare = sand(), sand()
    mask = Plastic().scatter(np.random.default_rng(seed), canvas, 30)
    assert mask.any()
    difference = np.abs(canvas - bare).max(axis=2)
    # What is clear or faded differs less, but all of the mask was drawn on.
    assert (difference[mask > 0] > 0.005).mean() > 0.98
    # Beyond the particles lie their shadows only, which darken.
    beyond = cv2.dilate(mask, np.ones((5, 5))) == 0
    assert (canvas - bare).max(axis=2)[beyond].max() < 0.8
    assert (difference[beyond] > 0.02).mean() < 0.02


def test_particles_are_specks() -> None:
    areas = []
    for seed in range(10):
        mask = Plastic().scatter(np.random.default_rng(seed), sand(), 12)
        areas += [particle.area_px for particle in find_particles(mask, mask)]
    low, high = np.percentile(2 * np.sqrt(np.array(areas) / np.pi), [5, 90])
    assert 1.5 <= low <= high <= LARGEST_PX


def test_a_white_particle_among_white_grains_is_not_drawn() -> None:
    white = np.full(3, 0.95, np.float32)
    assert stands_out(white, sand(0.6))
    glints = sand(0.2)
    glints[::4, ::4] = 0.9
    assert not stands_out(white, glints)
    assert not stands_out(white, sand(0.6, std=0.3))
    assert not stands_out(np.full(3, 0.62, np.float32), sand(0.6))


def test_every_particle_stands_out_even_clear_plastic_in_its_own_shadow() -> None:
    for seed in range(20):
        canvas = sand(std=0)
        mask = Plastic().scatter(np.random.default_rng(seed), canvas, 12, apart=True)
        seen = blurred(canvas, BLUR_PX)
        count, labels = cv2.connectedComponents(mask)
        for label in range(1, count):
            assert np.abs(seen[labels == label].mean(axis=0) - 0.5).max() > 0.05


def test_what_a_photo_does_not_show_is_no_particle() -> None:
    noise = np.random.default_rng(0).normal(0, 25, (60, 60, 3))
    photo = np.full((60, 60, 3), 120, np.uint8)
    mask = np.zeros((60, 60), np.uint8)
    for x, colour in ((12, 128), (30, 230)):  # faint, and bright
        cv2.circle(mask, (x, 30), 2, 255, -1)
        cv2.circle(photo, (x, 30), 2, (colour,) * 3, -1)
    assert np.array_equal(visible(mask, photo), mask)
    photo = np.clip(photo + noise, 0, 255).astype(np.uint8)
    left = visible(mask, photo)
    assert not left[:, :20].any()
    assert np.array_equal(left[:, 20:], mask[:, 20:])


def test_cut_outs_are_whole_objects(tmp_path: Path) -> None:
    image = np.full((80, 80, 3), 90, np.uint8)
    mask = np.zeros((80, 80), np.uint8)
    for centre in ((40, 40), (0, 60)):  # the second is cut by the edge
        cv2.circle(mask, centre, 10, 255, -1)
    image[mask > 0] = (200, 60, 20)
    for folder, picture in (("images", image), ("masks", mask)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "bead.png"), picture)
    (cutout,) = read_cutouts(tmp_path)
    assert cutout.alpha.shape == cutout.colour.shape[:2] == (23, 23)
    assert cutout.alpha[11, 11] == pytest.approx(1)
    assert cutout.colour[11, 11] * 255 == pytest.approx([20, 60, 200])  # RGB
    with pytest.raises(EdgeError, match="has no photos in images/"):
        read_cutouts(tmp_path / "masks")
