"""train crossval: the comparison of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge.errors import error_handler, require_extra
from train.commands.options import (
    CLASSES,
    DATA,
    INIT,
    TOLERANCE,
    note,
    recipe_of,
    settings_of,
    stoppable,
    training_options,
)
from train.commands.tables import show_tables
from train.models.registry import PAPER_MODELS, open_model


@click.command()
@click.option(
    "--models",
    "--model",
    "models",
    default="all",
    show_default=True,
    help="Names or .json descriptions, with commas; all: the five of the paper.",
)
@click.option("--fold", type=click.IntRange(1, 5), help="This fold only.  [default: all five]")
@click.option("--data", type=DATA, required=True, help="Folder with images/ and masks/, or COCO.")
@click.option(
    "--split",
    "split_name",
    default="photo",
    show_default=True,
    help="Folds by photo (crops of one photo stay together), by crop (likely the paper's way), "
    "or a split.json.",
)
@TOLERANCE
@CLASSES
@INIT
@training_options
@click.option("--ray", "address", help="Ray cluster that runs the jobs; local starts one.")
def crossval(
    models: str,
    fold: int | None,
    split_name: str,
    tolerance: int,
    classes: tuple[str, ...],
    init: str | None,
    data: Path,
    out: Path,
    recipe: str | None,
    devices: int | None,
    epochs: int | None,
    address: str | None,
    **settings: Any,
) -> None:
    """The paper's comparison: five networks, five folds, then its tables with ours beside."""
    with error_handler(), stoppable():
        specs = [open_model(name) for name in PAPER_MODELS] if models == "all" else [
            open_model(name) for name in models.split(",")
        ]  # fmt: skip
        with require_extra("train"):
            from train.checkpoint import open_checkpoint
            from train.crossval import Job, prepare_split, run_here
            from train.provenance import Origin
        start = open_checkpoint(init) if init else None
        chosen = recipe_of(recipe or ("strong" if start else "paper"), start)
        settings["classes"] = classes
        asked = settings_of(data.name, start, devices, epochs, settings)
        prepare_split(data, out, split_name, asked, note)
        origin = Origin.of_this_process(data)
        jobs = [
            Job(spec, chosen, number, data, out, asked, tolerance, init, origin)
            for spec in specs
            for number in ([fold] if fold else range(1, 6))
        ]
        if address:
            with require_extra("cluster"):
                from train.cluster import run_on_ray
            finished = run_on_ray(jobs, address)
        else:
            finished = run_here(jobs)
        for number, (job, result) in enumerate(finished, 1):
            click.echo(f"\n[{number}/{len(jobs)}] {job}: {result.training_result.describe()}")
        click.echo()
        show_tables(out)
