"""Flame graph of an engine: the run, its parts, their layers, by width."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

from bench.layers import LayersResult, LayerTime
from bench.picture import check_suffix
from edge.files import atomic_write

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import Patch

# Of the operators that take the most time; the others are grey.
COLOURS = ("#77aadd", "#99ddff", "#44bb99", "#eedd88", "#ffaabb", "#ee8866", "#bbcc33", "#aaaa00")
OTHER = "#bbbbbb"
RUN, PARTS = "#d9d9d9", ("#eeeeee", "#e0e0e0")
# Bottom and top of the run, the parts and the layers.
LEVELS = ((0.0, 0.4), (0.4, 1.2), (1.2, 3.2))
# Px between a label and the edge of its bar.
MARGIN = 1


def write(result: LayersResult, path: Path) -> None:
    """The flame graph as .svg or .png, by the suffix of `path`.

    Raises:
        BadArgumentError: it has another suffix.
        OSError: it cannot be written; an earlier file stays.
    """
    check_suffix(path, "a flame graph")
    figure, axis = pyplot.subplots(figsize=(16, 5), dpi=110)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.23)
    axis.set(xlim=(0, result.layers_ms), ylim=(0, LEVELS[-1][1]), yticks=[], xlabel="ms")
    axis.spines[["top", "left", "right"]].set_visible(False)
    axis.set_title(
        f"{result.title} in {result.whole_ms:.2f} ms ({result.profiled_ms:.2f} ms while profiled), "
        f"medians of {result.runs} runs",
        fontsize=11,
    )
    in_layers = f"{result.layers_ms:.2f} ms in {len(result.layers)} layers"
    _bar(axis, 0, result.layers_ms, LEVELS[0], RUN, in_layers)
    totals: dict[str, float] = defaultdict(float)
    for layer in result.layers:
        totals[layer.op] += layer.ms
    slowest = sorted(totals, key=lambda op: -totals[op])
    colours = dict(zip(slowest, COLOURS, strict=False))
    left = 0.0
    for number, (part, group) in enumerate(groupby(result.layers, lambda layer: layer.part)):
        layers = list(group)
        width = sum(layer.ms for layer in layers)
        _bar(axis, left, width, LEVELS[1], PARTS[number % 2], part)
        for layer in layers:
            colour = colours.get(layer.op, OTHER)
            _bar(axis, left, layer.ms, LEVELS[2], colour, _within(layer))
            left += layer.ms
    legend = [(op, colour, totals[op]) for op, colour in colours.items()]
    if len(slowest) > len(legend):
        others = sum(totals[op] for op in slowest[len(legend) :])
        legend.append(("other", OTHER, others))
    axis.legend(
        [Patch(color=colour) for _, colour, _ in legend],
        [f"{op}, {ms / result.layers_ms:.1%}" for op, _, ms in legend],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=len(legend),
        frameon=False,
        fontsize=9,
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])
    pyplot.close(figure)


def _within(layer: LayerTime) -> str:
    """The name of a layer, without its part."""
    return layer.name.removeprefix(f"{layer.part.replace(' ', '.')}.")


def _bar(
    axis: Any, left: float, width: float, level: tuple[float, float], colour: str, label: str
) -> None:
    """A bar, with its label lying, standing, or left out, as it has room."""
    bottom, top = level
    (x0, y0), (x1, y1) = axis.transData.transform([(left, bottom), (left + width, top)])
    # An edge would hide a bar that is no wider.
    edge = 0.6 if x1 - x0 > 4 * MARGIN else 0
    axis.bar(
        left,
        top - bottom,
        width,
        bottom,
        align="edge",
        color=colour,
        edgecolor="white",
        linewidth=edge,
    )
    for rotation in (0, 90):
        text = axis.text(
            left + width / 2,
            (bottom + top) / 2,
            label,
            rotation=rotation,
            ha="center",
            va="center",
            fontsize=8,
        )
        size = text.get_window_extent()
        if size.width + 2 * MARGIN <= x1 - x0 and size.height + 2 * MARGIN <= y1 - y0:
            return
        text.remove()
