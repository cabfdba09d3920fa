"""OpenCV's own complaints, which would stand between ours."""

from __future__ import annotations

from typing import Any

import cv2

# Its LOG_LEVEL_SILENT, a name that the OpenCV of a system may lack.
SILENT = 0


def silence_opencv() -> None:
    """From now on OpenCV logs nothing."""
    # OpenCV 5 and that of Debian 12 have one of the two each.
    module: Any = getattr(cv2.utils, "logging", cv2)
    module.setLogLevel(SILENT)
