"""Kinds of command-line arguments."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


class PathArgument(click.Path):
    """A path; an empty one, as of a variable that is not set, would mean the current folder."""

    def __init__(self, **options: bool) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As `click.Path`."""
        if not str(value).strip():
            self.fail("is empty; name a path", param, ctx)
        return super().convert(value, param, ctx)


class OutputFile(PathArgument):
    """A file to write, whose folder must be there: checked before the work, not after it."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As `click.Path`."""
        path = super().convert(value, param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path.parent}: no such folder", param, ctx)
        return path


class Text(click.ParamType):  # type: ignore[type-arg]
    """Anything but nothing."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is."""
        if not str(value).strip():
            self.fail("is empty", param, ctx)
        return str(value)


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """As `click.FloatRange`, which takes NaN: it is below and above nothing."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


POSITIVE = Number(min=0, min_open=True)


class Threshold(Number):
    """A probability above 0, at most 1."""

    def __init__(self) -> None:
        super().__init__(min=0, max=1, min_open=True)


class Size(click.ParamType):  # type: ignore[type-arg]
    """A size in pixels such as 1920x1080, as (width, height)."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """(width, height), px."""
        found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(value).strip())
        if not found:
            self.fail(f"{value!r} is not a size such as 1920x1080", param, ctx)
        return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Length:
    """A length of 0 or more in "px" or "mm"."""

    number: float
    unit: str

    def pixels(self, option: str, mm_per_pixel: float | None) -> float:
        """In px, to the two digits of the records.

        Raises:
            UsageError: it is in mm, and the scale is not known.
        """
        if self.unit == "px":
            return round(self.number, 2)
        if mm_per_pixel is None:
            raise click.UsageError(
                f"{option} in mm needs --mm-per-pixel or --calibration; or give it in px"
            )
        return round(self.number / mm_per_pixel, 2)


class LengthArgument(click.ParamType):  # type: ignore[type-arg]
    """A length such as 3, 3px or 0.15mm."""

    name = "length"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Length:
        """The `Length`."""
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(px|mm)?", str(value).strip())
        if not found:
            self.fail(f"{value!r} is not a length such as 3, 3px or 0.15mm", param, ctx)
        return Length(float(found[1]), found[2] or "px")
