import numpy as np
import pytest

from train.data.blobs import with_mask
from train.data.points import PointLabels, PointSample
from train.data.samples import IGNORED


def photo(*points: tuple[float, float], ignored: tuple[float, float] | None = None) -> PointSample:
    """Sand-like noise with a bright 6x5 px particle at (20..25, 30..34) and a dark 4x4 px one."""
    image = np.random.default_rng(0).integers(100, 131, (60, 80, 3), np.uint8)
    image[30:35, 20:26] = (240, 235, 240)
    image[10:14, 60:64] = (20, 40, 90)
    labels = PointLabels.of(points, [ignored] if ignored else [])
    return PointSample("a.png", image, labels)


def test_a_blob_is_the_particle_around_the_point() -> None:
    mask = with_mask(photo((21, 33), (62.4, 11))).mask  # neither clicked in the middle
    expected = np.zeros((60, 80), np.uint8)
    expected[30:35, 20:26] = expected[10:14, 60:64] = 1
    assert np.array_equal(mask, expected)


def test_a_blob_stays_within_its_disc() -> None:
    large = photo((40, 30))
    large.image[20:41, 30:51] = 240
    mask = with_mask(large).mask
    rows, columns = np.nonzero(mask)
    assert np.hypot(rows - 30, columns - 40).max() <= 6


@pytest.mark.parametrize(("diameter", "area"), [(1, 1), (3, 9), (5, 21)])
def test_a_disc_of_a_diameter(diameter: float, area: int) -> None:
    assert with_mask(photo((40, 30)), diameter + 0.01).mask.sum() == area
    assert with_mask(photo((0, 0), (79, 59)), diameter).mask[[0, -1], [0, -1]].tolist() == [1, 1]


def test_ignored_places_are_marked_and_particles_stay() -> None:
    mask = with_mask(photo((22.5, 32), ignored=(27, 32))).mask
    assert (mask[30:35, 20:26] == 1).all()
    assert mask[32, 27] == mask[32, 33] == IGNORED
    assert mask[32, 34] == 0
