"""Objects of a mask against true ones, each matched once at most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.points import PointLabels
from train.matching import centroids, match_points
from train.metrics import ObjectCounts


class TrueObjects:
    """The 8-connected objects of a mask (H,W), nonzero where a particle is.

    A predicted object can be matched with a true one that it touches or comes within `tolerance` px
    of. Other than `train.metrics.object_counts`, which lets one predicted object find many true
    ones, this cannot be won by marking everything.
    """

    def __init__(self, mask: NDArray[np.uint8], tolerance: int) -> None:
        count, labels = cv2.connectedComponents(mask)
        self.total = count - 1
        side = 2 * tolerance + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        owners, places = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for label in range(1, count):
            grown = cv2.dilate(np.asarray(labels == label, np.uint8), disc)
            place = np.flatnonzero(grown)
            places.append(place)
            owners.append(np.full(place.size, label))
        self._owners, self._places = np.concatenate(owners), np.concatenate(places)

    def counts(self, mask: NDArray[np.uint8]) -> ObjectCounts:
        """Of a predicted mask (H,W): tp are matched, fp predicted in excess, fn missed."""
        count, labels = cv2.connectedComponents(mask)
        predicted = np.asarray(labels).ravel()[self._places]
        touching = np.stack([self._owners, predicted], axis=1)[predicted > 0]
        candidates: dict[int, list[int]] = defaultdict(list)
        for true, found in np.unique(touching, axis=0).tolist():
            candidates[true].append(found)
        matched = most_matches(candidates)
        return ObjectCounts(tp=matched, fp=count - 1 - matched, fn=self.total - matched)


class TruePoints:
    """Points of a patch that was cut from a photo; see `train.matching.match_points`.

    What is centred less than `tolerance` px from the patch's border was not labelled, so there an
    object that has no point nearby counts neither way.
    """

    def __init__(self, labels: PointLabels, tolerance: float) -> None:
        self._labels, self._tolerance = labels, tolerance

    def counts(self, mask: NDArray[np.uint8]) -> ObjectCounts:
        """As `TrueObjects.counts`."""
        found = centroids(mask)
        far = np.array(mask.shape[::-1]) - 1 - self._tolerance
        inside = ((found >= self._tolerance) & (found <= far)).all(axis=1)
        offsets = found[:, None] - self._labels.points[None]
        labelled = (np.hypot(*offsets.transpose(2, 0, 1)) <= self._tolerance).any(axis=1)
        return match_points(found[inside | labelled], self._labels, self._tolerance)


def most_matches(candidates: Mapping[int, Sequence[int]]) -> int:
    """Size of a largest matching of keys with their candidates, each used once at most (Kuhn)."""
    taken: dict[int, int] = {}

    def place(key: int, seen: set[int]) -> bool:
        for candidate in candidates[key]:
            if candidate not in seen:
                seen.add(candidate)
                if candidate not in taken or place(taken[candidate], seen):
                    taken[candidate] = key
                    return True
        return False

    return sum(place(key, set()) for key in candidates)
