"""Several sources in one run, each with a name of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edge.frame import Frame, SkippedFrame
from edge.sources.source import Source, SourceStatus

# Names become parts of file names.
MAX_NAME = 60
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


class SeveralSources(Source):
    """Opened sources that a run reads side by side, see `Source.parts`."""

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(", ".join(source.uri for source in sources))
        self._parts = dict(zip(_names(sources), sources, strict=True))
        self.live = any(source.live for source in sources)
        bases = {source.time_base for source in sources}
        self.time_base = bases.pop() if len(bases) == 1 else "mixed"

    def parts(self) -> dict[str, Source]:
        """As `Source.parts`."""
        return self._parts

    def statuses(self) -> tuple[SourceStatus, ...]:
        """As `Source.statuses`."""
        return tuple(
            replace(status, name=name)
            for name, source in self._parts.items()
            for status in source.statuses()
        )

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """One source after the other, where nobody reads them side by side."""
        for name, source in self._parts.items():
            for frame in source:
                yield replace(frame, source=name)

    def close(self) -> None:
        """As `Source.close`."""
        for source in self._parts.values():
            source.close()


def _names(sources: Sequence[Source]) -> list[str]:
    """Short names for the sources, each once, that may be part of a file name."""
    names: list[str] = []
    for source in sources:
        name = base = _UNSAFE.sub("_", source.uri).strip("_.")[-MAX_NAME:] or "source"
        number = 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names
