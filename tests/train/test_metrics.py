import numpy as np
import pytest

from train.metrics import Counts, GreyLevels, ObjectCounts, object_counts


def test_scores_by_hand() -> None:
    counts = Counts(tp=6, fp=2, fn=4)
    precision, recall = 6 / 8, 6 / 10
    assert counts.precision() == precision
    assert counts.recall() == recall
    assert counts.f1() == pytest.approx(2 * precision * recall / (precision + recall))
    assert counts.iou() == 6 / 12
    assert counts.weighted_f1() == pytest.approx(counts.f1() * recall)
    assert counts.weighted_iou() == pytest.approx(0.5 * recall)


# Table 1-3, case 1 of Half MultiResUNet: everything follows from precision and recall.
def test_the_papers_numbers_follow_from_precision_and_recall() -> None:
    precision, recall = 0.2899, 0.9180
    tp = 10_000_000
    counts = Counts(tp, round(tp / precision) - tp, round(tp / recall) - tp)
    assert counts.f1() == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)
    assert counts.iou() == pytest.approx(
        precision * recall / (precision + recall - precision * recall), abs=1e-6
    )


@pytest.mark.parametrize("counts", [Counts(0, 0, 0), Counts(0, 5, 0), Counts(0, 0, 5)])
def test_nothing_right_scores_nothing(counts: Counts) -> None:
    assert set(counts.scores().values()) == {0.0}


def test_grey_levels_count_every_threshold_at_once() -> None:
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 256, (40, 40), np.uint8)
    target = rng.integers(0, 2, (40, 40), np.uint8)
    levels = GreyLevels()
    levels.add(probability[:20], target[:20])
    levels.add(probability[20:], target[20:])
    for level in (0, 1, 100, 255):
        positive = probability >= level
        assert levels.at(level) == Counts(
            tp=int((positive & (target == 1)).sum()),
            fp=int((positive & (target == 0)).sum()),
            fn=int((~positive & (target == 1)).sum()),
        )


def test_the_best_level_is_the_lowest_of_the_best() -> None:
    levels = GreyLevels()
    levels.add(np.array([10, 20, 200, 210], np.uint8), np.array([0, 0, 1, 1], np.uint8))
    assert levels.best_level() == 21


def test_objects_are_counted_by_overlap() -> None:
    truth, predicted = np.zeros((2, 10, 30), np.uint8)
    truth[1:3, 1:4] = truth[5, 5] = truth[8, 20:25] = 255
    predicted[2:5, 3:5] = 255  # on the first
    predicted[8, 20] = predicted[8, 23] = 255  # both on the third: it is found once
    predicted[0, 28] = 255  # on nothing
    assert object_counts(predicted, truth) == ObjectCounts(found=2, missed=1, false=1)
