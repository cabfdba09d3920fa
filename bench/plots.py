"""Plots of a report as SVG: accuracy against latency, roofline, distributions."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from bench.models import TILE, BackendRow, ModelsResult
from train.models.registry import MODELS

MARKERS = {"fp32": "o", "fp16": "s", "int8": "^"}
COLOURS = ("#3b6ea5", "#d9822b", "#4a9d6e", "#b5475c", "#7a5ea8", "#7f6a4f")


def plots(result: ModelsResult) -> dict[str, str]:
    """SVG elements by title; those that the rows hold nothing for are left out."""
    if not result.rows:
        return {}
    found = {
        "Accuracy against latency": _pareto(result),
        "Roofline": _roofline(result),
        "Distribution of frame times": _distributions(result),
    }
    return {title: _svg(figure) for title, figure in found.items() if figure}


def _pareto(result: ModelsResult) -> Figure | None:
    scored = [
        (row, (row.frame_ms["p50"], row.rw_f1)) for row in result.rows if row.rw_f1 is not None
    ]
    if not scored:
        return None
    figure, axes = _axes(5.2)
    rows, points = zip(*scored, strict=True)
    _scatter(axes, rows, points, result.rows)
    front: list[tuple[float, float]] = []
    for latency, score in sorted(points):
        if not front or score > front[-1][1]:
            front.append((latency, score))
    axes.step(*zip(*front, strict=True), where="post", color="#8a97a5", linewidth=1, zorder=1)
    for key in dict.fromkeys(row.model for row in rows):
        slowest = max(point for row, point in scored if row.model == key)
        axes.annotate(
            MODELS[key].title,
            slowest,
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    log_axis(axes.xaxis, axes.set_xscale)
    axes.margins(x=0.35, y=0.25)
    axes.set_xlabel("frame, ms (median)")
    axes.set_ylabel("r.w. F1 on validation photos, FP32")
    return figure


def _roofline(result: ModelsResult) -> Figure:
    figure, axes = _axes(5.2)
    rows, roofline = result.rows, result.roofline
    points = [(row.flops_per_byte, row.gflops_per_s) for row in rows]
    _scatter(axes, rows, points, rows)
    left, right = min(x for x, _ in points) / 3, max(x for x, _ in points) * 3
    for precision, peak in roofline.gflops_per_s.items():
        ridge = peak / roofline.gb_per_s
        axes.plot(
            [min(left, ridge), ridge, max(right, ridge)],
            [min(left, ridge) * roofline.gb_per_s, peak, peak],
            color="#1c2733",
            linewidth=1,
            zorder=1,
        )
        axes.annotate(
            f"{precision}: {peak:,.0f} GFLOP/s (torch matmul), {roofline.gb_per_s:,.0f} GB/s",
            (ridge, peak),
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=8,
        )
    log_axis(axes.xaxis, axes.set_xscale)
    log_axis(axes.yaxis, axes.set_yscale)
    axes.set_ylim(bottom=min(y for _, y in points) / 4)
    axes.set_xlabel("FLOPs a byte, if each convolution read and wrote its tensors once")
    axes.set_ylabel(f"GFLOP/s on a {TILE}x{TILE} tile, by the paper's rule")
    return figure


def _distributions(result: ModelsResult) -> Figure:
    rows = list(reversed(result.rows))
    figure, axes = _axes(1 + 0.24 * len(rows))
    backends = _colours(result.rows)
    for place, row in enumerate(rows):
        runs, colour = row.frame_ms["runs"], backends[row.backend]
        axes.plot(runs, [place] * len(runs), "|", color=colour, markersize=9, alpha=0.6)
        axes.plot(row.frame_ms["p50"], place, "o", color=colour, markersize=4)
    axes.set_yticks(
        range(len(rows)),
        [f"{MODELS[row.model].title}, {row.backend} {row.precision}" for row in rows],
        fontsize=8,
    )
    axes.set_ylim(-0.7, len(rows) - 0.3)
    log_axis(axes.xaxis, axes.set_xscale)
    axes.set_xlabel("frame, ms: each run, and their median")
    return figure


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(color="#e4e9ee", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _scatter(
    axes: Axes,
    rows: Sequence[BackendRow],
    points: Sequence[tuple[float, float]],
    of: Sequence[BackendRow],
) -> None:
    """Backend by colour and precision by marker, with a legend of those in `of`."""
    colours = _colours(of)
    for row, point in zip(rows, points, strict=True):
        axes.plot(
            *point,
            MARKERS[row.precision],
            color=colours[row.backend],
            markersize=7,
            alpha=0.85,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    precisions = dict.fromkeys(row.precision for row in of)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=b) for b, c in colours.items()
    ]
    handles += [
        Line2D([], [], marker=MARKERS[p], linestyle="", color="#5b6b7b", label=p)
        for p in precisions
    ]
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="best")


def log_axis(axis: Axis, set_scale: Callable[[str], None]) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(NullFormatter())


def _colours(rows: Sequence[BackendRow]) -> dict[str, str]:
    names = dict.fromkeys(row.backend for row in rows)
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
