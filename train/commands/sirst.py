"""train sirst: the NUAA-SIRST v1 benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge.arguments import PathArgument
from edge.errors import error_handler, printable, require_extra
from train.commands.options import DATA, INIT, recipe_of, settings_of, stoppable, training_options
from train.models.registry import open_model


@click.command()
@click.argument("data", type=DATA)
@click.option("--model", help="Name of a network, or a .json description of one.")
@click.option(
    "--checkpoint",
    type=PathArgument(dir_okay=False),
    help="Score this .pt file instead of training.",
)
@INIT
@training_options
def sirst(
    data: Path,
    model: str | None,
    init: str | None,
    checkpoint: Path | None,
    out: Path,
    recipe: str | None,
    devices: int | None,
    epochs: int | None,
    **settings: Any,
) -> None:
    """The NUAA-SIRST v1 benchmark: train on train_v1.txt, choose and score on val_v1.txt.

    \b
    DATA holds images/, masks/, train_v1.txt and val_v1.txt.
    The recipe is 'strong' by default. Scores go to OUT/result.json.
    """
    if bool(model) == bool(checkpoint):
        raise click.UsageError("give either --model or --checkpoint")
    with error_handler(), stoppable():
        with require_extra("train"):
            from train.checkpoint import load, open_checkpoint
            from train.sirst import read_split, score, train_and_score
        if checkpoint:
            result = score(load(checkpoint), read_split(data)[1], out)
        else:
            start = open_checkpoint(init) if init else None
            spec, chosen = open_model(model or ""), recipe_of(recipe or "strong", start)
            asked = settings_of(data.name, start, devices, epochs, settings)
            result = train_and_score(spec, chosen, data, out, asked, start)
        click.echo(f"\n{result.describe()}\n{printable(str(out / 'result.json'))}")
