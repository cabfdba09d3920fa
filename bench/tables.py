"""Tables of results."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1, style: str = "github"
) -> str:
    """Markdown, or another `style` of tabulate; `left` columns hold text, the others numbers."""
    align = ("left",) * left + ("right",) * (len(head) - left)
    return tabulate(rows, head, style, disable_numparse=True, colalign=align)
