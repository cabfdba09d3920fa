"""Charts as SVG, in the look of the page of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW, AXIS = 440, 150, 50, 6, 24, 22
MAX_LABEL = 22
MAX_POINTS = 200


@dataclass(frozen=True)
class Row:
    """Of a chart.

    Attributes:
        label: at the left.
        value: length of the bar.
        low, high: ends of the interval that is drawn over it.
        points: single values; the first `MAX_POINTS` are drawn.
        second: whether it has the second colour.
        swatch: CSS colour of a square before the label.
    """

    label: str
    value: float
    low: float
    high: float
    points: Sequence[float] = ()
    second: bool = False
    swatch: str = ""


def bars(rows: Sequence[Row], label: str, end: float | None = None) -> str:
    """A bar for each row, with its interval and points.

    Args:
        label: says what is seen, for those who cannot see it.
        end: of the axis.  [default: a round number above all]
    """
    points = [point for row in rows for point in row.points[:MAX_POINTS]]
    highest = end or nice_above(
        max([*points, *(max(row.value, row.high) for row in rows)], default=0)
    )
    bottom = TOP + ROW * len(rows)
    parts = []
    for step in range(5):
        x = _x(step / 4 * highest, highest)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
        text = short(step / 4 * highest)
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{text}</text>')
    for number, row in enumerate(rows):
        parts += _row(row, TOP + ROW * number + ROW / 2, highest)
    size = f'viewBox="0 0 {WIDTH} {bottom + AXIS}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


@dataclass(frozen=True)
class Line:
    """Of a chart.

    Attributes:
        points: (x, y).
        second: whether it has the second colour, and dashes.
        marked: a point of it, with a dot.
    """

    points: Sequence[tuple[float, float]]
    second: bool = False
    marked: tuple[float, float] | None = None


def curve(points: Sequence[tuple[float, float]], label: str, unit: str) -> str:
    """A line over ascending x, in `unit`."""
    ends = points[0][0], max(points[-1][0], points[0][0] + 1e-9)
    highest = nice_above(max((y for _, y in points), default=0))
    return lines([Line(points)], label, ends, highest, unit)


def lines(
    drawn: Sequence[Line], label: str, x_ends: tuple[float, float], highest: float, unit: str = ""
) -> str:
    """Lines on the same axes.

    Args:
        x_ends: ends of the x axis, in `unit`.
        highest: end of the y axis, which begins at 0; higher points are cut off.
    """
    (begin, end), (height, left, right) = x_ends, (150, 48, 10)

    def at(x: float, y: float) -> tuple[str, str]:
        across = left + (x - begin) / (end - begin) * (WIDTH - left - right)
        return f"{across:.1f}", f"{TOP + height * (1 - min(y, highest) / highest):.1f}"

    parts = []
    for step in range(3):
        y = round(TOP + height * (1 - step / 2), 1)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{left - 5}" y="{y + 4}" text-anchor="end">{short(step / 2 * highest)}</text>'
        )
    for x, anchor, value in ((left, "start", begin), (WIDTH - right, "end", end)):
        text = f"{short(value)} {unit}".strip()
        parts.append(f'<text x="{x}" y="{TOP + height + 16}" text-anchor="{anchor}">{text}</text>')
    for line in drawn:
        points = " ".join(",".join(at(*point)) for point in line.points)
        second = " second" if line.second else ""
        parts.append(f'<polyline class="line{second}" points="{points}"/>')
        if line.marked:
            x_text, y_text = at(*line.marked)
            parts.append(f'<circle class="point" cx="{x_text}" cy="{y_text}" r="5"/>')
    size = f'viewBox="0 0 {WIDTH} {TOP + height + AXIS}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def nice_above(value: float) -> float:
    """The next of 1, 2, 4, 10, 20, ..., which four steps divide well."""
    if not value > 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return float(next(s * power for s in (1, 2, 4, 6, 8, 10) if s * power >= value * (1 - 1e-9)))


def short(value: float) -> str:
    """A number with three digits, and thousands apart."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def _row(row: Row, y: float, highest: float) -> list[str]:
    second = " second" if row.second else ""
    text = row.label if len(row.label) <= MAX_LABEL else row.label[: MAX_LABEL - 1] + "…"
    title = f"<title>{escape(row.label)}</title>"
    end = LEFT - 8
    parts = []
    if row.swatch:
        end -= 18
        square = f'x="{end + 5}" y="{y - 6}" width="12" height="12"'
        parts.append(f'<rect class="swatch" {square} fill="{row.swatch}"/>')
    parts.append(f'<text x="{end}" y="{y + 4}" text-anchor="end">{title}{escape(text)}</text>')
    width = round(_x(row.value, highest) - LEFT, 1)
    parts.append(f'<rect class="bar{second}" x="{LEFT}" y="{y - 7}" width="{width}" height="14"/>')
    low, high = _x(row.low, highest), _x(row.high, highest)
    ends = "".join(f"M{x} {y - 4}V{y + 4}" for x in (low, high))
    parts.append(f'<path class="interval" d="M{low} {y}H{high}{ends}"/>')
    parts += [
        f'<circle class="point" cx="{_x(point, highest)}" cy="{y}" r="2.5"/>'
        for point in row.points[:MAX_POINTS]
    ]
    parts.append(
        f'<text class="value" x="{WIDTH - RIGHT + 10}" y="{y + 4}">{short(row.value)}</text>'
    )
    return parts


def _x(value: float, highest: float) -> float:
    return round(LEFT + value / highest * (WIDTH - LEFT - RIGHT), 1)
