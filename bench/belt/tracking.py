"""The usual way to count on a belt: every frame through the network, a tracker, a counting line.

ByteTrack of the package `trackers`, and the line of `supervision`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import supervision
import trackers
from numpy.typing import NDArray

from edge.result import Result

# Boxes of tiny particles do not overlap from frame to frame unless they are enlarged by the step.
# A tracker that is given so much has the best chance that the method has.
LINE_BEYOND_PX = 1000


class CountingLine:
    """Counts what crosses a line across the belt, in frames whose surface moves up.

    Args:
        row: of the line.
        width: of the frame, px.
        step_px: of the belt in a frame, which boxes are enlarged by on each side, and every
            detection is tracked; None leaves `trackers.ByteTrackTracker` as it comes.
        threshold: of the detections, 0..1.
    """

    def __init__(
        self, row: float, width: int, fps: float, threshold: float, step_px: float | None
    ) -> None:
        self._pad = 0.0 if step_px is None else step_px
        chosen: dict[str, Any] = {}
        if step_px is not None:
            chosen = {"track_activation_threshold": threshold, "high_conf_det_threshold": threshold}
        self._tracker = trackers.ByteTrackTracker(frame_rate=fps, **chosen)
        self._line = supervision.LineZone(
            start=supervision.Point(-LINE_BEYOND_PX, row),
            end=supervision.Point(width + LINE_BEYOND_PX, row),
            triggering_anchors=[supervision.Position.CENTER],
        )

    def update(self, result: Result) -> NDArray[np.float64]:
        """The next frame; centres (k,2), as (x, y), px, of what has just crossed the line."""
        boxes, confidence = _boxes(result)
        grown = boxes + np.array([-self._pad, -self._pad, self._pad, self._pad])
        detections = supervision.Detections(
            xyxy=grown.astype(np.float32),
            confidence=confidence,
            class_id=np.zeros(len(boxes), int),
        )
        tracked = self._tracker.update(detections)
        crossed_in, crossed_out = self._line.trigger(tracked)
        crossed = tracked.xyxy[np.asarray(crossed_in) | np.asarray(crossed_out)]
        centres = (crossed[:, :2] + crossed[:, 2:]) / 2 - 0.5
        return np.asarray(centres, np.float64).reshape(-1, 2)


def _boxes(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Of each particle: left, top, right, bottom (k,4), px, and its mean probability (k,)."""
    found = result.to_coco()["annotations"]
    corners = np.array([particle["bbox"] for particle in found], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners, np.array([particle["score"] for particle in found], np.float32)
