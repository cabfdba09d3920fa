"""How far an engine is from the float32 network: in probabilities, masks and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.particles import particle_mask
from train.data.samples import Sample
from train.metrics import ZERO_COUNTS, Counts

# From tiles uint8 (N,H,W,3) to probabilities uint8 (N,1,H,W), as `Engine.run`.
Inference = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def max_abs_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference of two arrays of one shape; NaN where either holds one."""
    # In float64, as uint8 would wrap around.
    return float(np.abs(np.subtract(a, b, dtype=np.float64)).max())


@dataclass(frozen=True)
class Comparison:
    """A network, run by the runtime `name`, against its float32 graph in ONNX Runtime.

    Attributes:
        max_abs_difference: of a pixel's probability, 0-255.
        mask_iou: of the pixels that both take for particles (Eq. 33); 1 where neither takes any.
        rw_f1: recall-weighted F1 (Eq. 34) of all crops together.
        drop: how much lower that is than the float32 graph's.
    """

    name: str
    max_abs_difference: int
    mask_iou: float
    rw_f1: float
    drop: float


@dataclass(frozen=True)
class Verification:
    """Every comparison, and what they were made on.

    Attributes:
        crops, pixels: held out.
        label_source: where the masks come from.
        reference: precision of the graph compared with, in ONNX Runtime.
        rw_f1: of that graph.
        max_drop: of r.w. F1 that is allowed.
    """

    crops: int
    pixels: int
    label_source: str
    reference: str
    rw_f1: float
    max_drop: float
    comparisons: list[Comparison]

    def check(self, precision: str) -> None:
        """Raises EdgeError where a comparison loses more r.w. F1 than allowed."""
        worst = max(self.comparisons, key=lambda comparison: comparison.drop)
        if worst.drop > self.max_drop:
            advice = "calibrate on more photos, " if precision == "int8" else ""
            other = {"int8": "fp16", "fp16": "fp32"}.get(precision)
            advice += f"export with --precision {other}, " if other else ""
            raise EdgeError(
                f"{precision} costs {worst.drop:.4f} r.w. F1 ({worst.name}), more than the "
                f"{self.max_drop} allowed: {advice}or allow more with --max-drop; nothing was "
                f"written"
            )

    def as_table(self) -> str:
        """Markdown."""
        rows = "".join(
            f"| {c.name} | {c.max_abs_difference} | {c.mask_iou:.4f} | {c.rw_f1:.4f} | "
            f"{c.drop:+.4f} |\n"
            for c in self.comparisons
        )
        return (
            f"| against {self.reference} in ONNX Runtime | max abs difference (0-255) "
            f"| mask IoU | r.w. F1 (of {self.rw_f1:.4f}) | drop |\n|---|---|---|---|---|\n{rows}"
        )


class Evaluator:
    """Compares with `reference` on `crops`; particles are probabilities from `threshold_u8` on."""

    def __init__(self, crops: Sequence[Sample], reference: Inference, threshold_u8: int) -> None:
        self._threshold_u8 = threshold_u8
        self._crops = crops
        self._maps = [reference(crop.image[None])[0, 0] for crop in self._crops]
        counts = [
            Counts.of(self._mask(found), crop.mask)
            for found, crop in zip(self._maps, self._crops, strict=True)
        ]
        self.rw_f1 = sum(counts, ZERO_COUNTS).weighted_f1()
        self.pixels = sum(crop.mask.size for crop in self._crops)

    def compare(self, name: str, run: Inference) -> Comparison:
        """`run` on every crop."""
        difference, both, either, scored = 0, 0, 0, ZERO_COUNTS
        for crop, expected in zip(self._crops, self._maps, strict=True):
            found = run(crop.image[None])[0, 0]
            difference = max(difference, int(max_abs_difference(found, expected)))
            mask, expected_mask = self._mask(found) > 0, self._mask(expected) > 0
            both += int((mask & expected_mask).sum())
            either += int((mask | expected_mask).sum())
            scored += Counts.of(mask, crop.mask)
        rw_f1 = scored.weighted_f1()
        return Comparison(
            name, difference, both / either if either else 1.0, rw_f1, self.rw_f1 - rw_f1
        )

    def mean_abs_difference(self, run: Inference, crops: int) -> float:
        """Mean absolute difference of the probability, 0-255, over the first `crops` crops."""
        pairs = list(zip(self._crops, self._maps, strict=True))[:crops]
        return float(
            np.mean(
                [np.abs(run(c.image[None])[0, 0].astype(np.float32) - m).mean() for c, m in pairs]
            )
        )

    def _mask(self, probability: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return particle_mask(probability, self._threshold_u8)
