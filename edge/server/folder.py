"""The results of a run in an --out folder, read as far as a page shows them."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError
from edge.files import read_json
from edge.server.sizes import BINS, size_histogram

FRAMES_PER_PAGE = 100
# Of one frame; a page of more would be of no use.
MAX_PARTICLES = 2000
TABLES = ("frames.csv", "particles.csv", "particles.jsonl")
PICTURES = {"overlay": "overlays", "mask": "masks"}
_BLOCK_BYTES = 1 << 22
_PICTURE_NAME = re.compile(r"(\d{1,12})_.*\.(?:jpg|png)", re.DOTALL)


class Folder:
    """An --out folder, also of a run that goes on or broke off, whose tables are named *.part.

    Only indices are kept in memory. Nothing outside of the folder is ever opened, also where a
    link in it leads there. Not for several threads at a time.

    Raises:
        BadArgumentError: it holds no frames.csv.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._frames, self._particles = _Frames(self, "frames.csv"), _Particles(self)
        if self.table("frames.csv") is None:
            raise BadArgumentError(f"{path}: holds no results of edge-run (no frames.csv)")
        self._names: dict[str, tuple[int, dict[int, list[str]]]] = {}

    def summary(self) -> dict[str, Any]:
        """What the first view shows of it all.

        Raises:
            EdgeError: a table or summary.json is damaged.
        """
        self._refresh()
        report = self.file("summary.json")
        first = self._particles.first()
        return {
            "name": self.path.name,
            "report": read_json(report) if report else None,
            "frames": len(self._frames),
            "frames_per_page": FRAMES_PER_PAGE,
            "pages": -(-len(self._frames) // FRAMES_PER_PAGE),
            "particles": self._particles.count,
            "sizes": self._particles.sizes.tolist(),
            "mm_per_pixel": float(first["mm_per_pixel"]) if first.get("mm_per_pixel") else None,
            "files": [name for name in (*TABLES, "summary.json") if self.table(name)],
        }

    def frames(self, page: int) -> list[dict[str, Any]]:
        """The rows of frames.csv of a page, from 0, and which pictures there are of each."""
        self._refresh()
        rows: list[dict[str, Any]] = self._frames.page(page)
        for row in rows:
            place = row.get("source") or "", _whole(row["frame"])
            row["pictures"] = [kind for kind in PICTURES if self._picture_name(kind, *place)]
        return rows

    def particles(self, source: str, frame: int) -> list[dict[str, str]]:
        """The rows of particles.csv of a frame, at most `MAX_PARTICLES`; `source` is that of
        `Frame`."""
        self._refresh()
        return self._particles.of(source, frame)

    def picture(self, kind: str, source: str, frame: int) -> Path | None:
        """The file of a picture; None where there is none."""
        name = self._picture_name(kind, source, frame) if kind in PICTURES else None
        return self.file(PICTURES[kind], name) if name else None

    def table(self, name: str) -> Path | None:
        """The file of that name, or while the run goes on the *.part; None where neither is."""
        return self.file(name) or self.file(f"{name}.part")

    def file(self, *names: str) -> Path | None:
        """A regular file in the folder; None where there is none, or a link leads outside."""
        path = self.path.joinpath(*names)
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return real if real.is_file() and real.is_relative_to(self.path) else None

    def _refresh(self) -> None:
        self._frames.refresh()
        self._particles.refresh()

    def _picture_name(self, kind: str, source: str, frame: int) -> str | None:
        names = self._pictures(kind).get(frame, [])
        start = re.compile(rf"\d+_{re.escape(source)}[_.]" if source else "")
        return next((name for name in names if start.match(name)), None)

    def _pictures(self, kind: str) -> dict[int, list[str]]:
        """Names of files by frame; read again when the folder has changed."""
        folder = self.path / PICTURES[kind]
        try:
            changed = folder.stat().st_mtime_ns
            if self._names.get(kind, (None,))[0] != changed:
                names: dict[int, list[str]] = {}
                for name in sorted(os.listdir(folder)):
                    if found := _PICTURE_NAME.fullmatch(name):
                        names.setdefault(int(found[1]), []).append(name)
                self._names[kind] = changed, names
        except OSError:
            return {}
        return self._names[kind][1]


class _Table:
    """A CSV file that may grow, one row a line; `_index` gets each new row and where it is."""

    _needed: frozenset[str]

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._forget()

    def _forget(self) -> None:
        self._columns: list[str] = []
        self._read = 0

    def refresh(self) -> None:
        """Index the whole lines that came since.

        Raises:
            EdgeError: it is no table of ours.
        """
        path = self._folder.table(self._name)
        if path is None:
            return
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:
                self._forget()  # another run
            file.seek(self._read)
            while lines := file.readlines(_BLOCK_BYTES):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()  # a row that is being written
                self._add(lines)
                if not lines:
                    break

    def rows(self, begin: int, end: int) -> list[dict[str, str]]:
        """Those between two places of the file."""
        path = self._folder.table(self._name)
        if path is None:
            return []
        with path.open("rb") as file:
            file.seek(begin)
            text = file.read(end - begin).decode(errors="replace")
        return list(csv.DictReader(io.StringIO(text), self._columns))

    def _add(self, lines: Sequence[bytes]) -> None:
        texts = (line.decode(errors="replace").replace("\0", "") for line in lines)
        begin = self._read
        for line, row in zip(lines, csv.reader(texts), strict=False):
            if not self._columns:
                self._name_columns(row)
            elif len(row) == len(self._columns):
                self._index(row, begin, begin + len(line))
            begin += len(line)
        self._read = begin

    def _name_columns(self, row: list[str]) -> None:
        if not self._needed <= set(row):
            raise EdgeError(f"{self._name}: its first line does not name the columns")
        self._columns = row

    def _index(self, row: Sequence[str], begin: int, end: int) -> None:
        raise NotImplementedError


class _Frames(_Table):
    """frames.csv, by row."""

    _needed = frozenset({"frame", "file", "particles", "status"})

    def _forget(self) -> None:
        super()._forget()
        self._begins = array("q")

    def __len__(self) -> int:
        return len(self._begins)

    def page(self, page: int) -> list[dict[str, str]]:
        first = page * FRAMES_PER_PAGE
        after = first + FRAMES_PER_PAGE
        if not 0 <= first < len(self):
            return []
        end = self._begins[after] if after < len(self) else self._read
        return self.rows(self._begins[first], end)

    def _index(self, row: Sequence[str], begin: int, end: int) -> None:
        self._begins.append(begin)


class _Particles(_Table):
    """particles.csv, by source and frame, whose rows stand together."""

    _needed = frozenset({"frame", "diameter_px"})

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder, "particles.csv")

    def _forget(self) -> None:
        super()._forget()
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        self._diameters = array("d")
        self.count = 0
        self.sizes: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def first(self) -> dict[str, str]:
        places = next(iter(self._places.values()), None)
        return self.rows(*places)[0] if places else {}

    def of(self, source: str, frame: int) -> list[dict[str, str]]:
        places = self._places.get((source, frame))
        return self.rows(*places)[:MAX_PARTICLES] if places else []

    def _name_columns(self, row: list[str]) -> None:
        super()._name_columns(row)
        source = row.index("source") if "source" in row else None
        self._wanted = row.index("frame"), source, row.index("diameter_px")

    def _add(self, lines: Sequence[bytes]) -> None:
        super()._add(lines)
        self.sizes += size_histogram(self._diameters)
        del self._diameters[:]

    def _index(self, row: Sequence[str], begin: int, end: int) -> None:
        frame, source, diameter = self._wanted
        place = "" if source is None else row[source], _whole(row[frame])
        self._places[place] = self._places.get(place, (begin,))[0], end
        self.count += 1
        with contextlib.suppress(ValueError):
            self._diameters.append(float(row[diameter]))


def _whole(text: str) -> int:
    """A frame's number; -1 where it is none."""
    return int(text) if text.isdecimal() else -1


def lines_of(path: Path) -> tuple[int, Iterator[bytes]]:
    """The size of a file now, up to the last whole line of a *.part, and its content in parts."""
    size = path.stat().st_size
    if path.suffix == ".part":
        with path.open("rb") as file:
            file.seek(max(0, size - _BLOCK_BYTES))
            tail = file.read(_BLOCK_BYTES)
        size -= len(tail) - (tail.rfind(b"\n") + 1)

    def parts() -> Iterator[bytes]:
        left = size
        with path.open("rb") as file:
            while left > 0 and (part := file.read(min(left, 1 << 16))):
                left -= len(part)
                yield part

    return size, parts()
