"""train analyse: which parts of a network contribute."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import PathArgument
from edge.errors import error_handler, printable, require_extra
from train.commands.options import CLASSES, DATA


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=PathArgument(dir_okay=False))
@click.option("--data", type=DATA, required=True, help="Photos with masks, for the ablation.")
@CLASSES
@click.option(
    "--out",
    type=PathArgument(file_okay=False),
    required=True,
    help="New folder for tables, histograms and the proposed network.",
)
def analyse(checkpoints: tuple[Path, ...], data: Path, classes: tuple[str, ...], out: Path) -> None:
    """Say which stages of a network contribute, and propose a smaller one.

    \b
    train analyse runs/unet/fold*/best.pt --data data --out analysis
    train fit --model analysis/proposed.json --data data --out smaller
    """
    with error_handler():
        with require_extra("train"):
            from train.analyse import analyse as run

        def show(text: str) -> None:
            click.echo(printable(text), err=True)

        found = run(checkpoints, data, out, show, classes)
        click.echo(f"\n{found.describe()}\n\n{printable(str(out))}")
