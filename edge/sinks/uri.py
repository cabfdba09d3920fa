"""A sink as the user writes it: SCHEME:PLACE?NAME=VALUE&NAME=VALUE."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from edge.errors import BadArgumentError
from edge.sinks.rotation import part

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class SinkUri:
    """Of a sink.

    Attributes:
        text: all of it.
        scheme: what stands before the first colon.
        place: file, folder or address; what stands between the colon and the first question mark.
        parameters: what stands after that, still text.
        on_error: of `Sink`, where a parameter of that name is given.
        mm_per_pixel: scale of the frames where it is known; given besides.
    """

    text: str
    scheme: str
    place: str
    parameters: dict[str, str] = field(default_factory=dict)
    on_error: Literal["fail", "drop"] | None = None
    mm_per_pixel: float | None = None

    @classmethod
    def parse(cls, text: str, mm_per_pixel: float | None = None) -> SinkUri:
        """Take a URI apart.

        Raises:
            BadArgumentError: a parameter is no NAME=VALUE, or is there twice; `on_error` is neither
                "fail" nor "drop".
        """
        scheme, _, rest = text.partition(":")
        place, mark, query = rest.partition("?")
        parameters: dict[str, str] = {}
        for pair in query.split("&") if mark else ():
            name, equals, value = pair.partition("=")
            if not (name and equals and value):
                raise BadArgumentError(f"{text}: '{pair}' is no parameter; write ?NAME=VALUE&...")
            if name in parameters:
                raise BadArgumentError(f"{text}: {name} is there twice; give it once")
            parameters[name] = value
        match parameters.pop("on_error", None):
            case "fail" | "drop" | None as on_error:
                return cls(text, scheme, place, parameters, on_error, mm_per_pixel)
        raise BadArgumentError(f"{text}: on_error is neither 'fail' nor 'drop'")

    def options(self, **kinds: Callable[[str], Any]) -> dict[str, Any]:
        """The parameters that are given, each made by the function of its name from its text.

        Raises:
            BadArgumentError: there is no such parameter, or its function raised `ValueError`.
        """
        options = {}
        for name, text in self.parameters.items():
            if name not in kinds:
                known = ", ".join((*kinds, "on_error"))
                raise BadArgumentError(
                    f"{self.text}: {self.scheme} has no parameter {name}; there are {known}"
                )
            try:
                options[name] = kinds[name](text)
            except ValueError as error:
                raise BadArgumentError(f"{self.text}: {name}={text} is not {error}") from None
        return options

    def new_file(self) -> Path:
        """The place as the path of a file that is still to be made.

        Raises:
            BadArgumentError: it is there already, or its folder is not.
        """
        path = self.file()
        for one in (path, part(path)):
            if one.exists():
                raise BadArgumentError(f"{one}: exists; name a new file")
        return path

    def file(self) -> Path:
        """The place as the path of a file, in a folder that can be written to.

        Raises:
            BadArgumentError: it is a folder, or there is no such folder to put it in.
        """
        path = Path(self.place)
        if path.is_dir():
            raise BadArgumentError(f"{self.place}: is a folder; name a file")
        if not path.parent.is_dir():
            raise BadArgumentError(f"{path.parent}: no such folder; make it first")
        if not os.access(path.parent, os.W_OK):
            raise BadArgumentError(f"{path.parent}: cannot be written to; name another folder")
        return path

    def folder(self) -> Path:
        """The place as the path of a folder, which may be there.

        Raises:
            BadArgumentError: a file is.
        """
        path = Path(self.place)
        if path.exists() and not path.is_dir():
            raise BadArgumentError(f"{self.place}: exists and is no folder; name a new folder")
        return path

    def address(self) -> tuple[str, int | None, str]:
        """The place //HOST:PORT/PATH as host, empty where it is left out, port and path.

        Raises:
            BadArgumentError: it has another form, or holds credentials.
        """
        try:
            parts = urlsplit(self.place)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise BadArgumentError(f"{self.text}: the port is no number from 0 to 65535") from None
        if parts.username is not None:
            raise BadArgumentError(
                f"{self.scheme}: credentials do not belong in the URI, where others can read them"
            )
        if not self.place.startswith("//") or parts.fragment:
            raise BadArgumentError(f"{self.text}: write it as {self.scheme}://HOST:PORT")
        return host, port, parts.path.removeprefix("/")


def positive(text: str) -> float:
    """A number above 0."""
    if re.fullmatch(r"\d+\.?\d*|\.\d+", text) and float(text):
        return float(text)
    raise ValueError("a number above 0")


def duration_s(text: str) -> float:
    """A time such as 30s, 10min, 1h or 1d, in s."""
    found = re.fullmatch(r"(\d+)(s|min|h|d)", text)
    if found and int(found[1]):
        return int(found[1]) * _SECONDS[found[2]]
    raise ValueError("a time such as 30s, 10min, 1h or 1d")
