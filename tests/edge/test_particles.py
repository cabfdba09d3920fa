import numpy as np
import pytest

from edge.errors import BadArgumentError
from edge.particles import ParticleFilter, find_particles, particle_mask


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


def test_a_filter_takes_what_is_not_given_from_the_network() -> None:
    own = ParticleFilter(0.4, 3.0)
    assert ParticleFilter.of(own) == own  # type: ignore[arg-type]
    assert ParticleFilter.of(own, 0.5, 0, 9) == ParticleFilter(0.5, None, 9)  # type: ignore[arg-type]
    assert own.at(51) == ParticleFilter(0.2, 3.0)
    with pytest.raises(BadArgumentError, match="below the network's smallest, 3 px"):
        ParticleFilter.of(own, max_diameter_px=2)  # type: ignore[arg-type]


def test_the_level_itself_is_a_particle() -> None:
    probability = np.array([[99, 100, 101]], np.uint8)
    assert particle_mask(probability, 100).tolist() == [[0, 255, 255]]


@pytest.mark.parametrize(("fill", "count"), [(0, 0), (255, 1)])
def test_empty_and_full_maps(fill: int, count: int) -> None:
    probability = np.full((16, 16), fill, np.uint8)
    found = find_particles(probability, particle_mask(probability, 1))
    assert len(found) == count
    assert all(p.area_px == 256 for p in found)


def test_the_filter_takes_particles_out_of_the_mask() -> None:
    probability = np.zeros((20, 30), np.uint8)
    probability[2:4, 3:6] = 255  # 2.76 px in diameter
    probability[10, 20] = 200  # 1.13 px
    probability[12:18, 5:15] = 140  # 8.74 px

    def diameters(*bounds: float | None, threshold: float = 0.5) -> list[float]:
        mask = ParticleFilter(threshold, *bounds).mask(probability)
        found = find_particles(probability, mask)
        assert sum(p.area_px for p in found) == (mask > 0).sum()
        assert [p.id for p in found] == list(range(1, len(found) + 1))
        return [p.diameter_px for p in found]

    assert diameters() == [2.76, 1.13, 8.74]
    assert diameters(2.76) == [2.76, 8.74]  # the bounds are those of the records, and included
    assert diameters(2.77) == [8.74]
    assert diameters(None, 2.76) == [2.76, 1.13]
    assert diameters(1.2, 8.73) == [2.76]
    assert diameters(threshold=0.6) == [2.76, 1.13]
    assert diameters(9.0) == []
