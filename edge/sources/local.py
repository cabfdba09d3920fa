"""Live sources at this machine: there from the start, and set up as asked."""

from __future__ import annotations

import logging

from edge.sources.camera_settings import CameraSettings
from edge.sources.live import LiveSource

_log = logging.getLogger(__name__)


class LocalSource(LiveSource):
    """A camera or pipeline of this machine.

    Attributes:
        settings: what it is asked for.
    """

    def __init__(self, uri: str, name: str) -> None:
        super().__init__(uri, name)
        self.settings = CameraSettings()
        self._compared = False

    def open(self) -> None:
        """Raises EdgeError where it is not there."""
        self._connect()
        self._connected = True

    def _compare(self, given: CameraSettings) -> None:
        """Say once where the first frame is not as asked."""
        if self._compared:
            return
        self._compared = True
        for difference in self.settings.differences(given):
            self.problems.append(f"{self.uri}: gives {difference}")
            _log.warning("%s: gives %s", self.uri, difference)
