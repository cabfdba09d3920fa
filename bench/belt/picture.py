"""Draw frames of a rendered belt, and the strip of them with its particles.

python -m bench.belt.picture docs/belt.jpg
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from bench.belt.belts import rendered, unmarked
from bench.belt.camera import MARGIN, BeltCamera, Condition
from bench.belt.ways import on_strip
from edge.arguments import OutputFile
from edge.engines import open_engine
from edge.errors import error_handler
from edge.visualisation import write_image

# The belt moves to the left in the picture, as it would be drawn; frames are shown every so many.
CONDITION = Condition("", 40.3, 27, height=400, noise=2, per_megapixel=60)
WIDTH, EVERY, SEED = 400, 6, 11
SCAN_BGR, PARTICLE_BGR, PAPER = (0, 220, 255), (0, 200, 0), 255
GAP = 12


@click.command()
@click.argument("out", type=OutputFile())
def main(out: Path) -> None:
    """Draw it into OUT, a .jpg or .png."""
    with error_handler(), contextlib.closing(open_engine("half_mrunet")) as engine:
        scene = rendered(SEED, CONDITION.length(), WIDTH + 2 * MARGIN, CONDITION.per_megapixel)
        frames = list(BeltCamera(unmarked(scene), CONDITION, SEED))
        run = on_strip(engine, frames, eject_px=1)
        strip = _laid(run.picture)
        for x, y in run.places.tolist():
            centre = round(y * 16), round((WIDTH - 1 - x) * 16)
            cv2.circle(strip, centre, 9 * 16, PARTICLE_BGR, 2, cv2.LINE_AA, 4)
        shown = [_frame(frame.image) for frame in frames[::EVERY]]
        gap = np.full((len(shown[0]), GAP, 3), PAPER, np.uint8)
        above = np.hstack([part for frame in shown for part in (frame, gap)][:-1])
        width = max(above.shape[1], strip.shape[1])
        rows = [_padded(above, width), np.full((GAP, width, 3), PAPER, np.uint8)]
        options = [cv2.IMWRITE_JPEG_QUALITY, 70] if out.suffix == ".jpg" else []
        write_image(out, np.vstack([*rows, _padded(strip, width)]), options)
        click.echo(out)


def _laid(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB in which the belt moves up, as BGR in which it moves to the left."""
    return np.ascontiguousarray(np.rot90(image)[..., ::-1])


def _frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame, half as large, with its scan row."""
    laid = cv2.resize(_laid(image), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    column = CONDITION.scan_row // 2
    cv2.line(laid, (column, 0), (column, len(laid)), SCAN_BGR, 2)
    return np.asarray(laid, np.uint8)


def _padded(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    missing = width - image.shape[1]
    return np.pad(image, ((0, 0), (0, missing), (0, 0)), constant_values=PAPER)


if __name__ == "__main__":
    main()
