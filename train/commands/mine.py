"""train mine: hard negatives from photos without plastic."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import PathArgument
from edge.errors import error_handler, require_extra


@click.command()
@click.argument("checkpoint", type=PathArgument(dir_okay=False))
@click.option(
    "--sand", multiple=True, required=True, metavar="FOLDER|GLOB", help="Photos without plastic."
)
@click.option(
    "--out",
    type=PathArgument(file_okay=False),
    required=True,
    help="New folder for the negatives.",
)
def mine(checkpoint: Path, sand: tuple[str, ...], out: Path) -> None:
    """Cut out what CHECKPOINT takes for plastic in photos that hold none.

    \b
    train mine best.pt --sand sand/ --out negatives
    train fit --sand sand/ --negatives negatives ...
    """
    with error_handler():
        with require_extra("train"):
            from train.checkpoint import load
            from train.mining import mine as run
        click.echo(run(load(checkpoint), sand, out))
