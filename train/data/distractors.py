"""Things on sand that are no plastic particles, and that a network must leave alone.

Each function draws some of one kind; what is larger than a particle may have any colour, what is
as small as one has the colours that sand has.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from train.data.shapes import (
    Floats,
    blob,
    fill,
    place,
    rasterised,
    rgb,
    shadow,
    smooth_noise,
    strand,
    turn,
)


def scatter_distractors(rng: np.random.Generator, canvas: Floats) -> None:
    """Draw some kinds of distractors, drawn at random, as many as the canvas has room for."""
    megapixels = canvas.shape[0] * canvas.shape[1] / 1e6
    for draw, fraction, per_megapixel in KINDS:
        if rng.random() < fraction:
            # At least one in small crops too, which would else never see the rare ones.
            count = rng.uniform(0.2, 1) * per_megapixel * megapixels
            for _ in range(min(400, int(count) + (rng.random() < count % 1))):
                draw(rng, canvas, *place(rng, canvas))


def _tone(canvas: Floats, x: float, y: float) -> Floats:
    """Mean colour of the sand around (x, y)."""
    rows = slice(max(0, int(y) - 6), int(y) + 7)
    return rgb(*cv2.mean(canvas[rows, max(0, int(x) - 6) : int(x) + 7])[:3])


def _stone(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A stone with a lit face, some with a bright rim or veins."""
    length = float(np.exp(rng.uniform(math.log(24), math.log(70))))
    outline = blob(rng, length, length * rng.uniform(0.5, 1), 0.15)
    grey = float(_tone(canvas, x, y).mean())
    tone = (grey * rng.uniform(0.3, 1.7) + rng.normal(0, 0.04, 3)).astype(np.float32)
    tone = np.clip(tone, 0.05, 0.97)
    shadow(canvas, outline, x + length * 0.03, y + length * 0.05, 0.5)
    if rng.random() < 0.3:  # a rim in the light
        fill(canvas, rasterised(outline * 1.08, x - 1, y - 1), np.clip(tone * 1.6, 0, 1), 0.8)
    fill(canvas, rasterised(outline, x, y), tone)
    fill(
        canvas,
        rasterised(outline * 0.8, x - length * 0.03, y - length * 0.05),
        np.clip(tone * 1.18, 0, 1),
        0.5,
    )
    for _ in range(int(rng.integers(0, 4))):  # spots and glints on it
        spot = blob(rng, rng.uniform(1, 3), rng.uniform(1, 2.5), 0.2)
        dx, dy = rng.uniform(-0.3, 0.3, 2) * length
        fill(canvas, rasterised(spot, x + dx, y + dy), np.clip(tone * 1.5, 0, 1), 0.7)


def _shell(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A pale, ribbed shell, larger than particles."""
    length = rng.uniform(28, 60)
    outline = blob(rng, length, length * rng.uniform(0.5, 0.9), 0.1)
    pale = rgb(0.90, 0.84, 0.76) + rng.normal(0, 0.04, 3).astype(np.float32)
    shadow(canvas, outline, x, y, 0.5)
    for scale in np.arange(1.0, 0.15, -0.15):
        tone = pale * np.float32(rng.uniform(0.78, 1.05))
        fill(canvas, rasterised(outline * scale, x, y), np.clip(tone, 0, 1))


def _twig(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A twig or plant fibre: brown to black, now and then as pale as straw, never saturated."""
    length = rng.uniform(5, 60)
    outline = strand(rng, length, rng.uniform(0.8, 4))
    straw = length > 25 and rng.random() < 0.4  # longer than fibres are
    brown = rgb(0.72, 0.62, 0.42) if straw else rgb(0.30, 0.22, 0.14)
    fill(
        canvas,
        rasterised(outline, x, y),
        np.clip(brown * np.float32(rng.uniform(0.5, 1.3)), 0, 1),
        rng.uniform(0.5, 1),
    )


def _grain(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A grain that stands out a little, darker or lighter than the sand; no shadow, blurred in."""
    length = rng.uniform(1.5, 7)
    factor = rng.uniform(0.2, 0.8) if rng.random() < 0.6 else rng.uniform(1.03, 1.22)
    tone = _tone(canvas, x, y) * np.float32(factor)
    tone += rng.normal(0, 0.015, 3).astype(np.float32)
    outline = blob(rng, length, length * rng.uniform(0.5, 1), 0.3)
    fill(canvas, rasterised(outline, x, y), np.clip(tone, 0.02, 0.95), rng.uniform(0.3, 0.9))


def _ochre(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A rusty or ochre grain."""
    length = rng.uniform(1.5, 6)
    tone = rgb(0.55, 0.36, 0.20) + rng.normal(0, 0.05, 3).astype(np.float32)
    outline = blob(rng, length, length * rng.uniform(0.5, 1), 0.3)
    fill(canvas, rasterised(outline, x, y), np.clip(tone, 0, 1), rng.uniform(0.3, 0.8))


def _glint(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A glint of quartz, salt or wet sand: white, but only a pixel or so."""
    outline = blob(rng, rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.9), 0)
    fill(canvas, rasterised(outline, x, y), np.ones(3, np.float32), rng.uniform(0.3, 0.9))


def _bubble(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A ring of foam or a droplet: a thin bright rim around sand, a dot of light in it."""
    radius = rng.uniform(3, 14)
    centre = (round(x * 16), round(y * 16))
    layer = canvas.copy()
    bright = np.clip(_tone(canvas, x, y) * rng.uniform(1.15, 1.5), 0, 1).tolist()
    cv2.circle(layer, centre, round(radius * 16), bright, 1, cv2.LINE_AA, 4)
    cv2.addWeighted(layer, 0.7, canvas, 0.3, 0, dst=canvas)


def _flat(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A leaf or toy: a large patch of one colour with dark or light lines on it."""
    length = rng.uniform(40, 160)
    outline = blob(rng, length, length * rng.uniform(0.25, 0.8), 0.1)
    colour = rng.uniform(0.05, 0.95, 3).astype(np.float32)
    if rng.random() < 0.4:
        colour = rgb(0.1, 0.6, 0.4) + rng.normal(0, 0.08, 3).astype(np.float32)
    colour = np.clip(colour, 0, 1)
    shadow(canvas, outline, x + 3, y + 4, 0.5)
    sprite = rasterised(outline, x, y)
    before = canvas.copy()
    fill(canvas, sprite, colour)
    direction = turn(rng)[0]
    gap = rng.uniform(6, 22)
    line = np.clip(colour * rng.uniform(0.4, 1.4), 0, 1).tolist()
    for offset in np.arange(-length, length, gap):
        middle = np.array([x, y]) + offset * direction
        along = np.array([-direction[1], direction[0]]) * length
        ends = [tuple(int(v) for v in np.rint(middle + sign * along)) for sign in (-1, 1)]
        cv2.line(canvas, ends[0], ends[1], line, int(rng.integers(1, 3)), cv2.LINE_AA)
    windows = sprite.windows(*canvas.shape[:2])
    # The lines end where it ends.
    inside = np.zeros(canvas.shape[:2], np.float32)
    if windows is not None:
        inside[windows[0]] = sprite.alpha[windows[1]]
    canvas += (before - canvas) * (1 - inside)[..., None]


def _wood(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """The edge of a tray: wood, plastic or metal beyond a straight line, with a bright rim."""
    height, width = canvas.shape[:2]
    direction = turn(rng)[0]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    beyond = (columns - x) * direction[0] + (rows - y) * direction[1]
    along = rows * direction[0] - columns * direction[1]
    colour = rgb(0.70, 0.52, 0.34) if rng.random() < 0.6 else rng.uniform(0, 1, 3)
    fibres = smooth_noise(rng, 1, 2048, rng.uniform(2, 8))[0]
    at = (beyond * 2 + along * rng.uniform(0, 0.1)).astype(np.int64) % 2048
    surface = np.clip(colour * (1 + 0.06 * fibres[at])[..., None], 0, 1)
    alpha = np.clip(beyond + 0.5, 0, 1)[..., None]
    # Only the near side of a large canvas, or all of it would be wood.
    alpha = alpha * (np.abs(beyond) < 120)[..., None]
    rim = np.exp(-((beyond - rng.uniform(0, 3)) ** 2) / 3)[..., None] * rng.uniform(-0.4, 0.5)
    canvas += (alpha * (surface - canvas)).astype(np.float32)
    np.clip(canvas + rim, 0, 1, out=canvas)


def _print(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A footprint, hole or ripple: dark on the side of the light, bright on the other."""
    length = rng.uniform(15, 90)
    outline = blob(rng, length, length * rng.uniform(0.3, 0.9), 0.2)
    lit = np.zeros((*canvas.shape[:2], 1), np.float32)
    offset = length * rng.uniform(0.04, 0.12)
    one = np.ones(1, np.float32)
    fill(lit, rasterised(outline, x + offset, y + offset), one)
    fill(lit, rasterised(outline, x - offset, y - offset), -one, 0.7)
    soft = cv2.GaussianBlur(lit[..., 0], (0, 0), rng.uniform(1.5, 0.12 * length + 1.6))
    canvas *= (1 + rng.uniform(0.1, 0.45) * soft)[..., None]
    np.clip(canvas, 0, 1, out=canvas)


def _wet(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """A wet or sunlit patch with a sharp or soft border, glittering where it is wet."""
    length = rng.uniform(40, 300)
    sprite = rasterised(blob(rng, length, length * rng.uniform(0.4, 1), 0.25), x, y)
    darker = np.zeros((*canvas.shape[:2], 1), np.float32)
    fill(darker, sprite, np.ones(1, np.float32))
    border = cv2.GaussianBlur(darker[..., 0], (0, 0), rng.uniform(0.8, 12))
    canvas *= (1 + rng.uniform(-0.5, 0.45) * border)[..., None]
    np.clip(canvas, 0, 1, out=canvas)


def _text(rng: np.random.Generator, canvas: Floats, x: float, y: float) -> None:
    """Printed characters, as on scales and labels."""
    text = "".join(chr(c) for c in rng.integers(33, 91, int(rng.integers(1, 6))))
    drawn = np.zeros(canvas.shape[:2], np.uint8)
    cv2.putText(
        drawn, text, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 1.1),
        255, int(rng.integers(1, 3)), cv2.LINE_AA,
    )  # fmt: skip
    shade = np.float32(rng.choice([0.03, 0.97]))
    canvas += (shade - canvas) * np.divide(drawn, 255, dtype=np.float32)[..., None]


Draw = Callable[[np.random.Generator, Floats, float, float], None]
# What is drawn, in which fraction of the scenes, and how many per megapixel at most.
KINDS: tuple[tuple[Draw, float, float], ...] = (
    (_print, 0.25, 60),
    (_wet, 0.15, 15),
    (_stone, 0.35, 60),
    (_shell, 0.15, 40),
    (_flat, 0.15, 25),
    (_wood, 0.05, 60),
    (_twig, 0.4, 300),
    (_grain, 0.75, 5000),
    (_ochre, 0.3, 1000),
    (_glint, 0.3, 1500),
    (_bubble, 0.1, 40),
    (_text, 0.05, 30),
)
