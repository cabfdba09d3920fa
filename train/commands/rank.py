"""train rank: which photos to label next."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import OutputFile, PathArgument, Threshold
from edge.errors import error_handler, printable, require_extra
from edge.particles import ParticleFilter

# Rows of the table; the file has all.
SHOWN = 20


@click.command()
@click.argument("model")
@click.argument("photos", type=PathArgument(exists=True, file_okay=False))
@click.option("--out", type=OutputFile(), help="Write all rows as CSV here.")
@click.option(
    "--threshold",
    type=Threshold(),
    help="Probability from which on a pixel is a particle.  [default: the network's own]",
)
def rank(model: str, photos: Path, out: Path | None, threshold: float | None) -> None:
    """Order the photos of a folder by what a label of each would teach MODEL.

    That is how little it agrees with itself about the particles of a photo that is turned,
    mirrored, darker or brighter: eight passes over each photo.

    \b
    MODEL is a .pt file of 'train fit', an engine, or the name of a shipped one.
    """
    with error_handler():
        with require_extra("train"):
            from train.evaluate import open_source, operating_point
            from train.ranking import describe, write
            from train.ranking import rank as run
        source = open_source(model)
        used = ParticleFilter.of(operating_point(source), threshold)
        ranks = run(source, photos, used, lambda text: click.echo(printable(text), err=True))
        if out:
            write(ranks, out)
        click.echo(describe(ranks[:SHOWN]))
        if len(ranks) > SHOWN:
            click.echo(f"and {len(ranks) - SHOWN} more")
