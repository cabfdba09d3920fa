"""train check: what a folder of photos and masks holds."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import EdgeError, error_handler, printable, require_extra
from train.commands.options import CLASSES, DATA


@click.command()
@click.argument("data", type=DATA)
@CLASSES
def check(data: Path, classes: tuple[str, ...]) -> None:
    """Report what DATA holds: counts, particle sizes, and every broken pair by name.

    \b
    DATA is one of
      images/ and masks/ (PNG or TIFF of the same names, black where no particle is)
      images/ and a COCO file, annotations.json
      photos beside _annotations.coco.json, as Roboflow exports them
    What other tools export becomes such a folder by 'train import'.
    """
    with error_handler():
        with require_extra("cpu"):
            from train.data.check import check as run
            from train.data.samples import scan
        pairs, unpaired = scan(data, classes)
        with click.progressbar(pairs) as shown:
            report = run(shown, unpaired)
        click.echo(report.describe())
        for message in report.notes:
            click.echo(f"note: {printable(message)}")
        for message in report.broken:
            click.echo(f"broken: {printable(message)}")
        if report.broken:
            raise EdgeError(f"{data}: {len(report.broken)} broken, see above; fix or remove them")
