"""The tile shapes that an engine is built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Tiles of one size in batches of `batch`, which is (smallest, optimum, largest).

    The builder tunes for the optimum batch.

    Attributes:
        tile_hw: (height, width) of a tile, px.

    Raises:
        ValueError: a size below one, or a batch that is not in order.
    """

    tile_hw: tuple[int, int]
    batch: tuple[int, int, int]

    def __post_init__(self) -> None:
        if min(self.tile_hw) < 1:
            raise ValueError(f"a tile of {self.tile_hw[0]}x{self.tile_hw[1]} px holds no pixel")
        smallest, optimum, largest = self.batch
        if not 1 <= smallest <= optimum <= largest:
            raise ValueError(
                f"batches of {smallest}, {optimum} and {largest} (smallest, optimum, largest): "
                f"each must be 1 or more and no smaller than the one before"
            )

    @property
    def shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shapes (N,H,W,3) of the smallest, optimum and largest batch."""
        return tuple((count, *self.tile_hw, 3) for count in self.batch)
