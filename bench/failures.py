"""Visualise where a model fails on rendered scenes.

python -m bench.failures half_mrunet docs/failures.jpg
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from bench.detectors import find, opened
from bench.real_sets import whole
from edge.arguments import OutputFile
from edge.errors import error_handler
from edge.visualisation import write_image
from train.data.synth import Scene, scene

SIDE, SCALE = 160, 2
# Scenes looked at, and how many of the worst are shown.
SCENES, SHOWN = 120, 8
TP_BGR, FN_BGR, FP_BGR = (0, 200, 0), (255, 80, 0), (0, 0, 255)


def failures(true_mask: NDArray[np.uint8], found: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Labels, from 1, of the 8-connected objects of each mask that the other does not touch."""
    false_negatives, false_positives = (
        [label for label in range(1, count) if not (other[labels == label]).any()]
        for (count, labels), other in (
            (cv2.connectedComponents(true_mask), found),
            (cv2.connectedComponents(found), true_mask),
        )
    )
    return false_negatives, false_positives


def visualise(rendered: Scene, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The scene (BGR, enlarged), TP circled in green, FN in blue, FP in red."""
    size = (SIDE * SCALE, SIDE * SCALE)
    image = cv2.resize(
        cv2.cvtColor(rendered.image, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_CUBIC
    )
    false_negatives, false_positives = failures(rendered.mask, found)
    for mask, wrong, colour, wrong_colour in (
        (rendered.mask, false_negatives, TP_BGR, FN_BGR),
        (found, false_positives, None, FP_BGR),
    ):
        centres = cv2.connectedComponentsWithStats(mask)[3]
        for label, (x, y) in enumerate(centres[1:], 1):
            shown = wrong_colour if label in wrong else colour
            if shown:
                centre = (round((x + 0.5) * SCALE), round((y + 0.5) * SCALE))
                cv2.circle(image, centre, 7 * SCALE, shown, 1, cv2.LINE_AA)
    return np.asarray(cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=[255] * 3))


@click.command()
@click.argument("model")
@click.argument("out", type=OutputFile())
def main(model: str, out: Path) -> None:
    """Draw the rendered scenes that MODEL does worst on into OUT, a .jpg or .png."""
    with error_handler(), opened(model) as detector:
        scenes = [scene(np.random.default_rng((5, i)), SIDE, SIDE) for i in range(SCENES)]
        maps = find(detector, [whole(str(i), s.image) for i, s in enumerate(scenes)]).maps
        masks = [detector.particle_filter.mask(one) for one in maps]
        pairs = list(zip(scenes, masks, strict=True))
        pairs.sort(key=lambda pair: -sum(map(len, failures(pair[0].mask, pair[1]))))
        cells = [visualise(*pair) for pair in pairs[:SHOWN]]
        rows = [np.hstack(cells[i : i + SHOWN // 2]) for i in (0, SHOWN // 2)]
        write_image(out, np.vstack(rows))
        click.echo(out)


if __name__ == "__main__":
    main()
