"""What `bench accuracy` found, in the model cards of the shipped weights.

python -m bench.cards bench/results/accuracy-cpu.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.scores import Estimate
from bench.tables import table
from edge.arguments import PathArgument
from edge.engines import WEIGHTS
from edge.errors import EdgeError, error_handler
from edge.files import atomic_write

TITLE = "## On real photos"
# Every so many thresholds of the curve stand in the card.
CURVE_STEP = 3
DATA = """## Data and licences

Trained on rendered particles only; `train/weights.mk` holds every step. The sand under them: photos
of DigitalGrainSize/pyDGS (MIT), dmair1989/imagegrains (BSD-3-Clause), zsylvester/segmenteverygrain
(Apache-2.0), cc0textures.com through Zylann/godot_hterrain_demo (CC0), CVIR-Lab/MarsData (CC BY
4.0, photos NASA/JPL-Caltech) and scikit-image's gravel (CC0). Some particles are cut out of photos
of polystyrene beads, MisterKrabz/Microplastic-Segmentation-Research (CC BY 4.0). No photo of the
sets below was trained on, but for these cut-outs.
"""


def section(result: Mapping[str, Any], model: str) -> str:
    """Markdown about one model of a `bench accuracy` result.

    Raises:
        EdgeError: the result does not hold the model.
    """
    if model not in [row["name"] for row in result["models"]]:
        raise EdgeError(f"{model}: not in this result of 'bench accuracy'; measure it too")
    rows = [
        (
            row["dataset"],
            f"{row['threshold_u8'] / 255:.3f} ({row['choice']})",
            f"{row['min_diameter_px'] or 0:g}",
            *(Estimate(**row[key]) for key in ("recall", "precision", "f1")),
        )
        for row in result["objects"]
        if row["detector"] == model
    ]
    points = [
        (
            f"{point['threshold_u8'] / 255:.3f}",
            *(f"{point[key]:.3f}" for key in ("recall", "precision", "f1")),
            "" if rate is None else f"{rate:.0f}",
        )
        for point in result["curves"].get("sand", {}).get(model, [])[::CURVE_STEP]
        for rate in (point["false_positives_per_megapixel"],)
        if point["recall"]
    ]
    scores = ("recall", "precision", "F1")
    parts = [
        TITLE,
        "Objects matched one to one, at most 3 px apart, those below the smallest diameter left "
        "out; 95% intervals in brackets.",
        table(("set", "threshold", "smallest, px", *scores), rows, left=2),
        *(
            f"On {row['megapixels']:.1f} megapixels of sand and gravel without plastic it marks "
            f"{Estimate(**row['per_megapixel'])} objects per megapixel as shipped."
            for row in result["clean"]
            if row["detector"] == model
        ),
        "The labelled patches over thresholds, at the shipped smallest diameter:",
        table(("threshold", *scores, "false positives per megapixel of clean sand"), points),
        "Rendered scenes that `half_mrunet` does worst on; true positives green, false negatives "
        "blue, false positives red:",
        "![failures on rendered scenes](../../docs/failures.jpg)",
    ]
    return "\n\n".join(parts) + "\n"


@click.command()
@click.argument("result", type=PathArgument(exists=True, dir_okay=False))
def main(result: Path) -> None:
    """Write what RESULT, a JSON file of 'bench accuracy', says into the cards of its models."""
    with error_handler():
        content = json.loads(result.read_text(encoding="utf-8"))
        for row in content["models"]:
            card = WEIGHTS / f"{row['name']}.md"
            if not card.is_file():
                continue
            kept = card.read_text(encoding="utf-8").partition(DATA.partition("\n")[0])[0].rstrip()
            text = f"{kept}\n\n{DATA}\n{section(content, row['name'])}"
            with atomic_write(card) as temporary:
                temporary.write_text(text, encoding="utf-8")
            click.echo(card)


if __name__ == "__main__":
    main()
