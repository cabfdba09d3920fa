"""Ranges of activations, measured on photos: one histogram a tensor, however many photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph import ActivationHook

BINS = 2048
LEVELS = 128
# Percentage of the values within the percentile range.
PERCENTILE = 99.99
# Limits that the entropy method tries, in bins apart: finer ones change nothing.
STRIDE = 16


class Histogram:
    """Magnitudes of a tensor's values in `BINS` bins from 0 to `limit`, which doubles as needed."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.largest = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Count the values of an array of any shape."""
        magnitudes = np.abs(values).ravel()
        largest = float(magnitudes.max())
        self.largest = max(self.largest, largest)
        if not self.limit:
            self.limit = largest
        while largest > self.limit:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([pairs, np.zeros(BINS - len(pairs), np.int64)])
            self.limit *= 2
        if self.limit:
            self.counts += np.histogram(magnitudes, BINS, (0, self.limit))[0]

    def minmax(self) -> float:
        """The largest magnitude."""
        return self.largest

    def percentile(self) -> float:
        """The magnitude that `PERCENTILE` % of the values do not exceed."""
        below = np.cumsum(self.counts)
        bins = int(np.searchsorted(below, below[-1] * PERCENTILE / 100)) + 1
        return self._upto(bins)

    def entropy(self) -> float:
        """The limit whose `LEVELS` steps lose the least information (Kullback-Leibler).

        Migacz, 8-bit inference with TensorRT, GTC 2017.
        """
        used = int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 0
        candidates = [*range(LEVELS, used, STRIDE), used]
        return self._upto(min(candidates, key=self._divergence))

    def _upto(self, bins: int) -> float:
        return min(self.largest, bins * self.limit / BINS)

    def _divergence(self, bins: int) -> float:
        """Of the values clipped to the first `bins` bins from these in `LEVELS` equal steps."""
        if not bins:
            return 0.0
        inside = self.counts[:bins].astype(np.float64)
        # The zeros that ReLU makes lose nothing in any step, and would outweigh all the rest.
        inside[0] = inside[1]
        clipped = inside.copy()
        clipped[-1] += self.counts[bins:].sum()
        edges = np.linspace(0, bins, LEVELS + 1).astype(int)
        steps = np.repeat(np.arange(LEVELS), np.diff(edges))
        occupied = inside > 0
        # What a step holds is spread evenly over those of its bins that hold anything.
        totals = np.bincount(steps, inside, LEVELS)
        bins_used = np.maximum(np.bincount(steps, occupied, LEVELS), 1)
        spread = np.where(occupied, (totals / bins_used)[steps], 0)
        p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1)
        where = p > 0
        return float(np.sum(p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))))


METHODS: dict[str, Callable[[Histogram], float]] = {
    "minmax": Histogram.minmax,
    "percentile": Histogram.percentile,
    "entropy": Histogram.entropy,
}


def histograms(
    model: onnx.ModelProto, tensors: Sequence[str], images: Iterable[NDArray[np.uint8]]
) -> dict[str, Histogram]:
    """Of each of `tensors` of a float32 graph, over images uint8 (H,W,3), one at a time."""
    hook = ActivationHook(model, tensors)
    found = {name: Histogram() for name in tensors}
    for image in images:
        for name, values in hook.run(image[None]).items():
            found[name].add(values)
    return found
