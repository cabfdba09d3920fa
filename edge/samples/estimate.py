"""Means of repeats and their intervals, by simulation from a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.samples.accuracy import Score

DRAWS, SEED = 20_000, 7030
# Repeats that differ by more than chance are not taken as Poisson, but by their deviations.
SIGNIFICANT = 0.05
# No network is worth a correction by more.
MIN_SCORE = 0.02

Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats.

    Attributes:
        mean: of the repeats.
        sd: standard deviation of the repeats; None of one repeat.
        low, high: 95% interval of the mean.
    """

    mean: float
    sd: float | None
    low: float
    high: float


class Estimator:
    """Draws what the true means may be; the same in each report of the same numbers."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)

    def mean_count(self, counts: Sequence[int], amounts: Sequence[float] | None = None) -> Draws:
        """Of the particles in a repeat of mean amount.

        Counts are Poisson (Jeffreys' prior, so that none found does not mean none there), or, where
        the repeats differ by more than that, normal with Student's t.

        Args:
            amounts: of the repeats, in any unit; equal unless given.
        """
        size = np.ones(len(counts)) if amounts is None else np.asarray(amounts) / np.mean(amounts)
        total, n = sum(counts), len(counts)
        expected = size * total / size.sum()
        if n > 1 and total:
            excess = float(((np.asarray(counts) - expected) ** 2 / expected).sum())
            if (self._random.chisquare(n - 1, DRAWS) >= excess).mean() < SIGNIFICANT:
                values = np.asarray(counts) / size
                error = values.std(ddof=1) / math.sqrt(n)
                student: Draws = self._random.standard_t(n - 1, DRAWS)
                return np.asarray(np.maximum(values.mean() + error * student, 0))
        return self._random.gamma(total + 0.5, 1 / size.sum(), DRAWS)

    def score(self, score: Score) -> Draws:
        """Normal of that interval, within what a fraction can be."""
        error = (score.high - score.low) / (2 * 1.96)
        return np.clip(self._random.normal(score.value, error, DRAWS), MIN_SCORE, 1)


def estimate(values: Sequence[float], draws: Draws) -> Estimate:
    """The mean and standard deviation of repeats; the interval of draws always holds the mean."""
    mean, (low, high) = float(np.mean(values)), np.quantile(draws, (0.025, 0.975))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Estimate(mean, sd, min(float(low), mean), max(float(high), mean))


def detection_limit(blank_counts: Sequence[int]) -> float:
    """Particles in a repeat from which on a sample differs from its blanks (L. A. Currie 1968, for
    Poisson counts): 2.71 + 3.29 sqrt(B (1 + 1/n)), with B the mean of n blanks."""
    blank = float(np.mean(blank_counts))
    return 2.71 + 3.29 * math.sqrt(blank * (1 + 1 / len(blank_counts)))
