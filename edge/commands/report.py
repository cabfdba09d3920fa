"""edge-run report: from the results of runs to tables and a page of samples."""

from __future__ import annotations

import math
from pathlib import Path

import click

from edge.arguments import POSITIVE, PathArgument, Text
from edge.errors import BadArgumentError, error_handler, printable, require_extra
from edge.terminal import Terminal


def _bins(_: click.Context, __: click.Parameter, text: str | None) -> list[float]:
    """Ascending numbers, mm."""
    try:
        bounds = [float(word) for word in text.split(",")] if text else []
    except ValueError:
        bounds = [math.nan]
    if any(not 0 < bound < math.inf for bound in bounds):
        raise click.BadParameter(f"{text!r} is not a list of mm such as 0.1,0.5,1,5")
    return bounds


@click.command()
@click.argument("results", type=PathArgument(exists=True, file_okay=False), nargs=-1, required=True)
@click.option(
    "--out",
    type=PathArgument(),
    metavar="FOLDER",
    default="report",
    show_default=True,
    help="New folder for report.html, report.xlsx and the tables as CSV.",
)
@click.option("--sample", type=Text(), help="All results are of this sample.")
@click.option(
    "--table",
    type=PathArgument(exists=True, dir_okay=False),
    metavar="FILE",
    help="CSV that says which photo is of which sample: file, sample, and where known repeat, "
    "mass_g, volume_l, area_cm2, blank.",
)
@click.option(
    "--blank",
    "blanks",
    type=PathArgument(exists=True, file_okay=False),
    metavar="RESULTS",
    multiple=True,
    help="Results of a procedural blank, such as a clean dish; its count is subtracted. "
    "Repeatable.",
)
@click.option(
    "--matrix-blank",
    "matrix_blanks",
    type=PathArgument(exists=True, file_okay=False),
    metavar="RESULTS",
    multiple=True,
    help="Results of clean sand or water, which also tells the false positives. Repeatable.",
)
@click.option(
    "--mass-g",
    type=POSITIVE,
    help="Mass of sand in each repeat.",
)
@click.option(
    "--volume-l",
    type=POSITIVE,
    help="Volume of water in each repeat.",
)
@click.option(
    "--area-cm2",
    type=POSITIVE,
    help="Area that each repeat stands for.  [default: that of its pictures]",
)
@click.option(
    "--mm-per-pixel",
    type=POSITIVE,
    help="Scale of results that have none.",
)
@click.option(
    "--bins",
    "bounds_mm",
    callback=_bins,
    metavar="MM,MM,...",
    help="Bounds of the size classes.  [default: 0.001,0.01,0.02,0.05,0.1,0.3,1,5 as far as the "
    "scale shows them]",
)
@click.option(
    "--photos",
    type=PathArgument(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Where the photos are now, for the colours.",
)
@click.option(
    "--card-set",
    type=click.Choice(["sand", "beads", "mpnet"]),
    default="sand",
    show_default=True,
    help="Photos of the model card whose recall and precision correct the counts.",
)
@click.option(
    "--recall",
    metavar="R[:LOW-HIGH]",
    help="Your own, by object, in place of the card's, such as 0.72:0.65-0.80.",
)
@click.option("--precision", metavar="P[:LOW-HIGH]", help="Likewise.")
@click.option("--no-xlsx", is_flag=True, help="Leave report.xlsx out, which needs openpyxl.")
def report(
    results: tuple[Path, ...],
    out: Path,
    sample: str | None,
    table: Path | None,
    blanks: tuple[Path, ...],
    matrix_blanks: tuple[Path, ...],
    mass_g: float | None,
    volume_l: float | None,
    area_cm2: float | None,
    mm_per_pixel: float | None,
    bounds_mm: list[float],
    photos: Path | None,
    card_set: str,
    recall: str | None,
    precision: str | None,
    no_xlsx: bool,
) -> None:
    """Count the particles of samples in --out folders of runs, by size, shape and colour, per area,
    mass and volume, with intervals.

    \b
    edge-run report results/ --sample beach-3 --mass-g 250
    edge-run report day1/ day2/ --table samples.csv --matrix-blank clean/

    Each photo is a repeat of its sample unless the table says otherwise.
    """
    if table and (sample or blanks or matrix_blanks or mass_g or volume_l or area_cm2):
        raise click.UsageError(
            "--table tells samples, blanks and amounts; leave out the options for these"
        )
    with error_handler():
        with require_extra("cpu"):
            from edge.samples.accuracy import given_accuracy
            from edge.samples.report import make_report
            from edge.samples.results import ResultsReader
            from edge.samples.table import Entry, read_table
        if not no_xlsx:
            with require_extra("report"):
                import openpyxl  # noqa: F401
        accuracy = given_accuracy(recall, precision)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadArgumentError(f"{out}: is there already; name a new folder with --out")
        kinds = [*((path, "") for path in results), *((path, "procedural") for path in blanks),
                 *((path, "matrix") for path in matrix_blanks)]  # fmt: skip
        names = [path.resolve().name for path, _ in kinds]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadArgumentError(f"{twice}: is the name of two results; rename one folder")
        reader = ResultsReader(mm_per_pixel, photos)
        read = [(reader.read(path.resolve()), kind) for path, kind in kinds]
        if table:
            entries = read_table(table, [photo for one, _ in read for photo in one.photos])
        else:
            entries = {
                photo: Entry(
                    one.name if kind or not sample else sample,
                    f"{one.name}/{photo.source}{photo.frame}",
                    None if kind else mass_g,
                    None if kind else volume_l,
                    None if kind else area_cm2,
                    kind,
                )
                for one, kind in read
                for photo in one.photos
            }
        made = make_report(
            [one for one, _ in read], entries, accuracy=accuracy, card_set=card_set,
            bounds_mm=bounds_mm,
        )  # fmt: skip
        made.write(out, xlsx=not no_xlsx)
    terminal = Terminal()
    for note in made.notes:
        terminal.say(f"warning: {printable(note)}", error=True)
    for one in made.summaries:
        count = one.count
        terminal.say(
            f"{printable(one.sample.name)}: {count.mean:.4g} particles per repeat "
            f"({count.low:.4g} to {count.high:.4g}), {len(one.sample.repeats)} repeats"
        )
    terminal.say(f"report in {printable(str(out))}")
