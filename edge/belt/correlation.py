"""The shift between two pictures, by phase correlation.

Every frequency of the cross-power spectrum counts by its phase alone, so brightness and contrast do
not matter. Weights leave out what is not texture: the lowest frequencies, which are light and
shadow, and the highest, which are noise. `cv2.phaseCorrelate` has no weights, and with noise of a
camera its peak drowns earlier.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# Cycles per pixel: the standard deviations of the Gaussian low-pass and of the high-pass.
LOW_PASS, HIGH_PASS = 0.14, 0.012
# Standard deviations of the correlation of unrelated pictures above which a peak is one. Of a
# picture of 256x512 px the highest of all its values is at about 6.
MIN_QUALITY = 11.0


@dataclass(frozen=True)
class Match:
    """Of two pictures.

    Attributes:
        dy, dx: how far the content moved down and to the right, px.
        quality: height of the peak, in standard deviations of the correlation of unrelated
            pictures.
    """

    dy: float
    dx: float
    quality: float

    @property
    def found(self) -> bool:
        """Whether the peak is one."""
        return self.quality >= MIN_QUALITY


def spectrum(window: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.complex64]:
    """Of a picture (H,W), grey, for `correlate`."""
    values = window.astype(np.float32)
    values -= values.mean()
    values *= _hanning(window.shape)
    return np.fft.rfft2(values).astype(np.complex64, copy=False)


def correlate(
    before: NDArray[np.complex64], after: NDArray[np.complex64], size_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], Match]:
    """The correlation (H,W) of two pictures of that size by their spectra, and its peak."""
    weights, deviation = _weights(size_hw)
    cross = after * before.conj()
    cross *= weights / np.maximum(np.abs(cross), 1e-6)
    surface = np.fft.irfft2(cross, s=size_hw).astype(np.float32, copy=False)
    surface /= deviation
    return surface, peak(surface)


def contrast(of: NDArray[np.complex64], size_hw: tuple[int, int]) -> float:
    """Of the texture of a picture of that size, by its spectrum, in arbitrary units."""
    return float(np.linalg.norm(of * _weights(size_hw)[0])) / math.sqrt(math.prod(size_hw))


def peak(surface: NDArray[np.float32]) -> Match:
    """The highest place of a correlation; a shift is found from minus to plus half its size."""
    height, width = surface.shape
    row, column = divmod(int(surface.argmax()), width)
    around = surface[np.ix_([(row + i) % height for i in (-1, 0, 1)],
                            [(column + i) % width for i in (-1, 0, 1)])]  # fmt: skip
    dy = row + _vertex(*around[:, 1])
    dx = column + _vertex(*around[1])
    return Match(
        dy - height if row > height // 2 else dy,
        dx - width if column > width // 2 else dx,
        float(surface[row, column]),
    )


def _vertex(before: float, at: float, after: float) -> float:
    """Where a Gaussian through three values has its top, from -0.5 to 0.5."""
    low = max(at, 1e-6) * 1e-3
    left, middle, right = (float(np.log(max(value, low))) for value in (before, at, after))
    curvature = left - 2 * middle + right
    return 0.0 if curvature >= 0 else max(-0.5, min(0.5, 0.5 * (left - right) / curvature))


@functools.lru_cache(maxsize=8)
def _hanning(size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow(size_hw[::-1], cv2.CV_32F), np.float32)


@functools.lru_cache(maxsize=8)
def _weights(size_hw: tuple[int, int]) -> tuple[NDArray[np.float32], float]:
    """Of each frequency, and the standard deviation that random phases give with them."""
    height, width = size_hw
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    squared = y**2 + x**2
    weights = np.exp(-squared / (2 * LOW_PASS**2)) * (1 - np.exp(-squared / (2 * HIGH_PASS**2)))
    # All columns but the first, and the last of an even width, stand for two of the whole spectrum.
    twice = np.full(weights.shape[1], 2.0)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    deviation = np.sqrt((weights**2 * twice).sum()) / (height * width)
    return weights.astype(np.float32), float(deviation)
