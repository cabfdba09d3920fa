"""train check: what a folder of photos and masks holds."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import OutputFile, PathArgument
from edge.errors import EdgeError, error_handler, printable, require_extra
from edge.files import atomic_write
from train.commands.options import CLASSES, DATA


@click.command()
@click.argument("data", type=DATA)
@CLASSES
@click.option(
    "--split",
    "split_file",
    type=PathArgument(exists=True, dir_okay=False),
    help="split.json of 'train crossval': say which near-duplicates are apart in its folds.",
)
@click.option(
    "--page",
    type=OutputFile(),
    help="Write an HTML file with thumbnails, masks outlined, and what to do about each finding.",
)
def check(data: Path, classes: tuple[str, ...], split_file: Path | None, page: Path | None) -> None:
    """Report what DATA holds: counts, particle sizes, every broken pair by name, and what is
    doubtful: near-duplicates, inverted and displaced masks, photos without particles.

    \b
    DATA is one of
      images/ and masks/ (PNG or TIFF of the same names, black where no particle is)
      images/ and a COCO file, annotations.json
      photos beside _annotations.coco.json, as Roboflow exports them
    What other tools export becomes such a folder by 'train import'.
    """
    with error_handler():
        with require_extra("cpu"):
            from train.check_page import CheckPage
            from train.data.check import check as run
            from train.data.check import read_split
            from train.data.samples import scan
        pairs, unpaired = scan(data, classes)
        split = read_split(split_file, pairs) if split_file else None
        pictures = CheckPage()
        with click.progressbar(pairs) as shown:
            report = run(shown, unpaired, split, pictures.add if page else None)
        click.echo(report.describe())
        for message in report.notes:
            click.echo(f"note: {printable(message)}")
        for finding in report.doubtful:
            click.echo(f"{finding.kind}: {printable(finding.text)}")
        for finding in report.broken:
            click.echo(f"broken: {printable(finding.text)}")
        if page:
            with atomic_write(page) as temporary:
                temporary.write_text(pictures.html(data.resolve().name, report), encoding="utf-8")
            click.echo(f"page: {printable(str(page))}")
        if report.broken:
            raise EdgeError(f"{data}: {len(report.broken)} broken, see above; fix or remove them")
