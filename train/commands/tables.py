"""train tables: the tables of a finished found."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import needs, printable, reported
from train.commands.options import DATA


@click.command()
@click.argument("folder", type=DATA)
def tables(folder: Path) -> None:
    """Print Tables 1, 2 and 3 from a 'train crossval' FOLDER, the paper's numbers beside.

    Writes them there as tables.md, tables.csv and tables.png, too.
    """
    with reported():
        show_tables(folder)


def show_tables(folder: Path) -> None:
    """Print the tables of a comparison, and write them into its folder."""
    with needs("train"):
        from train.crossval import results
        from train.tables import CrossvalTables
    found = CrossvalTables(results(folder))
    click.echo(found.describe())
    for path in found.write(folder):
        click.echo(printable(str(path)))
