"""train fit: train one network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click

from edge.arguments import Number, PathArgument
from edge.errors import error_handler, printable, require_extra
from train.commands.options import (
    CLASSES,
    DATA,
    INIT,
    material_options,
    note,
    recipe_of,
    settings_of,
    stoppable,
    training_options,
)
from train.models.registry import open_model


@click.command()
@click.option(
    "--model", help="Name of a network, or a .json description of one.  [default: that of --init]"
)
@INIT
@click.option(
    "--data", type=DATA, help="Folder with images/ and masks/, or COCO, or photos for --points."
)
@click.option(
    "--points",
    type=PathArgument(dir_okay=False),
    help="CSV of file,x,y[,ignore], or COCO keypoints: learn from points on particles, not masks.",
)
@click.option(
    "--point-diameter",
    type=Number(min=1),
    help="Px of the disc that is learnt at each point.  [default: the blob segmented around it]",
)
@CLASSES
@material_options
@click.option(
    "--crops",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Rendered crops of an epoch, with --sand.",
)
@training_options
def fit(
    model: str | None,
    init: str | None,
    sand: tuple[str, ...],
    negatives: tuple[str, ...],
    cutouts: Path | None,
    crops: int,
    data: Path | None,
    points: Path | None,
    point_diameter: float | None,
    classes: tuple[str, ...],
    out: Path,
    recipe: str | None,
    devices: int | None,
    epochs: int | None,
    **settings: Any,
) -> None:
    """Train one network on photos, of which one in ten validates, or on rendered crops.

    With --sand, every crop is rendered on such photos at its training step, and none is repeated.

    \b
    OUT/best.pt   checkpoint of the best epoch, for export-trt
    OUT/last.pt   of the last one
    """
    if bool(sand) == (data is not None):
        raise click.UsageError("give either --data FOLDER or --sand FOLDER|GLOB")
    if points and not data:
        raise click.UsageError("--points are of the photos of --data FOLDER")
    if classes and (points or not data):
        raise click.UsageError("--classes are of a COCO file in --data FOLDER")
    if point_diameter and not points:
        raise click.UsageError("--point-diameter is of --points FILE")
    if not (model or init):
        raise click.UsageError("give --model NAME, or --init for the network of a checkpoint")
    with error_handler(), stoppable():
        with require_extra("train"):
            from train.checkpoint import open_checkpoint
            from train.crossval import load_samples
            from train.data.blobs import with_mask
            from train.data.folds import hold_out
            from train.data.points import point_samples, read_points
            from train.data.samples import Sample
            from train.data.store import keep_samples
            from train.data.stream import Stream
            from train.fit import BEST
            from train.fit import fit as run
            from train.provenance import Origin
        start = open_checkpoint(init) if init else None
        spec = start.spec if start and not model else open_model(model or "")
        default = "rendered" if sand else "strong" if init else "paper"
        chosen = recipe_of(recipe or default, start)
        training: list[Sample] | Stream
        if sand:
            training = Stream(sand, negatives, str(cutouts) if cutouts else None, crops)
            validation = training.validation_samples(settings["crop"])
            name = "rendered"
        else:
            assert data is not None
            if points:
                clicked = point_samples(data, read_points(points))
                photos = keep_samples(with_mask(photo, point_diameter) for photo in clicked)
                settings["points"] = hashlib.sha256(points.read_bytes()).hexdigest()
                settings["point_diameter"] = point_diameter
            else:
                photos = load_samples(data, classes, note)
                settings["classes"] = classes
            training, validation = hold_out(photos, settings["seed"])
            name = data.name
        asked = settings_of(name, start, devices, epochs, settings)
        origin = Origin.of_this_process(data)
        training_result = run(spec, chosen, training, validation, out, asked, start, origin)
        click.echo(f"\n{training_result.describe()}\n{printable(str(out / BEST))}")
