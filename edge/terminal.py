"""Text for a person at a terminal, which never decides about results."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TextIO

import click


class Terminal:
    """Writes to stdout and stderr until one of them is closed or full; then says no more there."""

    def say(self, text: str, *, error: bool = False) -> None:
        """A line or more."""
        self._write(sys.stderr if error else sys.stdout, text + "\n")

    def progress(self, text: str) -> None:
        """In place of the last progress, where stderr is a terminal."""
        if sys.stderr.isatty():
            self._write(sys.stderr, f"\r{text}\x1b[K")

    def end_progress(self) -> None:
        """Leave the line of the last progress."""
        if sys.stderr.isatty():
            self._write(sys.stderr, "\n")

    def flush(self) -> None:
        """Before an end that flushes nothing."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                silence(stream)

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            click.echo(text, nl=False, file=stream)
        except (OSError, ValueError):
            silence(stream)


def silence(stream: TextIO) -> None:
    """Send all that follows nowhere; what Python would say of it when it ends, too."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # no file behind it
        pass


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        silence(self.stream)


def configure_logging(*, verbose: bool, as_json: bool) -> None:
    """Log what `edge` says to stderr: warnings, or everything; as text or JSON lines."""
    handler = _Handler()
    text = "%(levelname)s: %(message)s"
    handler.setFormatter(_JsonFormatter() if as_json else logging.Formatter(text))
    logger = logging.getLogger("edge")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
