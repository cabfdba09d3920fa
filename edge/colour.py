"""The colour of a particle as a name."""

from __future__ import annotations

import math

# Below this chroma a colour is white, grey or black.
MIN_CHROMA = 12.0
WHITE_FROM, BLACK_TO = 75.0, 30.0
# Hue angles in degrees at which a name begins, on CIE L*a*b* of sRGB under D65.
HUES = ((0, "red"), (50, "orange"), (82, "yellow"), (112, "green"), (180, "blue"),
        (310, "purple"), (350, "red"))  # fmt: skip
# A dark orange or yellow is brown, a light red or purple pink.
BROWN_TO, PINK_FROM = 55.0, 65.0
NAMES = ("white", "grey", "black", "brown", "red", "orange", "yellow", "green", "blue", "purple",
         "pink")  # fmt: skip


def colour_name(lab: tuple[float, float, float]) -> str:
    """The name, one of `NAMES`, of a colour in CIE L*a*b* (D65).

    Names of what a camera saw: light and white balance are part of it. Transparent particles have
    the colour of what they lie on.
    """
    lightness, a, b = lab
    if math.hypot(a, b) < MIN_CHROMA:
        if lightness >= WHITE_FROM:
            return "white"
        return "black" if lightness < BLACK_TO else "grey"
    hue = math.degrees(math.atan2(b, a)) % 360
    name = next(name for begin, name in reversed(HUES) if hue >= begin)
    if name in ("orange", "yellow") and lightness < BROWN_TO:
        return "brown"
    if name in ("red", "purple") and lightness >= PINK_FROM:
        return "pink"
    return name
