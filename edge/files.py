"""Files that are either whole or not there, and folders that nothing is lost in."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.errors import BadArgumentError, EdgeError


@contextlib.contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well.

    On an error the temporary file is removed and what stood at `path` stays; an `OSError` that
    names no file, as of a full disk, or the temporary one names `path`.

    Args:
        durable: whether the file survives a power cut once the block is left; costs milliseconds.
    """
    temporary = path.with_name(f".part-{path.name}")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        if not error.filename or str(error.filename) == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file or folder written to the disk, where the system can."""
    # Windows opens no folders.
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        EdgeError: it is not UTF-8, not JSON, or nested too deeply.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise EdgeError(
            f"{path}: not JSON: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    except RecursionError:
        raise EdgeError(
            f"{path}: not usable JSON: its brackets are nested too deeply; give another file"
        ) from None
    except ValueError as error:
        raise EdgeError(f"{path}: not JSON: {error}; correct the file") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON; an earlier file stays whole until the new one is."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def ensure_empty_directory(path: Path) -> None:
    """Make sure that `path` is an empty folder; nothing that is there is ever overwritten.

    Raises:
        BadArgumentError: it is a file, or a folder that holds something.
        OSError: it cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise BadArgumentError(f"{path}: is a file; name a new folder")
    if path.is_dir() and any(path.iterdir()):
        raise BadArgumentError(f"{path}: is not empty; name a new folder")
    path.mkdir(parents=True, exist_ok=True)
