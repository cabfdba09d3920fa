"""train evaluate: score a network on labelled photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from edge.arguments import Number, OutputFile, PathArgument, Text
from edge.errors import BadArgumentError, error_handler, printable, require_extra
from train.commands.options import CLASSES, DATA, note


@click.command()
@click.argument("checkpoint", type=Text())
@click.option("--data", type=DATA, required=True, help="Photos with masks, or with --points.")
@click.option(
    "--points",
    type=PathArgument(dir_okay=False),
    help="CSV of file,x,y[,ignore], or COCO keypoints: points on the particles of the photos.",
)
@CLASSES
@click.option(
    "--tolerance",
    type=Number(min=0),
    help="Px that a detection may lie beside a labelled object.  [default: 0; 3 with --points]",
)
@click.option("--threshold", type=Number(0, 1), help="[default: CHECKPOINT's own]")
@click.option(
    "--min-diameter",
    type=Number(min=0),
    help="Px; smaller objects do not count.  [default: CHECKPOINT's own]",
)
@click.option("--max-diameter", type=Number(min=0), help="Px; larger objects do not count.")
@click.option(
    "--recall",
    type=Number(0, 1, min_open=True),
    help="Print the highest threshold that reaches this recall of objects.",
)
@click.option(
    "--save",
    type=OutputFile(),
    help="Write CHECKPOINT, a .pt, with that threshold (or --threshold) and --min-diameter to this "
    "file.",
)
@click.option(
    "--curve",
    "picture",
    type=OutputFile(),
    help="Plot precision against recall into this PNG file.",
)
def evaluate(
    checkpoint: str,
    data: Path,
    points: Path | None,
    classes: tuple[str, ...],
    tolerance: float | None,
    threshold: float | None,
    min_diameter: float | None,
    max_diameter: float | None,
    recall: float | None,
    save: Path | None,
    picture: Path | None,
) -> None:
    """Score CHECKPOINT on every photo of a folder.

    \b
    CHECKPOINT is a .pt file of 'train fit', an engine, or the name of a shipped one.
    Labels are one of
      masks or COCO annotations, as for 'train fit'
      --points FILE; a photo of DATA (or DATA/images) without a point has no particle
    """
    if not points and tolerance and tolerance != int(tolerance):
        raise click.BadParameter("must be whole px with masks", param_hint="--tolerance")
    if min_diameter and max_diameter is not None and min_diameter > max_diameter:
        raise click.UsageError("--min-diameter is larger than --max-diameter")
    with error_handler():
        with require_extra("train"):
            from edge.particles import ParticleFilter
            from train.checkpoint import Checkpoint
            from train.checkpoint import save as write
            from train.crossval import load_samples
            from train.data.points import point_samples, read_points
            from train.evaluate import evaluate as score
            from train.evaluate import open_source, operating_point, probability_maps
            from train.precision_recall import evaluate_masks, evaluate_points
        source = open_source(checkpoint)
        particle_filter = ParticleFilter.of(
            operating_point(source), threshold, min_diameter, max_diameter
        )
        used = particle_filter.threshold
        if points:
            clicked = point_samples(data, read_points(points))
            curve = evaluate_points(
                probability_maps(source, (photo.image for photo in clicked)),
                [photo.labels for photo in clicked],
                3.0 if tolerance is None else tolerance,
                particle_filter,
            )
            click.echo(f"{len(clicked)} photos")
        else:
            beside = int(tolerance or 0)
            photos = load_samples(data, classes, note)
            scored = score(source, photos, beside, particle_filter)
            click.echo(f"{scored.describe(used)}\n")
            curve = evaluate_masks(scored.maps, photos, beside, particle_filter)
        click.echo(f"{curve.operating_row.describe()}\n\n{curve.describe()}")
        if picture:
            curve.plot(picture)
            click.echo(f"\n{printable(str(picture))}")
        if recall:
            row = curve.at_recall(recall)
            click.echo(
                f"\n--threshold {row.threshold:.4f} reaches a recall of {row.recall:.4f} at a "
                f"precision of {row.precision:.4f}"
            )
            used = row.threshold
        if save:
            if not isinstance(source, Checkpoint):
                raise BadArgumentError(f"{checkpoint}: --save takes a .pt, an engine keeps its own")
            least = particle_filter.min_diameter_px or 0.0
            write(replace(source, threshold=round(used, 4), min_diameter_px=least), save)
            click.echo(
                f"{printable(str(save))}: threshold {used:.4f}, particles of {least:g} px and more"
            )
