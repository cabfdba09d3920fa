"""The options of edge-run that say how a belt is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import click

from edge.arguments import POSITIVE

if TYPE_CHECKING:
    from edge.belt.settings import BeltSettings

# Of a segment of the belt whose particles are counted.
SEGMENT_MM = 100.0
OPTIONS = (
    click.option(
        "--belt",
        is_flag=True,
        help="The source is a camera above a moving belt: each part of the belt is processed once, "
        "and each particle is reported once.",
    ),
    click.option(
        "--scan-row",
        type=click.IntRange(min=0),
        metavar="ROW",
        help="Row of the frames at which the belt is read; column, where it moves sideways.  "
        "[default: the middle]",
    ),
    click.option(
        "--belt-direction",
        type=click.Choice(["auto", "up", "down", "left", "right"]),
        help="Where the belt moves in the picture.  [default: auto]",
    ),
    click.option(
        "--belt-speed",
        type=POSITIVE,
        metavar="MM/S",
        help="Speed where the frames do not tell it.  [default: the last that was measured]",
    ),
    click.option(
        "--encoder-step",
        type=POSITIVE,
        metavar="MM",
        help="Way of the belt in a count of --encoder; tells its position where the frames do not.",
    ),
    click.option(
        "--max-latency",
        type=POSITIVE,
        metavar="SECONDS",
        help="Process what has passed after so long, also if it does not fill a chunk yet.",
    ),
    click.option(
        "--eject-line",
        type=POSITIVE,
        metavar="MM",
        help="Distance of a line downstream of the scan row; the records tell when and where "
        "particles will cross it.",
    ),
)


@dataclass(frozen=True)
class BeltOptions:
    """What was given; see `OPTIONS`."""

    belt: bool
    scan_row: int | None
    belt_direction: str | None
    belt_speed: float | None
    encoder_step: float | None
    max_latency: float | None
    eject_line: float | None

    def settings(self, mm_per_pixel: float | None) -> BeltSettings | None:
        """None without --belt.

        Raises:
            UsageError: options that need another are given without it.
        """
        if not self.belt:
            if any(value is not None for value in astuple(self)[1:]):
                raise click.UsageError(
                    "--scan-row, --belt-direction, --belt-speed, --encoder-step, --max-latency and "
                    "--eject-line need --belt"
                )
            return None
        from edge.belt.direction import Direction
        from edge.belt.settings import SEGMENT_PX, BeltSettings

        auto = self.belt_direction in (None, "auto")
        return BeltSettings(
            direction=None if auto else Direction(self.belt_direction),
            scan_row=self.scan_row,
            speed_px_s=_pixels("--belt-speed", self.belt_speed, mm_per_pixel),
            encoder_px=_pixels("--encoder-step", self.encoder_step, mm_per_pixel),
            max_latency_s=self.max_latency,
            eject_px=_pixels("--eject-line", self.eject_line, mm_per_pixel),
            segment_px=SEGMENT_PX if mm_per_pixel is None else SEGMENT_MM / mm_per_pixel,
        )


def belt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `OPTIONS` to a command, which gets them as one `BeltOptions` named `belt_given`."""
    names = BeltOptions.__dataclass_fields__.keys()

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> Any:
        given = BeltOptions(**{name: options.pop(name) for name in names})
        return command(*args, belt_given=given, **options)

    for option in reversed(OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def _pixels(option: str, mm: float | None, mm_per_pixel: float | None) -> float | None:
    if mm is None:
        return None
    if mm_per_pixel is None:
        raise click.UsageError(f"{option} is in mm and needs --mm-per-pixel")
    return mm / mm_per_pixel
