import numpy as np
import pytest

from train import paper
from train.metrics import (
    SCORES,
    Counts,
    ObjectCounts,
    ProbabilityHistogram,
    confidence_interval,
    object_counts,
)


def test_scores_by_hand() -> None:
    counts = Counts(tp=6, fp=2, fn=4, tn=0)
    precision, recall = 6 / 8, 6 / 10
    assert counts.precision() == precision
    assert counts.recall() == recall
    assert counts.f1() == pytest.approx(2 * precision * recall / (precision + recall))
    assert counts.iou() == 6 / 12
    assert counts.weighted_f1() == pytest.approx(counts.f1() * recall)
    assert counts.weighted_iou() == pytest.approx(0.5 * recall)


@pytest.mark.parametrize("key", paper.CASES)
def test_the_papers_averages_follow_from_its_cases(key: str) -> None:
    """Every score of Tables 1-3 from precision and recall alone, to the printed digits."""
    cases = [paper.counts(*case) for case in paper.CASES[key]]
    for score, printed in zip(SCORES.values(), paper.AVERAGES[key], strict=True):
        assert np.mean([score(case) for case in cases]) == pytest.approx(printed, abs=2e-4)


@pytest.mark.parametrize("counts", [Counts(0, 0, 0, 9), Counts(0, 5, 0, 9), Counts(0, 0, 5, 9)])
def test_nothing_right_scores_nothing(counts: Counts) -> None:
    assert set(counts.scores().values()) == {0.0}


def test_grey_levels_count_every_threshold_at_once() -> None:
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 256, (40, 40), np.uint8)
    target = rng.integers(0, 2, (40, 40), np.uint8)
    histogram = ProbabilityHistogram()
    histogram.add(probability[:20], target[:20])
    histogram.add(probability[20:], target[20:])
    for level in (0, 1, 100, 255):
        positive = probability >= level
        assert histogram.at(level) == Counts(
            tp=int((positive & (target == 1)).sum()),
            fp=int((positive & (target == 0)).sum()),
            fn=int((~positive & (target == 1)).sum()),
            tn=int((~positive & (target == 0)).sum()),
        )


def test_the_best_level_is_the_lowest_of_the_best() -> None:
    histogram = ProbabilityHistogram()
    histogram.add(np.array([10, 20, 200, 210], np.uint8), np.array([0, 0, 1, 1], np.uint8))
    assert histogram.best_threshold_u8() == 21


def test_objects_are_counted_by_overlap() -> None:
    truth, predicted = np.zeros((2, 10, 30), np.uint8)
    truth[1:3, 1:4] = truth[5, 5] = truth[8, 20:25] = 255
    predicted[2:5, 3:5] = 255  # on the first
    predicted[8, 20] = predicted[8, 23] = 255  # both on the third: it is found once
    predicted[0, 28] = 255  # on nothing
    assert object_counts(predicted, truth) == ObjectCounts(tp=2, fp=1, fn=1)


def test_a_tolerance_takes_in_what_lies_beside() -> None:
    truth, predicted = np.zeros((2, 20, 40), np.uint8)
    truth[5, 5] = truth[5, 25] = predicted[5, 8] = predicted[5, 29] = 255
    assert object_counts(predicted, truth, 0) == ObjectCounts(tp=0, fp=2, fn=2)
    assert object_counts(predicted, truth, 3) == ObjectCounts(tp=1, fp=1, fn=1)
    assert object_counts(predicted, truth, 4) == ObjectCounts(tp=2, fp=0, fn=0)


def test_what_reaches_a_doubtful_pixel_is_no_false_positive() -> None:
    truth, predicted = np.zeros((2, 20, 40), np.uint8)
    truth[5, 5] = 255
    predicted[10, 4:8] = predicted[15, 30] = 255
    doubtful = np.zeros_like(truth, np.bool_)
    doubtful[10, 7:20] = True
    assert object_counts(predicted, truth, 0, doubtful) == ObjectCounts(tp=0, fp=1, fn=1)
    assert object_counts(predicted, truth, 0) == ObjectCounts(tp=0, fp=2, fn=1)


def test_pixels_of_two_masks() -> None:
    predicted, truth = np.array([[0, 255, 255, 0]]), np.array([[0, 1, 0, 1]])
    assert Counts.of(predicted, truth) == Counts(tp=1, fp=1, fn=1, tn=1)
    assert Counts(1, 2, 3, 4) + Counts(1, 1, 1, 1) == Counts(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("counts", "constant"),
    [
        (Counts(0, 0, 3, 9), True),
        (Counts(3, 9, 0, 0), True),
        (Counts(0, 1, 3, 9), False),
        (Counts(2, 0, 0, 9), False),
    ],
)
def test_a_network_that_says_one_thing_only(counts: Counts, constant: bool) -> None:
    assert counts.constant is constant


def test_intervals_are_those_of_the_mean_where_it_is_known() -> None:
    """Recall of photos that are wholly found or wholly missed: a binomial fraction."""
    rng = np.random.default_rng(1)
    found = rng.random(400) < 0.7
    photos = [Counts(int(f), 0, int(not f), 0) for f in found]
    low, high = confidence_interval([photos], Counts.recall)
    half = 1.96 * np.sqrt(found.mean() * (1 - found.mean()) / 400)
    assert low == pytest.approx(found.mean() - half, abs=0.01)
    assert high == pytest.approx(found.mean() + half, abs=0.01)
    # Two folds alike: the average of both varies less, by the root of two.
    low2, high2 = confidence_interval([photos, photos], Counts.recall)
    assert (high2 - low2) / (high - low) == pytest.approx(np.sqrt(0.5), abs=0.06)
    assert confidence_interval([[photos[0]] * 5], Counts.recall) == (found[0], found[0])
