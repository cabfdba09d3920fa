"""train synth: render photos with exact masks."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import PathArgument
from edge.errors import error_handler, printable, require_extra
from edge.files import ensure_empty_directory
from train.commands.options import material_options


@click.command()
@click.argument("folder", type=PathArgument(file_okay=False))
@click.option("--photos", type=click.IntRange(min=1), default=100, show_default=True)
@click.option(
    "--size",
    type=click.IntRange(64, 8192),
    default=1440,
    show_default=True,
    help="Height and width, px.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@material_options
def synth(
    folder: Path,
    photos: int,
    size: int,
    seed: int,
    sand: tuple[str, ...],
    negatives: tuple[str, ...],
    cutouts: Path | None,
) -> None:
    """Render seeded sand photos with exact masks into FOLDER/images and FOLDER/masks."""
    with error_handler():
        with require_extra("cpu"):
            from train.data.synth import Materials, write_photos
        materials = Materials.read(sand, negatives, cutouts)
        ensure_empty_directory(folder)
        written = write_photos(folder, photos, size, seed, materials)
        with click.progressbar(written, photos) as written:
            for _ in written:
                pass
        click.echo(f"{photos} photos of {size}x{size} px in {printable(str(folder))}")
