import cv2
import numpy as np
import pytest

from bench.filters import FILTERS, Filter
from edge.particles import find_particles, particle_mask

CENTRES = ((30, 40), (70, 25), (90, 100), (35, 95))


def spots(colour: tuple[int, int, int]) -> np.ndarray:
    """Four discs of 7 px on an uneven background of 120x130 px."""
    ramp = np.linspace(60, 120, 130)[None, :, None]
    image = np.asarray(np.broadcast_to(ramp, (120, 130, 3)), np.uint8).copy()
    for y, x in CENTRES:
        cv2.circle(image, (x, y), 3, colour, -1)
    return image


WHITE, BLACK, BLUE = (250, 250, 250), (0, 0, 0), (70, 70, 250)


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        ("top-hat", WHITE),
        ("LoG", WHITE),
        ("LoG, either sign", BLACK),
        ("colour distance", BLACK),
        ("top-hat of colour", BLUE),
    ],
)
def test_filters_find_spots_and_nothing_else(kind: str, colour: tuple[int, int, int]) -> None:
    one = Filter(kind, 7)
    assert one in FILTERS
    response = one(spots(colour))
    found = find_particles(response, particle_mask(response, int(response.max()) // 2))
    assert sorted((round(p.y), round(p.x)) for p in found) == sorted(CENTRES)


@pytest.mark.parametrize("one", FILTERS, ids=lambda one: one.name)
def test_the_margin_is_all_that_a_filter_looks_at(one: Filter) -> None:
    image = np.random.default_rng(2).integers(0, 256, (400, 400, 3), np.uint8)
    near = 200 - one.margin, 201 + one.margin
    alone = one(np.ascontiguousarray(image[slice(*near), slice(*near)]))
    assert alone[one.margin, one.margin] == one(image)[200, 200]
