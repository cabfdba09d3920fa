"""Files of pictures that matplotlib writes."""

from __future__ import annotations

from pathlib import Path

from edge.errors import BadArgumentError

SUFFIXES = (".svg", ".png")


def check_suffix(path: Path, what: str) -> None:
    """Whether `what`, such as "a plot", can be written there, before anything is measured.

    Raises:
        BadArgumentError: it has another suffix than `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise BadArgumentError(f"{path}: {what} ends in {' or '.join(SUFFIXES)}")
