"""The size histogram of the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Bins of 1 px; the last also holds what is larger.
BINS = 40


def size_histogram(diameters_px: Sequence[float]) -> NDArray[np.int64]:
    """Numbers of particles (BINS,) int64 by diameter: from 0 up to 1 px, from 1 up to 2 px, ..."""
    bins = np.minimum(np.asarray(diameters_px, float), BINS - 1).astype(int)
    return np.bincount(bins, minlength=BINS)
