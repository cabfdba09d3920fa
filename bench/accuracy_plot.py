"""Plot of `bench accuracy`: recall against false positives, F1 against FLOPs and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.accuracy import AccuracyResult, ModelRow
from bench.picture import check_suffix
from bench.plots import COLOURS, log_axis
from bench.real_sets import SAND
from bench.scores import BEST_HERE, SHIPPED, ObjectRow
from edge.files import atomic_write


def write(result: AccuracyResult, path: Path) -> None:
    """The plot as .svg or .png, by the suffix of `path`.

    Raises:
        BadArgumentError: it has another suffix.
        OSError: it cannot be written; an earlier file stays.
    """
    check_suffix(path, "a plot")
    figure = Figure(figsize=(16, 5), dpi=110, layout="constrained")
    curves, flops, times = figure.subplots(1, 3)
    _curves(curves, result)
    _scores(flops, result, lambda model: model.flops / 1e9 if model.flops else None)
    flops.set_xlabel("GFLOPs of a 512x512 tile")
    _scores(times, result, lambda model: model.frame_ms["p50"] if model.frame_ms else None)
    times.set_xlabel("ms/frame, 1440x1440 (median)")
    times.tick_params(axis="x", which="both", labelsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])


def _curves(axes: Axes, result: AccuracyResult) -> None:
    """Recall on the patches against false positives on clean sand, over thresholds."""
    _style(axes)
    shipped = {row.name: row.threshold_u8 for row in result.models}
    for index, (name, points) in enumerate(result.curves.get(SAND, {}).items()):
        colour = COLOURS[index % len(COLOURS)]
        # Below the threshold with the most recall, objects only run together.
        least = max(points, key=lambda point: (point.recall, point.threshold_u8)).threshold_u8
        known = [
            (point.false_positives_per_megapixel, point.recall, point.threshold_u8)
            for point in points
            if point.false_positives_per_megapixel is not None
            and point.threshold_u8 >= min(least, shipped.get(name, least))
        ]
        style = "-" if name in shipped else ":"
        axes.plot([p[0] for p in known], [p[1] for p in known], style, color=colour, label=name)
        for rate, recall, threshold_u8 in known:
            if threshold_u8 == shipped.get(name):
                axes.plot(rate, recall, "o", color=colour)
    # Linear near 0, as a threshold may leave no false positive at all.
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false positives per megapixel of clean sand (dot: shipped threshold)")
    axes.set_ylabel("recall on the labelled patches")
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _scores(axes: Axes, result: AccuracyResult, cost: Callable[[ModelRow], float | None]) -> None:
    """F1 of objects at the shipped threshold against a cost, a colour a set."""
    _style(axes)
    costs = {model.name: cost(model) for model in result.models}
    for index, name in enumerate(dict.fromkeys(row.dataset for row in result.objects)):
        colour = COLOURS[index % len(COLOURS)]
        rows = [row for row in result.objects if row.dataset == name]
        for x, row in sorted(_at_cost(rows, costs), key=lambda pair: pair[0]):
            f1 = row.f1
            error = [[max(0.0, f1.value - f1.low)], [max(0.0, f1.high - f1.value)]]
            axes.errorbar(x, f1.value, error, fmt="o", color=colour, capsize=3)
        filters = [r.f1.value for r in rows if r.detector not in costs and r.choice == BEST_HERE]
        if filters:
            axes.axhline(max(filters), color=colour, linestyle=":", linewidth=1)
        axes.plot([], [], "o", color=colour, label=name)
    known = {name: x for name, x in costs.items() if x}
    for name, x in known.items():
        # Upright, as networks of nearly the same cost would write over each other.
        axes.annotate(name, (x, 0.02), rotation=90, ha="center", fontsize=8)
    if known:
        log_axis(axes.xaxis, axes.set_xscale)
        axes.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    axes.margins(x=0.3)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("F1 of objects, shipped threshold (dotted: best filter)")


def _at_cost(
    rows: list[ObjectRow], costs: Mapping[str, float | None]
) -> list[tuple[float, ObjectRow]]:
    """The rows of models whose cost is known, with it."""
    found = []
    for row in rows:
        cost = costs.get(row.detector)
        if row.choice == SHIPPED and cost:
            found.append((cost, row))
    return found


def _style(axes: Axes) -> None:
    axes.grid(color="#e4e9ee", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
