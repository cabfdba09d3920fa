import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sampling import MIN_RUNS, Samples, interleaved


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Of tables of the binomial with one half.
    [(6, 1, 6), (9, 2, 8), (12, 3, 10), (20, 6, 15), (50, 18, 33), (100, 40, 61)],
)
def test_interval_by_order_statistics(count: int, low: int, high: int) -> None:
    times = [float(i) for i in range(1, count + 1)]
    random.Random(0).shuffle(times)
    assert Samples(tuple(times)).interval == (low, high)


def test_fewer_than_six_runs_have_no_interval() -> None:
    assert Samples((1.0,) * 5).interval is None
    assert not Samples((1.0,) * 5).precise
    assert Samples((1.0,) * 6).precise


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(1000):
        low, high = Samples(tuple(rng.random() for _ in range(15))).interval or (1, 0)
        hits += low <= 0.5 <= high
    assert 940 <= hits <= 990  # 96.5% for 15


@given(st.lists(st.floats(1e-6, 1e3), min_size=6, max_size=60))
def test_the_median_lies_within_its_interval(times: list[float]) -> None:
    samples = Samples(tuple(times))
    assert samples.interval
    low, high = samples.interval
    assert low <= samples.median <= high


def test_runs_are_interleaved_and_end_when_precise() -> None:
    order: list[str] = []

    def steady() -> None:
        order.append("steady")
        time.sleep(0.02)

    def shaky() -> None:
        order.append("shaky")
        time.sleep(0.005 if order.count("shaky") % 2 else 0.03)

    samples = interleaved({"steady": steady, "shaky": shaky}, limit_s=0.4)
    measured = order[-(len(samples["steady"].seconds) + len(samples["shaky"].seconds)) :]
    assert measured[:6] == ["steady", "shaky"] * 3
    # Loose, as the machine may be busy: the steady one ends no later.
    assert 6 <= len(samples["steady"].seconds) <= len(samples["shaky"].seconds)
    assert 0.015 < samples["steady"].median < 0.1
    assert sum(samples["shaky"].seconds) >= 0.4


def test_a_slow_task_ends_at_its_limit_but_runs_often_enough() -> None:
    calls = []
    samples = interleaved({"slow": lambda: (calls.append(0), time.sleep(0.05))}, limit_s=0.06)
    assert len(samples["slow"].seconds) == MIN_RUNS
    assert len(calls) == MIN_RUNS + 2  # two to warm up: the second was no faster


def test_a_very_slow_task_runs_once() -> None:
    samples = interleaved({"slow": lambda: time.sleep(0.02)}, limit_s=0.005)
    assert len(samples["slow"].seconds) == 1


def test_what_ran_before_is_not_warmed_up_again() -> None:
    calls = []
    warm = {"slow": 0.1}
    interleaved({"slow": lambda: (calls.append(0), time.sleep(0.1))}, 0.06, warm=warm)
    assert len(calls) == MIN_RUNS - 1  # more would take three times the limit


def test_warming_up_lasts_until_runs_get_no_faster() -> None:
    times = iter([0.08, 0.04, 0.02, 0.02] + [0.02] * 100)
    calls = []
    samples = interleaved({"": lambda: (calls.append(0), time.sleep(next(times)))}, limit_s=0.15)
    assert len(calls) - len(samples[""].seconds) >= 3
    assert max(samples[""].seconds) < 0.07


def test_as_json_is_in_milliseconds() -> None:
    content = Samples(tuple(i / 1e3 for i in range(1, 101))).as_json()
    assert content["p50"] == pytest.approx(50.5)
    assert content["p90"] == pytest.approx(90.1)
    assert content["p99"] == pytest.approx(99.01)
    assert content["interval"] == [40, 61]
    assert content["runs"][:2] == [1, 2]
