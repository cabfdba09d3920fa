import numpy as np
import pytest

from edge.particles import find_particles, particle_mask


def test_measures_of_two_particles() -> None:
    probability = np.zeros((20, 30), np.uint8)
    probability[2:4, 3:6] = 255
    probability[10, 20] = probability[11, 21] = 200  # touch at a corner: one particle
    probability[15, 5] = 127
    mask = particle_mask(probability, 128)
    assert set(np.unique(mask)) == {0, 255}
    first, second = find_particles(probability, mask)
    assert (first.id, first.x, first.y, first.area_px) == (1, 4.0, 2.5, 6)
    assert first.diameter_px == pytest.approx(2 * np.sqrt(6 / np.pi), abs=0.01)
    assert first.mean_probability == 1.0
    assert (second.x, second.y, second.area_px) == (20.5, 10.5, 2)
    assert second.mean_probability == pytest.approx(200 / 255, abs=1e-4)


def test_the_level_itself_is_a_particle() -> None:
    probability = np.array([[99, 100, 101]], np.uint8)
    assert particle_mask(probability, 100).tolist() == [[0, 255, 255]]


@pytest.mark.parametrize(("fill", "count"), [(0, 0), (255, 1)])
def test_empty_and_full_maps(fill: int, count: int) -> None:
    probability = np.full((16, 16), fill, np.uint8)
    found = find_particles(probability, particle_mask(probability, 1))
    assert len(found) == count
    assert all(p.area_px == 256 for p in found)
