"""train tables: the tables of a finished found."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import error_handler, printable, require_extra
from train.commands.options import DATA


@click.command()
@click.argument("folder", type=DATA)
def tables(folder: Path) -> None:
    """Print Tables 1, 2 and 3 from a 'train crossval' FOLDER, the paper's numbers beside.

    Writes them there as tables.md, tables.csv and tables.png, too.
    """
    with error_handler():
        show_tables(folder)


def show_tables(folder: Path) -> None:
    """Print the tables of a comparison, and write them into its folder."""
    with require_extra("train"):
        from train.crossval import results
        from train.tables import CrossvalTables
    found = CrossvalTables(results(folder))
    click.echo(found.describe())
    for path in found.write(folder):
        click.echo(printable(str(path)))
