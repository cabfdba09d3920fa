"""What differs between the versions of OpenCV."""

from __future__ import annotations

import cv2


def silence() -> None:
    """Have OpenCV print nothing of its own: what went wrong is told by errors."""
    # JetPack 6 has OpenCV 4.8, where Python has it under another name.
    if hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    else:
        cv2.setLogLevel(0)
