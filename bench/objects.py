"""Objects of a mask against true ones, each matched once at most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from train.metrics import Counts


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

    def counts(self, mask: NDArray[np.uint8]) -> Counts:
        """Objects matched, predicted in excess and missed (tn is 0) of a predicted mask (H,W)."""
        count, labels = cv2.connectedComponents(mask)
        predicted = np.asarray(labels).ravel()[self._places]
        touching = np.stack([self._owners, predicted], axis=1)[predicted > 0]
        candidates: dict[int, list[int]] = defaultdict(list)
        for true, found in np.unique(touching, axis=0).tolist():
            candidates[true].append(found)
        matched = most_matches(candidates)
        return Counts(matched, count - 1 - matched, self.total - matched, 0)


class TruePoints:
    """Clicked objects, as points (x, y) in px.

    An object is matched by a predicted one whose centroid lies within `tolerance` px. What is left
    over near an ignored point counts neither way.
    """

    def __init__(
        self,
        points: Sequence[tuple[float, float]],
        ignored: Sequence[tuple[float, float]],
        tolerance: float,
    ) -> None:
        self._points, self._ignored = (
            np.asarray(kind, np.float64).reshape(-1, 2) for kind in (points, ignored)
        )
        self._tolerance = tolerance

    def counts(self, mask: NDArray[np.uint8]) -> Counts:
        """As `TrueObjects.counts`."""
        centroids = np.asarray(cv2.connectedComponentsWithStats(mask)[3], np.float64)[1:]
        near = self._near(self._points, centroids)
        candidates = {i: np.flatnonzero(row).tolist() for i, row in enumerate(near)}
        matched = most_matches(candidates)
        # Whichever are matched, those near a point come first.
        doubtful = self._near(self._ignored, centroids).any(axis=0) & ~near.any(axis=0)
        false = len(centroids) - matched - int(doubtful.sum())
        return Counts(matched, false, len(self._points) - matched, 0)

    def _near(
        self, points: NDArray[np.float64], centroids: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether each point (n,2) is near each centroid (m,2): (n,m)."""
        distance = np.linalg.norm(points[:, None] - centroids[None], axis=2)
        return np.asarray(distance <= self._tolerance)


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
