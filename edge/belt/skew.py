"""How far a belt moves across the picture while it moves along."""

from __future__ import annotations

import math

# px of travel after which what was seen counts 1/e: a camera stays as it was mounted.
MEMORY = 5000.0
# The skew is drawn to zero until the belt has travelled by about so many px: before, the vibration
# of a camera looks like a skew.
PRIOR = 120.0


class Skew:
    """The slope of a line through the belt's positions, the last ones above all.

    Each counts by the travel since the one before, so a belt that stands still adds nothing.
    """

    def __init__(self) -> None:
        self._weight = self._downweb = self._crossweb = 0.0
        # Weighted sums about the means: of squares, and of products.
        self._square = self._product = 0.0
        self._last: float | None = None

    def add(self, downweb: float, crossweb: float) -> None:
        """The next position, px."""
        travel = 0.0 if self._last is None else abs(downweb - self._last)
        self._last = downweb
        kept = math.exp(-travel / MEMORY)
        self._weight = self._weight * kept + travel
        if not self._weight:
            self._downweb, self._crossweb = downweb, crossweb
            return
        part = travel / self._weight
        off, across = downweb - self._downweb, crossweb - self._crossweb
        self._downweb += part * off
        self._crossweb += part * across
        self._square = self._square * kept + travel * (1 - part) * off**2
        self._product = self._product * kept + travel * (1 - part) * off * across

    @property
    def value(self) -> float:
        """Crossweb px per downweb px."""
        return self._product / (self._square + PRIOR**3 / 12)
