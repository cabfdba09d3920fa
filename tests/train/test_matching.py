import numpy as np
import pytest

from edge.particles import ParticleFilter
from train.data.points import PointLabels
from train.matching import centroids, match_points
from train.metrics import ObjectCounts


def xy(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64).reshape(-1, 2)


def test_each_point_and_each_detection_counts_once() -> None:
    labels = PointLabels(xy((10, 10), (20, 10), (50, 50)), xy())
    # Two on the first point, one between the first two, none on the third, one on nothing.
    detections = xy((10, 11), (12, 10), (19, 12), (80, 80))
    assert match_points(detections, labels, 3) == ObjectCounts(tp=2, fp=2, fn=1)
    assert match_points(xy(), labels, 3) == ObjectCounts(tp=0, fp=0, fn=3)


def test_the_nearest_pair_is_matched_first() -> None:
    labels = PointLabels(xy((10, 10), (14, 10)), xy())
    # The first detection is within reach of both points, and nearest to the second.
    assert match_points(xy((12.5, 10), (8, 10)), labels, 3) == ObjectCounts(tp=2, fp=0, fn=0)


def test_the_tolerance_is_within() -> None:
    labels = PointLabels(xy((10, 10)), xy())
    assert match_points(xy((13, 10)), labels, 3).tp == 1
    assert match_points(xy((13.01, 10)), labels, 3).tp == 0
    assert match_points(xy((12.5, 12.5)), labels, 3).tp == 0  # 3.5 px, along the diagonal


def test_near_an_ignored_point_nothing_counts() -> None:
    labels = PointLabels(xy((10, 10)), xy((30, 30), (12, 10)))
    # On the point, and two on an ignored place; a point's own detection stays a true positive.
    detections = xy((11, 10), (30, 31), (29, 30), (40, 40))
    assert match_points(detections, labels, 3) == ObjectCounts(tp=1, fp=1, fn=0)


def test_detections_of_a_diameter() -> None:
    probability = np.zeros((20, 40), np.uint8)
    probability[5, 5] = 200  # 1.1 px
    probability[10:13, 10:13] = 200  # 3.4 px
    probability[2:12, 20:30] = 200  # 11.3 px
    every = ParticleFilter(0.5).at(200).mask(probability)
    assert centroids(every).tolist() == [[24.5, 6.5], [5, 5], [11, 11]]
    middle = ParticleFilter(0.5, 2, 8).at(100).mask(probability)
    assert centroids(middle).tolist() == [[11, 11]]
    assert set(np.unique(middle)) == {0, 255}
    assert not ParticleFilter(0.5, 2, 8).at(201).mask(probability).any()


@pytest.mark.parametrize("largest", [1.0, np.inf])
def test_limits_keep_the_background_out(largest: float) -> None:
    assert not ParticleFilter(0.5, 0.5, largest).mask(np.zeros((8, 8), np.uint8)).any()
