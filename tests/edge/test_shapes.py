"""Sizes, outlines, colours and shape classes of particles."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from skimage.measure import find_contours, regionprops

from edge.cli import edge_run
from edge.colour import colour_name
from edge.particles import particle_pixels
from edge.shapes import measure_shapes

SUBPIXELS = 16


def regions(mask: NDArray[np.uint8]) -> list[object]:
    """The particles of a mask as scikit-image sees them, in our order."""
    labels = np.zeros(mask.shape, int)
    for number, place in enumerate(particle_pixels(mask), 1):
        labels[place] = number
    return regionprops(labels)


@pytest.fixture(scope="module")
def masks() -> list[NDArray[np.uint8]]:
    """Many of 1 to 10 px, 8-connected and ragged, and a few large with holes and dents."""
    rng = np.random.default_rng(29)
    small = np.where(rng.random((44, 44)) > 0.83, 255, 0).astype(np.uint8)
    noise = cv2.GaussianBlur(rng.random((70, 70)).astype(np.float32), (0, 0), 1.5)
    return [small, np.where(noise > 0.53, 255, 0).astype(np.uint8)]


def test_measures_equal_those_of_scikit_image(masks: list[NDArray[np.uint8]]) -> None:
    sizes = []
    for mask in masks:
        for shape, region in zip(measure_shapes(mask), regions(mask), strict=True):
            assert shape.feret_max_px == pytest.approx(region.feret_diameter_max, abs=1e-9)
            assert shape.perimeter_px == pytest.approx(region.perimeter, abs=1e-9)
            assert shape.solidity == pytest.approx(region.solidity, abs=1e-12)
            sizes.append(region.area)
    assert sum(3 <= area <= 10 for area in sizes) > 30
    assert max(sizes) > 100


def test_the_smallest_feret_diameter_is_the_narrowest_of_all_directions(
    masks: list[NDArray[np.uint8]],
) -> None:
    angles = np.radians(np.arange(0, 180, 0.1))
    directions = np.stack([np.cos(angles), np.sin(angles)])
    for mask in masks:
        pairs = list(zip(measure_shapes(mask), regions(mask), strict=True))
        for shape, region in pairs[::4]:
            outline = find_contours(np.pad(region.image_convex, 2), 0.5, fully_connected="high")
            narrowest = np.ptp(np.vstack(outline) @ directions, axis=0).min()
            assert narrowest - 0.05 < shape.feret_min_px < narrowest + 1e-9


def test_four_pixels() -> None:
    """What is left of definitions at this size."""
    mask = np.zeros((10, 20), np.uint8)
    mask[2:4, 2:4] = 255  # a square
    mask[6, 2:6] = 255  # a row
    mask[8, 10] = 255
    square, row, single = measure_shapes(mask)
    assert (square.feret_max_px, square.feret_min_px) == pytest.approx((math.sqrt(5), 2))
    assert (square.perimeter_px, square.circularity) == (4, 1)
    assert (row.feret_max_px, row.feret_min_px, row.aspect_ratio) == pytest.approx((4, 1, 4))
    assert (single.perimeter_px, single.circularity) == (0, None)
    assert {one.shape for one in (square, row, single)} == {"unclear"}
    assert all(one.record()["shape_certainty"] < 0.8 for one in (square, row, single))


def test_the_edge_of_the_frame_and_that_of_a_strip() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[0:3, 5:8] = mask[5:8, 9:12] = mask[9:11, 2:4] = 255
    assert [shape.touches_edge for shape in measure_shapes(mask)] == [True, True, False]
    strip = measure_shapes(mask, strip=True)
    assert [shape.touches_edge for shape in strip] == [False, True, False]


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((250, 250, 245), "white"), ((128, 128, 128), "grey"), ((20, 20, 25), "black"),
        ((220, 20, 30), "red"), ((255, 150, 10), "orange"), ((245, 230, 20), "yellow"),
        ((30, 140, 50), "green"), ((20, 60, 200), "blue"), ((60, 170, 220), "blue"),
        ((130, 30, 160), "purple"), ((255, 170, 190), "pink"), ((120, 70, 30), "brown"),
    ],
)  # fmt: skip
def test_colours_have_the_names_people_give_them(rgb: tuple[int, int, int], name: str) -> None:
    image = np.full((5, 5, 3), 90, np.uint8)
    mask = np.zeros((5, 5), np.uint8)
    image[1:4, 1:4], mask[1:4, 1:4] = rgb, 255
    (shape,) = measure_shapes(mask, image)
    assert shape.lab is not None
    assert colour_name(shape.lab) == shape.record()["colour"] == name


def test_lab_is_that_of_the_cie() -> None:
    image, mask = np.full((3, 3, 3), (255, 0, 0), np.uint8), np.full((3, 3), 255, np.uint8)
    (red,) = measure_shapes(mask, image)
    assert red.lab == pytest.approx((53.24, 80.09, 67.20), abs=0.1)


def outline(rng: np.random.Generator, name: str, length: float) -> NDArray[np.float64]:
    """Corners (N,2) of a pellet, fibre or fragment of that length, px, about the origin."""
    around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if name == "pellet":
        corners = np.stack([np.cos(around), np.sin(around) / rng.uniform(1, 1.15)], axis=1)
    elif name == "fibre":
        wide = 1 / rng.uniform(4, 12)
        corners = np.array([(-1, -wide), (1, -wide), (1, wide), (-1, wide)])
    else:  # half of an ellipse
        half = around[around <= np.pi]
        corners = np.stack([np.cos(half), np.sin(half) * rng.uniform(1.0, 1.3)], axis=1)
    span = corners[:, None] - corners
    corners = corners / np.hypot(span[..., 0], span[..., 1]).max() * length
    turn = rng.uniform(0, 2 * np.pi)
    turned = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return corners @ turned.T + rng.uniform(-0.5, 0.5, 2)


def rendered(corners: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The mask of the pixels that are covered by half at least."""
    side = int(np.ptp(corners, axis=0).max()) + 6
    fine = np.zeros((side * SUBPIXELS, side * SUBPIXELS), np.uint8)
    points = np.round((corners + side / 2) * SUBPIXELS).astype(np.int32)
    cv2.fillPoly(fine, [points], (255,))
    covered = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return np.where(covered >= 128, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(("length", "least_told"), [(4, 0), (8, 0.3), (20, 0.9)])
def test_a_class_that_is_told_is_right_as_often_as_it_says(
    length: float, least_told: float
) -> None:
    rng = np.random.default_rng(8)
    told = right = made = 0
    for name in ("pellet", "fibre", "fragment"):
        for _ in range(40):
            shapes = measure_shapes(rendered(outline(rng, name, length)))
            made += 1
            if shapes:
                largest = max(shapes, key=lambda shape: shape.feret_max_px)
                told += largest.shape != "unclear"
                right += largest.shape == name
    assert told >= least_told * made
    assert right >= 0.8 * told


def test_a_curled_fibre_is_a_fibre() -> None:
    mask = np.zeros((60, 60), np.uint8)
    cv2.ellipse(mask, (30, 30), (22, 18), 0, 0, 290, (255,), 2)
    (shape,) = measure_shapes(mask)
    assert shape.aspect_ratio < 1.5
    assert shape.shape == "fibre"


def test_a_run_writes_shapes(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--source", str(photo), "--engine", "quarter_mrunet", "--out", str(out),
             "--threshold", "0.2", "--mm-per-pixel", "0.05", "--shapes"]  # fmt: skip
    done = CliRunner().invoke(edge_run, words)
    assert done.exit_code == 0, done.output
    tables = [list(csv.DictReader((out / name).open())) for name in ("particles.csv", "shapes.csv")]
    assert len(tables[0]) > 3
    for particle, shape in zip(*tables, strict=True):
        assert particle["id"] == shape["id"]
        # No circle has a larger area than that of the largest Feret diameter, but for the corners.
        assert float(shape["feret_max_px"]) >= 0.9 * float(particle["diameter_px"])
        length_mm = float(shape["feret_max_px"]) * 0.05
        assert float(shape["feret_max_mm"]) == pytest.approx(length_mm, rel=1e-3)
        assert shape["colour"]
