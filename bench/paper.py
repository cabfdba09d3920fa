"""Table 4 of the paper, and whether our networks meet its printed digits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from train.models.catalogue import MODELS
from train.paper import TABLE_4


@dataclass(frozen=True)
class Row:
    """One network: our exact counts beside the paper's printed ones."""

    title: str
    params: int
    flops: int
    paper_params: str
    paper_flops: str

    @property
    def matches(self) -> bool:
        """Table 4 truncates parameters and rounds FLOPs."""
        params = f"{math.floor(self.params / 100) / 1e4:.4f}"
        return (params, f"{self.flops / 1e9:.1f}") == (self.paper_params, self.paper_flops)


def table_4() -> list[Row]:
    """Our Table 4, in the paper's order."""
    return [
        Row(MODELS[key].title, MODELS[key].params(), MODELS[key].flops(), *printed)
        for key, printed in TABLE_4.items()
    ]


def as_text(rows: list[Row]) -> str:
    """The table for a terminal."""
    lines = [
        f"{'':<22}{'parameters':>12}{'paper, M':>10}{'FLOPs at 512x512':>18}"
        f"{'paper, G':>10}{'match':>7}"
    ]
    lines += [
        f"{row.title:<22}{row.params:>12,}{row.paper_params:>10}{row.flops:>18,}"
        f"{row.paper_flops:>10}{'yes' if row.matches else 'no':>7}"
        for row in rows
    ]
    return "\n".join(lines)
