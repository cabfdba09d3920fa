"""Fibre, pellet or fragment, by stated rules, and how sure that is at the size of the particle."""

from __future__ import annotations

import math

# Longer than three times its width: ECHA's and the EU's fibres, Regulation (EU) 2023/2055.
FIBRE_RATIO = 3.0
# A curled fibre fills little of its hull; its ratio is that of the rectangle of the same area and
# perimeter.
CURLED_SOLIDITY = 0.6
# 4 area / (pi length^2), ISO 9276-6: 1 for a disc, 0.75 for an ellipse of 4:3, 0.64 for a square.
PELLET_ROUNDNESS = 0.75
# Standard deviation of a length on a grid of pixels: an end lies anywhere within its pixel.
LENGTH_ERROR_PX = 0.4
# A class that is right less often is not told.
MIN_CERTAINTY = 0.8
NAMES = ("fragment", "pellet", "fibre", "unclear")


def shape_class(
    area: float, feret_max: float, feret_min: float, perimeter: float, solidity: float
) -> tuple[str, float]:
    """The name, one of `NAMES`, and the probability 0..1 that the likeliest class is right.

    Only of the outline, as digitised: lengths in px, area in px. Errors of the mask come on top.
    Films are not told from fragments: that takes their thickness, which a picture from above does
    not show.
    """
    long, wide = feret_max, feret_min
    if solidity < CURLED_SOLIDITY and perimeter**2 > 16 * area:
        long = (perimeter + math.sqrt(perimeter**2 - 16 * area)) / 4
        wide = area / long
    ratio = long / wide
    ratio_error = ratio * LENGTH_ERROR_PX * math.hypot(1 / long, 1 / wide)
    fibre = _above(ratio - FIBRE_RATIO, ratio_error)
    roundness = 4 * area / (math.pi * feret_max**2)
    roundness_error = 2 * roundness * LENGTH_ERROR_PX / feret_max
    pellet = (1 - fibre) * _above(roundness - PELLET_ROUNDNESS, roundness_error)
    chances = {"fibre": fibre, "pellet": pellet, "fragment": 1 - fibre - pellet}
    name = max(chances, key=lambda one: chances[one])
    certainty = round(chances[name], 3)
    return (name if certainty >= MIN_CERTAINTY else "unclear"), certainty


def _above(difference: float, error: float) -> float:
    """Probability that a normal variable of that mean and standard deviation is positive."""
    return 0.5 * (1 + math.erf(difference / error / math.sqrt(2)))
