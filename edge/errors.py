"""The package's base error, and the way of every error to the terminal."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import click


class EdgeError(Exception):
    """What is wrong, where, and how to fix it, in one sentence."""

    exit_code = 1


class BadArgumentError(EdgeError):
    """The command was given something that is not there or not what it must be."""

    exit_code = 2


class MissingExtraError(EdgeError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        # Which of these is right depends on the machine, and a wrong one replaces its OpenCV.
        other = ", or [gpu] with an NVIDIA card, [jetson] on a Jetson" if extra == "cpu" else ""
        super().__init__(
            f"this needs {package}, which is not installed; in a checkout of this project: "
            f"pip install '.[{extra}]'{other}"
        )


class MissingPackageError(EdgeError):
    """A package that no extra brings is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"this needs {package}, which is not installed: pip install {package}")


@contextlib.contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Turn a failed import of a third-party package into `MissingExtraError`.

    Example:
        >>> with require_extra("train"):
        ...     import torch  # doctest: +SKIP
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "edge", "train", "export", "bench"}:
            raise  # ours: a defect, not a missing package
        raise MissingExtraError(package, extra) from error


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes escaped, so that it stays one line.

    Example:
        >>> print(printable("a\\x1b[31m\\nb"))
        a\\x1b[31m\\nb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there is no memory left, whoever raised it."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(
            words in text
            for words in ("bad_alloc", "insufficient memory", "failed to allocate memory",
                          "cannot allocate memory", "can't start new thread", "out of memory",
                          "failed to map segment")
        )
    )  # fmt: skip


def describe(error: BaseException) -> str:
    """An error in one line; file names and control characters are escaped."""
    if out_of_memory(error):
        return "out of memory; give smaller frames, or free some memory"
    if isinstance(error, OSError) and error.strerror:
        where = f"{Path(error.filename)}: " if error.filename else ""
        return printable(f"{where}{error.strerror}")
    lines = str(error).strip().splitlines()
    text = " ".join(line.strip() for line in lines) if isinstance(error, EdgeError) else ""
    return printable(text or (lines[0] if lines else type(error).__name__))


def is_expected(error: BaseException) -> bool:
    """Whether an error is the input's or the machine's, not a defect of this package."""
    return (
        isinstance(error, EdgeError)
        or (isinstance(error, OSError) and error.strerror is not None)
        or out_of_memory(error)
        or type(error).__module__ == "cv2"
    )


@contextlib.contextmanager
def error_handler() -> Iterator[None]:
    """Show an expected error as one sentence, without a traceback, and exit."""
    try:
        yield
    except Exception as error:
        if not is_expected(error):
            raise
        # A full or closed stderr must not turn it into a traceback.
        with contextlib.suppress(OSError):
            click.echo(f"Error: {describe(error)}", err=True)
        code = error.exit_code if isinstance(error, EdgeError) else 1
        sys.exit(code)
