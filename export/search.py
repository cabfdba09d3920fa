"""Which calibration and which placement of INT8: decided by measuring, one choice at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from edge.engines.engine import OUTPUT
from edge.errors import ToolError
from export.calibration import METHODS, histograms
from export.fp16 import rounded
from export.graph import Probe, conv_nodes, int8_share
from export.int8 import Placement, activations, int8
from export.material import Material
from export.verify import Comparison, Judge, Run

# Drops of r.w. F1 closer together than this count as the same.
EQUAL = 1e-4
SWITCHES = ("narrow", "concats", "additions")
# Crops that one convolution's sensitivity is measured on.
SENSITIVITY_CROPS = 8


@dataclass(frozen=True)
class Trial:
    """One INT8 graph and how it fared."""

    method: str
    placement: Placement
    float_convs: int
    int8_share: float
    comparison: Comparison

    @property
    def rank(self) -> tuple[int, int, float]:
        """Lower is better: accuracy first, then the number of float convolutions."""
        # A gain is luck, no merit.
        drop = round(max(self.comparison.drop, 0.0) / EQUAL)
        return drop, self.float_convs, -self.comparison.mask_iou


@dataclass(frozen=True)
class Choice:
    """The INT8 graph that was kept, and everything that was tried on the way."""

    model: onnx.ModelProto
    kept: Trial
    trials: Sequence[Trial]
    # Most sensitive first; empty where no fall-back was needed.
    fell_back: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.kept.method,
            "placement": str(self.kept.placement),
            "int8_share": self.kept.int8_share,
            "fell_back": list(self.fell_back),
            "trials": [
                {
                    "method": trial.method,
                    "placement": str(trial.placement),
                    "back_in_fp16": len(trial.placement.floats),
                    "drop": trial.comparison.drop,
                    "mask_iou": trial.comparison.mask_iou,
                }
                for trial in self.trials
            ],
        }

    def as_text(self) -> str:
        """What was chosen and why, in a few lines."""
        tried = {trial.method: trial for trial in reversed(self.trials)}
        methods = ", ".join(f"{m} {tried[m].comparison.drop:+.4f}" for m in METHODS)
        lines = [
            f"calibration: {self.kept.method} (drop of r.w. F1 with all in INT8: {methods})",
            f"placement: {self.kept.placement} (best of {len(self.trials)} measured)",
            f"in INT8: {self.kept.int8_share:.1%} of the convolutions' FLOPs",
        ]
        if self.fell_back:
            lines.append(f"back to FP16, most sensitive first: {', '.join(self.fell_back)}")
        return "\n".join(lines)


def choose(model: onnx.ModelProto, material: Material, judge: Judge, max_drop: float) -> Choice:
    """The INT8 graph of `model` (float32) with the best r.w. F1, then the most in INT8.

    First the calibration method, then each switch of `Placement`; if the best graph loses more than
    `max_drop`, its most sensitive convolutions go back to FP16, as few as suffice.

    Raises:
        ToolError: only with every convolution in FP16 would the loss be small enough.
    """
    images = (crop.image for crop in material.calibration)
    measured = histograms(model, activations(model), images)
    ranges = {
        method: {name: limit(found) for name, found in measured.items()}
        for method, limit in METHODS.items()
    }

    def attempt(method: str, placement: Placement) -> Trial:
        graph = int8(model, ranges[method], placement)
        convs = conv_nodes(graph)
        floats = sum(not conv.int8 for conv in convs)
        found = judge.compare("int8", as_on_gpu(graph))
        return Trial(method, placement, floats, int8_share(convs), found)

    trials = [attempt(method, Placement()) for method in METHODS]
    kept = min(trials, key=lambda trial: trial.rank)
    for switch in SWITCHES:
        off: dict[str, Any] = {switch: False}
        trial = attempt(kept.method, replace(kept.placement, **off))
        trials.append(trial)
        kept = min((kept, trial), key=lambda trial: trial.rank)
    fell_back: list[str] = []
    if kept.comparison.drop > max_drop:
        order = _by_sensitivity(model, ranges[kept.method], kept.placement, judge)
        placement = kept.placement
        # The fewest of them that suffice, by bisection: `low` are too few, `high` are all.
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            trial = attempt(kept.method, replace(placement, floats=frozenset(order[:middle])))
            trials.append(trial)
            if trial.comparison.drop > max_drop:
                low = middle
            else:
                high, kept = middle, trial
        if high == len(order):
            raise ToolError(
                f"INT8 costs {kept.comparison.drop:.4f} r.w. F1, and falls below the "
                f"{max_drop} allowed only with every convolution in FP16: export with "
                f"--precision fp16, calibrate on more photos, or allow more with --max-drop"
            )
        fell_back = order[:high]
    return Choice(int8(model, ranges[kept.method], kept.placement), kept, trials, fell_back)


def as_on_gpu(graph: onnx.ModelProto) -> Run:
    """A graph with float16 parts, run in ONNX Runtime with the rounding of a GPU."""
    probe = Probe(rounded(graph), [OUTPUT])
    return lambda tiles: probe.run(tiles)[OUTPUT]


def _by_sensitivity(
    model: onnx.ModelProto, ranges: Mapping[str, float], placement: Placement, judge: Judge
) -> list[str]:
    """The convolutions in INT8, the one first that alone changes the probabilities most."""
    names = [conv.name for conv in conv_nodes(int8(model, ranges, placement)) if conv.int8]
    changes = {}
    for name in names:
        alone = replace(placement, floats=frozenset(names) - {name})
        run = as_on_gpu(int8(model, ranges, alone))
        changes[name] = judge.change(run, SENSITIVITY_CROPS)
    return sorted(names, key=lambda name: -changes[name])
