"""Histograms of kernel weights, in the manner of Figures 11-14 and in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from edge.files import atomic_write
from train.utilisation import stage_of

matplotlib.use("Agg")
from matplotlib import pyplot

# As many as the square root of the weights, within these.
BINS = (12, 80)
# Outside of these quantiles a histogram would show single weights only.
QUANTILES = (0.001, 0.999)
# Early stages dark, late ones light.
COLOURS = {"encoder": "Blues_r", "decoder": "Oranges_r", "residual": "Greens_r"}
# Drawn with the encoder: the first convolution and the last stage on the way down.
WITH_ENCODER = ("stem", "bottom")

Weights = NDArray[np.float32]


def write_tensorboard(checkpoints: Sequence[Mapping[str, Tensor]], folder: Path) -> None:
    """One histogram per layer, one step per checkpoint; `checkpoints` hold kernels by layer."""
    with SummaryWriter(str(folder)) as writer:
        for step, kernels in enumerate(checkpoints):
            for name, kernel in kernels.items():
                writer.add_histogram(name, kernel, step)


def draw(checkpoints: Sequence[Mapping[str, Tensor]], folder: Path, title: str) -> None:
    """Draw the kernels of all checkpoints together; the head has too few weights for it.

    stages.png       encoder, decoder and residual paths, the stages of each overlapped
    components.png   the convolutions of a stage (conv 1, ..., shortcut), stages overlapped

    Raises:
        OSError: a picture cannot be written.
    """
    by_part: dict[str, dict[str, list[Weights]]] = {}
    by_component: dict[str, dict[str, list[Weights]]] = {}
    for name in checkpoints[0]:
        weights = np.concatenate([kernels[name].numpy().ravel() for kernels in checkpoints])
        stage = stage_of(name)
        part = "encoder" if stage in WITH_ENCODER else stage.partition(".")[0]
        if part == "head":
            continue
        above = by_part.setdefault(part, {}).setdefault(stage, [])
        above.append(weights)
        if part != "residual" and stage != "stem":
            component = "shortcut" if name.endswith(".shortcut") else f"conv {len(above)}"
            by_component.setdefault(component, {})[stage] = [weights]
    colours = {
        stage: pyplot.get_cmap(COLOURS[part])(shade)
        for part, stages in by_part.items()
        for stage, shade in zip(stages, np.linspace(0.05, 0.65, len(stages)), strict=True)
    }
    for panels, what in ((by_part, "stages"), (by_component, "components")):
        with atomic_write(folder / f"{what}.png") as temporary:
            _draw_panels(panels, colours, temporary, f"{title}: kernel weights by {what[:-1]}")


def _draw_panels(
    panels: Mapping[str, Mapping[str, Sequence[Weights]]],
    colours: Mapping[str, Any],
    path: Path,
    title: str,
) -> None:
    rows = 2 if len(panels) == 4 else 1
    columns = len(panels) // rows
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns + 1, 3.4 * rows), layout="constrained", squeeze=False
    )
    lines: dict[str, Any] = {}
    for axis, (panel, stages) in zip(axes.flat, panels.items(), strict=True):
        values = {stage: np.concatenate(parts) for stage, parts in stages.items()}
        # Kernels may all be zero; a histogram needs some width.
        reach = max(np.abs(np.quantile(v, QUANTILES)).max() for v in values.values()) or 1.0
        for stage, weights in values.items():
            edges = np.linspace(-reach, reach, int(np.clip(weights.size**0.5, *BINS)) + 1)
            density = np.histogram(weights, edges, density=True)[0]
            lines[stage] = axis.stairs(density, edges, color=colours[stage], linewidth=1.4)
        axis.set_title(panel, fontsize=10)
        axis.set_xlabel("weight", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("density", fontsize=8)
    figure.legend(
        lines.values(), lines.keys(), loc="outside right center", frameon=False, fontsize=8
    )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110, format="png")
    pyplot.close(figure)
