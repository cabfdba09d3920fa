"""What differs between the versions of OpenCV."""

from __future__ import annotations

from typing import Any

import cv2


def silence() -> None:
    """Have OpenCV print nothing of its own: what went wrong is told by errors."""
    # JetPack 6 has OpenCV 4.8, whose Python has it in another place.
    place: Any = getattr(cv2.utils, "logging", cv2)
    place.setLogLevel(0)
