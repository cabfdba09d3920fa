"""Detections matched to labels: true positives, false positives, false negatives."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.points import PointLabels
from train.metrics import ObjectCounts


def centroids(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centroids (k,2) as (x, y), px, of the 8-connected objects of a mask (H,W)."""
    found: NDArray[np.float64] = np.asarray(cv2.connectedComponentsWithStats(mask)[3], np.float64)
    return found[1:]


def match_points(
    detections: NDArray[np.float64], labels: PointLabels, tolerance: float
) -> ObjectCounts:
    """Count detections (k,2), as (x, y), px, against points at most `tolerance` px away.

    One to one, the nearest pair first. A detection that is left over and lies within `tolerance`
    of an ignored point counts neither way.
    """
    found, taken = set[int](), set[int]()
    for _, point, detection in sorted(_pairs(labels.points, detections, tolerance)):
        if point not in found and detection not in taken:
            found.add(point)
            taken.add(detection)
    doubtful = {d for _, _, d in _pairs(labels.ignored, detections, tolerance)} - taken
    return ObjectCounts(
        tp=len(found),
        fp=len(detections) - len(taken) - len(doubtful),
        fn=len(labels.points) - len(found),
    )


def _pairs(
    points: NDArray[np.float64], detections: NDArray[np.float64], tolerance: float
) -> list[tuple[float, int, int]]:
    """(distance, point, detection) of all that lie within `tolerance`."""
    # Sorted by x, so that each point looks at its neighbours only: at low thresholds a photo has a
    # hundred thousand detections.
    order = np.argsort(detections[:, 0])
    x = detections[order, 0]
    pairs = []
    for number, point in enumerate(points):
        low, high = np.searchsorted(x, (point[0] - tolerance, point[0] + tolerance + 1e-9))
        near = order[low:high]
        distances = np.hypot(*(detections[near] - point).T)
        pairs += [
            (float(distance), number, int(detection))
            for distance, detection in zip(distances, near, strict=True)
            if distance <= tolerance
        ]
    return pairs
