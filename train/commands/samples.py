"""train samples: draw crops and their augmentations."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import OutputFile
from edge.errors import error_handler, printable, require_extra
from train.commands.options import CLASSES, DATA, note


@click.command()
@click.argument("data", type=DATA)
@click.option(
    "--out", type=OutputFile(), default="samples.png",
    show_default=True,
)  # fmt: skip
@CLASSES
@click.option("--crop", type=click.IntRange(min=32), default=512, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def samples(data: Path, out: Path, classes: tuple[str, ...], crop: int, seed: int) -> None:
    """Draw crops and their augmentations (Figure 8), particles outlined."""
    with error_handler():
        with require_extra("train"):
            from train.crossval import load_samples
            from train.data.augment import write_samples
        write_samples(load_samples(data, classes, note), out, crop=crop, seed=seed)
        click.echo(printable(str(out)))
