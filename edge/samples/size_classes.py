"""Classes of size, by the largest Feret diameter."""

from __future__ import annotations

from collections.abc import Sequence

from edge.errors import BadArgumentError

# Bounds in mm that are usual. 20 um to 5 mm is the range of Commission Delegated Decision (EU)
# 2024/1441; 1 mm parts small from large microplastics in the MSFD guidance and ISO/TR 21960.
USUAL_MM = (0.001, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 5.0)
# Smaller ones are found less often, and their size says little.
RESOLVED_PX = 3.0


class SizeClasses:
    """Of a report.

    Args:
        mm_per_pixel: leaves out the usual classes that hold only what is smaller than
            `RESOLVED_PX`.
        bounds_mm: own bounds in place of the usual ones.

    Raises:
        BadArgumentError: the bounds do not ascend from above 0.
    """

    def __init__(self, mm_per_pixel: float, bounds_mm: Sequence[float] = ()) -> None:
        self.resolved_mm = RESOLVED_PX * mm_per_pixel
        usual = [bound for bound in USUAL_MM if bound > self.resolved_mm]
        below = [bound for bound in USUAL_MM if bound <= self.resolved_mm]
        self.bounds_mm = list(bounds_mm) or [*below[-1:], *usual] or [self.resolved_mm]
        ascending = all(a < b for a, b in zip(self.bounds_mm, self.bounds_mm[1:], strict=False))
        if self.bounds_mm[0] <= 0 or not ascending:
            raise BadArgumentError("bounds of size classes must ascend, from above 0")
        inner = zip(self.bounds_mm, self.bounds_mm[1:], strict=False)
        self.names = [
            f"< {_length(self.bounds_mm[0])}",
            *(_range(low, high) for low, high in inner),
            f"≥ {_length(self.bounds_mm[-1])}",
        ]

    def name(self, size_mm: float) -> str:
        """Of the class; the lower bound belongs to it."""
        return self.names[sum(size_mm >= bound for bound in self.bounds_mm)]


def _length(mm: float) -> str:
    return f"{mm:g} mm" if mm >= 1 else f"{mm * 1000:g} µm"


def _range(low: float, high: float) -> str:
    if low >= 1:
        return f"{low:g}-{high:g} mm"
    return f"{low * 1000:g}-{high * 1000:g} µm" if high < 1 else f"{low:g}-{high:g} mm"
