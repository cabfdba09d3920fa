"""Photos that show the same, by a perceptual hash of 255 bits.

It is pHash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010): the
signs of the low frequencies of a small grey copy, against their median. With 16 x 16 frequencies in
place of 8 x 8, because photos of one set-up share their lowest ones: those of the light.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, KEPT = 32, 16
# Of the median deviation from the median; of normal noise, three standard deviations.
CLIPPED = 4.5
# Bits by which the hashes of near-duplicates differ at most: a quarter. Of unlike photos about half
# differ, and of all 528 that this was tried on at least 78.
NEAR_BITS = 64
# Photos compared with all others at a time, which bounds memory.
BLOCK = 256

Hash = NDArray[np.int8]


def perceptual_hash(image: NDArray[np.uint8]) -> Hash:
    """The hash (8,255) of a photo (H,W,3), bits as -1 and 1: as it is, then turned and mirrored."""
    # In two steps: the mean of many rounded values is finer than a grey level.
    small = cv2.resize(image, (8 * SIDE, 8 * SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    # Or one bright spot would outweigh all else.
    middle = np.median(grey)
    limit = CLIPPED * np.median(np.abs(grey - middle))
    if limit:
        grey = np.clip(grey, middle - limit, middle + limit)
    hashes = []
    for turned in (grey, grey.T):
        for view in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1]):
            low = cv2.dct(np.ascontiguousarray(view))[:KEPT, :KEPT].ravel()[1:]
            hashes.append(np.where(low > np.median(low), 1, -1))
    return np.array(hashes, np.int8)


def near_duplicates(hashes: Sequence[Hash]) -> list[list[int]]:
    """Groups of photos, by number, that show the same, also turned or mirrored; each photo of a
    group is like at least one other of it."""
    if not hashes:
        return []
    group = list(range(len(hashes)))

    def first(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    plain = np.array([one[0] for one in hashes], np.float32).T
    bits = len(plain)
    for start in range(0, len(hashes), BLOCK):
        views = np.array(hashes[start : start + BLOCK], np.float32)
        agree = (views.reshape(-1, bits) @ plain).reshape(len(views), 8, -1).max(axis=1)
        for a, b in zip(*np.nonzero((bits - agree) / 2 <= NEAR_BITS), strict=True):
            low, high = sorted((first(start + int(a)), first(int(b))))
            group[high] = low
    found: dict[int, list[int]] = defaultdict(list)
    for number in range(len(hashes)):
        found[first(number)].append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]
