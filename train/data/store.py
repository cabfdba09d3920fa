"""Photos in memory up to a limit, and beyond it in a temporary file that is mapped into memory.

The system keeps of that file what fits beside everything else, so that a thousand photos of 48
megapixels need a disk of 192 GB, and no more memory than a few. Nothing is left behind: the file
has no name.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from train.data.samples import Sample

# Held in memory, bytes.
IN_MEMORY = 4 << 30
# Of a file: photos share files, because systems allow a process about a thousand open ones.
FILE_BYTES = 4 << 30
# Where Linux keeps large temporary files; /tmp is often memory.
_LARGE = Path("/var/tmp")


class Store:
    """Keeps arrays; what it returned stays valid as long as any of it is in use.

    Args:
        limit: bytes that are held in memory.
    """

    def __init__(self, limit: int = IN_MEMORY) -> None:
        self._left = limit
        self._file: BinaryIO | None = None
        self._map: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0

    def keep(self, array: NDArray[Any]) -> NDArray[Any]:
        """The same array, in memory or in a file.

        Raises:
            EdgeError: the disk is full.
        """
        if _is_mapped(array):
            return array
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            return array
        self._left = 0
        try:
            return self._stored(array)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise EdgeError(
                f"{folder()}: no space left for photos that memory does not hold; set TMPDIR to a "
                f"folder with 4 bytes per pixel of them"
            ) from error

    def _stored(self, array: NDArray[Any]) -> NDArray[Any]:
        if self._file is None or self._used + array.nbytes > self._map.size:
            size = max(FILE_BYTES, array.nbytes)
            self._file = tempfile.TemporaryFile(dir=folder())  # noqa: SIM115
            self._file.truncate(size)
            self._map, self._used = np.memmap(self._file, np.uint8, "r+", shape=(size,)), 0
        # By a write, not through the map: there a full disk would kill the process.
        self._file.seek(self._used)
        self._file.write(np.ascontiguousarray(array).data)
        self._file.flush()
        found = np.asarray(self._map[self._used : self._used + array.nbytes])
        self._used += -(-array.nbytes // 64) * 64  # aligned
        return found.view(array.dtype).reshape(array.shape)


def _is_mapped(array: Any) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def folder() -> Path:
    """Where the files lie."""
    default = _LARGE if "TMPDIR" not in os.environ and os.access(_LARGE, os.W_OK) else None
    return default or Path(tempfile.gettempdir())


def keep_samples(samples: Iterable[Sample], store: Store | None = None) -> list[Sample]:
    """All of them, none in memory but the first; see `Store`."""
    return list(_kept(samples, store or Store()))


def _kept(samples: Iterable[Sample], store: Store) -> Iterator[Sample]:
    for sample in samples:
        objects = None if sample.objects is None else store.keep(sample.objects)
        image, mask = store.keep(sample.image), store.keep(sample.mask)
        yield replace(sample, image=image, mask=mask, objects=objects)
