"""Text that grows by whole entries only."""

from __future__ import annotations

import io
import time
from pathlib import Path

from edge.files import sync
from edge.sinks.rotation import NEVER, Rotation, part


class AppendOnlyFile:
    """A text file that never ends in half an entry, not even on a full disk; several of them, one
    after the other, where they rotate. Made when the first entry comes.

    Attributes:
        header: what each file begins with.
    """

    def __init__(self, path: Path, rotation: Rotation, header: str = "") -> None:
        self.header = header
        self._path, self._rotation = path, rotation
        self._file: io.FileIO | None = None
        self._final, self._begun_s = path, 0.0

    def append(self, text: str) -> None:
        """Write an entry, or nothing of it.

        Raises:
            OSError: it cannot be written.
        """
        data = text.encode()
        if self._file:
            size = self._file.tell() + len(data)
            if self._rotation.due(self._begun_s, size, time.time()):
                self._finish()
        if data:
            self._write(self._file or self._begin(), data)

    def close(self) -> None:
        """Give the file its name.

        Raises:
            OSError: it cannot be finished.
        """
        if not self._file and self._rotation == NEVER:
            self._begin()  # a run that found nothing leaves a file that says so
        if self._file:
            self._finish()

    def _begin(self) -> io.FileIO:
        self._begun_s = time.time()
        self._final = self._rotation.path(self._path, self._begun_s)
        # Unbuffered: a failed write shows at once and leaves nothing to be tried again.
        file = part(self._final).open("xb", buffering=0)
        try:
            self._write(file, self.header.encode())
        except OSError:
            file.close()
            part(self._final).unlink()
            raise
        self._file = file
        return file

    def _write(self, file: io.FileIO, data: bytes) -> None:
        begin, left = file.tell(), memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            error.filename = error.filename or str(self._final)
            file.truncate(begin)
            file.seek(begin)
            raise

    def _finish(self) -> None:
        if file := self._file:
            self._file = None
            file.close()
            sync(part(self._final))
            part(self._final).rename(self._final)
            sync(self._final.parent)
