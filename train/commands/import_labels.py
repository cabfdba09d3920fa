"""train import: labels of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import PathArgument
from edge.errors import error_handler, printable, require_extra
from train.commands.options import CLASSES, DATA


@click.command("import")
@click.argument("source", type=PathArgument())
@click.argument("data", type=PathArgument(file_okay=False))
@click.option("--images", type=DATA, help="Folder with the photos.  [default: that of SOURCE]")
@CLASSES
@click.option("--copy", is_flag=True, help="Copy the photos; without it they are linked.")
def import_labels(
    source: Path, data: Path, images: Path | None, classes: tuple[str, ...], copy: bool
) -> None:
    """Write what a labelling tool exported, SOURCE, into the new folder DATA for 'train fit'.

    \b
    SOURCE is a file or an unpacked folder of one of
      CVAT          'CVAT for images 1.1'
      Label Studio  JSON with polygons, brushes, ellipses or key points
      LabelMe       a .json beside each photo
      YOLO          images/ and labels/ with outlines
      Pascal VOC    JPEGImages/, SegmentationObject/ or SegmentationClass/
      VIA           JSON
      COCO          JSON with outlines, run-length codes or key points
      ImageJ, QuPath, cellpose: masks or label images in masks/, or as NAME_mask.*
      tables of points with columns x and y, and file if one is of several photos
    Originals are never changed.
    """
    with error_handler():
        with require_extra("train"):
            from train.data.importing import import_labels as run
        report = run(source, data, images=images, classes=classes, copy=copy)
        for line in report.describe().splitlines():
            click.echo(printable(line))
        click.echo(printable(str(data)))
