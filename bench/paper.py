"""Table 4 of the paper, and whether our networks meet its printed digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from train.models.registry import MODELS
from train.paper import TABLE_4


@dataclass(frozen=True)
class PaperRow:
    """One network: our exact counts beside the paper's printed ones, None where it prints none.

    Attributes:
        params: number of parameters; the paper prints millions, truncated.
        flops: of a 512x512 image; the paper prints 10**9, rounded.
        matches: whether ours, printed so, are the paper's digits; None where it has none.
    """

    model: str
    title: str
    params: int
    flops: int
    paper_params: str | None
    paper_flops: str | None
    matches: bool | None


def table_4(models: Sequence[str]) -> list[PaperRow]:
    """Our Table 4 for these keys of the model registry."""
    return [_row(key) for key in models]


def _row(key: str) -> PaperRow:
    spec = MODELS[key]
    params, flops = spec.params(), spec.flops()
    printed = TABLE_4.get(key)
    if printed is None:
        return PaperRow(key, spec.title, params, flops, None, None, None)
    ours = (f"{math.floor(params / 100) / 1e4:.4f}", f"{flops / 1e9:.1f}")
    return PaperRow(key, spec.title, params, flops, *printed, matches=ours == printed)
