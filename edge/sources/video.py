"""Video files."""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from edge.errors import EdgeError
from edge.frame import Frame, SkippedFrame
from edge.sources.capture import open_capture, read_rgb
from edge.sources.source import Source

# Reads that may fail in a row where the number of frames is not known, and where a header names it,
# which may be damaged itself.
MAX_FAILED_READS, MAX_FAILED_READS_DUE = 30, 10_000
# Containers that count by their duration are a little wrong.
COUNT_TOLERANCE = 0.02


class VideoSource(Source):
    """Every frame of a video file."""

    time_base = "clip"

    def open(self) -> None:
        """Raises EdgeError where the file is no video that OpenCV can read."""
        self._capture = open_capture(self.uri)
        if not self._capture.isOpened():
            raise EdgeError(f"{self.uri}: neither an image nor a video that OpenCV can read")
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.expected = count if count > 0 else None

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Raises EdgeError where the file holds no frame."""
        index = read = failed = 0
        last_s = -1.0
        try:
            while True:
                image = read_rgb(self._capture)
                if image is None:
                    failed += 1
                    if failed > self._may_fail(index):
                        break
                    continue
                # The file goes on: what failed before was damaged, not the end.
                for _ in range(failed):
                    yield SkippedFrame(index, self.uri, None, "failed", "could not be decoded")
                    index += 1
                failed = 0
                time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield Frame(image, index, self.uri, time_s if time_s > last_s else None)
                index, read, last_s = index + 1, read + 1, max(last_s, time_s)
        finally:
            self._capture.release()
        if not read:
            raise EdgeError(f"{self.uri}: holds no readable frame")
        if index > read:
            self.problems.append(f"{self.uri}: {index - read} of its frames could not be decoded")
        if read > 1 and not last_s:
            self.problems.append(f"{self.uri}: has no time stamps")
        if self.expected is not None and index < self.expected:
            missing = self.expected - index
            self.truncated = missing > max(1, COUNT_TOLERANCE * self.expected)
            self.problems.append(
                f"{self.uri}: {index} of {self.expected} frames"
                + ("; the file seems to be cut off" if self.truncated else "")
            )

    def _may_fail(self, index: int) -> int:
        """Reads that may fail in a row before the file is taken to be over."""
        if self.expected is None:
            return MAX_FAILED_READS
        return min(self.expected - index - 1, MAX_FAILED_READS_DUE)
