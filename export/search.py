"""Greedy search for the calibration method and the placement of INT8, by r.w. F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from edge.engines.engine import OUTPUT
from edge.errors import EdgeError
from export.calibration import METHODS, histograms
from export.calibration_data import CalibrationData
from export.fp16 import emulate_fp16
from export.graph import ActivationHook, conv_nodes, int8_fraction
from export.int8 import Placement, activations, int8
from export.verify import Comparison, Evaluator, Inference

# Drops of r.w. F1 that differ by less count as equal.
DROP_TOLERANCE = 1e-4
# Part of the drop allowed that counts as none: on a few dozen crops it may be chance, while each
# convolution in float costs time.
CHANCE = 0.25
SWITCHES = ("narrow", "concats", "additions")
# Crops that one convolution's sensitivity is measured on.
SENSITIVITY_CROPS = 8


@dataclass(frozen=True)
class Trial:
    """One INT8 graph and its scores."""

    method: str
    placement: Placement
    float_convs: int
    int8_fraction: float
    comparison: Comparison

    def rank(self, max_drop: float) -> tuple[int, int, float]:
        """Lower is better: accuracy first, then the number of float convolutions."""
        drop = round(max(self.comparison.drop - CHANCE * max_drop, 0.0) / DROP_TOLERANCE)
        return drop, self.float_convs, -self.comparison.mask_iou


@dataclass(frozen=True)
class Choice:
    """The INT8 graph that was kept, and all trials."""

    model: onnx.ModelProto
    kept: Trial
    trials: Sequence[Trial]
    # Names of convolutions, the most sensitive first; empty where none was needed.
    fp16_fallback: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.kept.method,
            "placement": str(self.kept.placement),
            "int8_fraction": self.kept.int8_fraction,
            "fp16_fallback": list(self.fp16_fallback),
            "trials": [
                {
                    "method": trial.method,
                    "placement": str(trial.placement),
                    "fp16_fallback": len(trial.placement.floats),
                    "drop": trial.comparison.drop,
                    "mask_iou": trial.comparison.mask_iou,
                }
                for trial in self.trials
            ],
        }

    def describe(self) -> str:
        """Method and placement with their scores, in a few lines."""
        tried = {trial.method: trial for trial in reversed(self.trials)}
        methods = ", ".join(f"{m} {tried[m].comparison.drop:+.4f}" for m in METHODS)
        lines = [
            f"calibration: {self.kept.method} (drop of r.w. F1 with all in INT8: {methods})",
            f"placement: {self.kept.placement} (best of {len(self.trials)} measured)",
            f"in INT8: {self.kept.int8_fraction:.1%} of the convolutions' FLOPs",
        ]
        if self.fp16_fallback:
            lines.append(f"FP16 fallback, most sensitive first: {', '.join(self.fp16_fallback)}")
        return "\n".join(lines)


def choose(
    model: onnx.ModelProto, data: CalibrationData, evaluator: Evaluator, max_drop: float
) -> Choice:
    """The INT8 graph of `model` (float32) with the best r.w. F1, then the most in INT8.

    A drop within `CHANCE` of `max_drop` counts as none.

    First the calibration method, then each switch of `Placement`; if the best graph loses more than
    `max_drop`, its most sensitive convolutions fall back to FP16, as few as suffice.

    Raises:
        EdgeError: only with every convolution in FP16 would the loss be small enough.
    """
    images = (crop.image for crop in data.calibration)
    measured = histograms(model, activations(model), images)
    ranges = {
        method: {name: limit(found) for name, found in measured.items()}
        for method, limit in METHODS.items()
    }

    def attempt(method: str, placement: Placement) -> Trial:
        graph = int8(model, ranges[method], placement)
        convs = conv_nodes(graph)
        floats = sum(not conv.int8 for conv in convs)
        found = evaluator.compare("int8", fp16_emulator(graph))
        return Trial(method, placement, floats, int8_fraction(convs), found)

    trials = [attempt(method, Placement()) for method in METHODS]
    kept = min(trials, key=lambda trial: trial.rank(max_drop))
    for switch in SWITCHES:
        off: dict[str, Any] = {switch: False}
        trial = attempt(kept.method, replace(kept.placement, **off))
        trials.append(trial)
        kept = min((kept, trial), key=lambda trial: trial.rank(max_drop))
    fp16_fallback: list[str] = []
    if kept.comparison.drop > max_drop:
        order = _by_sensitivity(model, ranges[kept.method], kept.placement, evaluator)
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
            raise EdgeError(
                f"INT8 costs {kept.comparison.drop:.4f} r.w. F1, and falls below the "
                f"{max_drop} allowed only with every convolution in FP16: export with "
                f"--precision fp16, calibrate on more photos, or allow more with --max-drop"
            )
        fp16_fallback = order[:high]
    return Choice(int8(model, ranges[kept.method], kept.placement), kept, trials, fp16_fallback)


def fp16_emulator(graph: onnx.ModelProto) -> Inference:
    """Runs a graph with float16 parts in ONNX Runtime, rounding as a GPU does."""
    hook = ActivationHook(emulate_fp16(graph), [OUTPUT])
    return lambda tiles: hook.run(tiles)[OUTPUT]


def _by_sensitivity(
    model: onnx.ModelProto, ranges: Mapping[str, float], placement: Placement, evaluator: Evaluator
) -> list[str]:
    """The convolutions in INT8, by how much each alone changes the probabilities, most first."""
    names = [conv.name for conv in conv_nodes(int8(model, ranges, placement)) if conv.int8]
    changes = {}
    for name in names:
        alone = replace(placement, floats=frozenset(names) - {name})
        run = fp16_emulator(int8(model, ranges, alone))
        changes[name] = evaluator.mean_abs_difference(run, SENSITIVITY_CROPS)
    return sorted(names, key=lambda name: -changes[name])
