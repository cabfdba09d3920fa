"""The one exception a user's mistake or a broken input raises, and its way to the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click


class ToolError(Exception):
    """What is wrong, where, and how to mend it, in one sentence."""

    exit_code = 1


class BadArgumentError(ToolError):
    """The command was given something that is not there or not what it must be."""

    exit_code = 2


class MissingExtraError(ToolError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed: "
            f"pip install 'microplastic-edge[{extra}]'"
        )


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a failed import of a third-party package into `MissingExtraError`.

    Example:
        >>> with needs("train"):
        ...     import torch  # doctest: +SKIP
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "edge", "train", "export", "bench"}:
            raise  # ours: a defect, not a missing package
        raise MissingExtraError(package, extra) from error


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Show `ToolError` and a failed read or write as one sentence, without a traceback."""
    try:
        yield
    except ToolError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        if error.strerror is None:
            raise
        where = f"{Path(error.filename)}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror}") from error
