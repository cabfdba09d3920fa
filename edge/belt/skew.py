"""How a belt moves across the picture while it moves along."""

from __future__ import annotations

import math

# px of travel after which what was seen counts 1/e: a camera stays as it was mounted.
MEMORY = 5000.0
# The skew is drawn to zero until the belt has travelled by about so many px, and the more the
# camera vibrates: a camera is mounted to about so much, crossweb px per downweb px.
PRIOR, MOUNTING = 120.0, 0.01


class Skew:
    """A line through the belt's positions, the last ones above all.

    Each counts by the travel since the one before, so a belt that stands still adds nothing.
    """

    def __init__(self) -> None:
        self._weight = self._downweb = self._crossweb = 0.0
        # Weighted sums about the means: of squares along and across, and of products.
        self._square = self._across = self._product = 0.0
        self._last: float | None = None
        self._travel = 0.0

    def add(self, downweb: float, crossweb: float) -> None:
        """The next position, px."""
        travel = 0.0 if self._last is None else abs(downweb - self._last)
        self._last = downweb
        kept = math.exp(-travel / MEMORY)
        self._weight = self._weight * kept + travel
        if not self._weight:
            self._downweb, self._crossweb = downweb, crossweb
            return
        self._travel = travel or self._travel
        part = travel / self._weight
        off, across = downweb - self._downweb, crossweb - self._crossweb
        self._downweb += part * off
        self._crossweb += part * across
        added = travel * (1 - part)
        self._square = self._square * kept + added * off**2
        self._across = self._across * kept + added * across**2
        self._product = self._product * kept + added * off * across

    @property
    def value(self) -> float:
        """Slope of the line, crossweb px per downweb px."""
        if not self._square:
            return 0.0
        variance = max(self._across - self._product**2 / self._square, 0.0) / self._weight
        doubt = variance / MOUNTING**2 * self._travel
        return self._product / (self._square + PRIOR**3 / 12 + doubt)

    def at(self, downweb: float) -> float:
        """The line there, crossweb px."""
        return self._crossweb + self.value * (downweb - self._downweb)
