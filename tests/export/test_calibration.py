import numpy as np
import pytest

from export.calibration import BINS, Histogram


def of(*arrays: np.ndarray) -> Histogram:
    histogram = Histogram()
    for values in arrays:
        histogram.add(values)
    return histogram


def test_counts_do_not_depend_on_how_values_arrive() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=40_000).astype(np.float32)
    largest = np.abs(values).argmax()
    values[[0, largest]] = values[[largest, 0]]
    together, streamed = of(values), of(*np.array_split(values, 7))
    assert np.array_equal(together.counts, streamed.counts)
    assert together.counts.sum() == values.size


def test_growing_keeps_every_value_below_its_bin() -> None:
    grown = of(np.full(100, 1.0), np.full(10, 3.5), np.full(1, 900.0))
    assert grown.counts.sum() == 111
    assert grown.limit == 1024
    assert grown.minmax() == 900
    assert grown.percentile() <= 900
    # All but the largest lie in the bins of their values.
    assert grown.counts[: int(4 / grown.limit * BINS)].sum() == 110


def test_percentile_leaves_out_the_rare() -> None:
    values = np.concatenate([np.linspace(0, 1, 100_000), [50.0]])
    assert of(values).percentile() == pytest.approx(1, abs=0.03)


def test_entropy_clips_a_long_tail_and_no_uniform() -> None:
    rng = np.random.default_rng(0)
    uniform = of(rng.uniform(-1, 1, 100_000))
    assert uniform.entropy() == pytest.approx(1, abs=0.02)
    tailed = of(np.concatenate([rng.normal(size=100_000), [40.0]]))
    assert 2 < tailed.entropy() < 20


def test_a_dead_tensor_has_no_range() -> None:
    dead = of(np.zeros(100, np.float32))
    assert dead.minmax() == dead.percentile() == dead.entropy() == 0
