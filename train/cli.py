"""train: paint synthetic data and fit the networks of the paper."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import needs, reported
from edge.files import new_folder
from train.models.catalogue import MODELS


@click.group()
def train() -> None:
    """Paint synthetic photos and train the networks of the paper."""


@train.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--photos", type=click.IntRange(min=1), default=100, show_default=True)
@click.option(
    "--size",
    type=click.IntRange(64, 8192),
    default=1440,
    show_default=True,
    help="Height and width, px.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def synth(folder: Path, photos: int, size: int, seed: int) -> None:
    """Paint seeded sand photos with exact masks into FOLDER/images and FOLDER/masks."""
    with reported():
        with needs("cpu"):
            from train.data.synth import write_photos
        new_folder(folder)
        with click.progressbar(write_photos(folder, photos, size, seed), photos) as written:
            for _ in written:
                pass
        click.echo(f"{photos} photos of {size}x{size} px in {folder}")


@train.command()
@click.option("--model", type=click.Choice(list(MODELS)), required=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder with images/ and masks/.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Checkpoint to write (.pt).",
)
@click.option("--epochs", type=click.IntRange(min=1), default=150, show_default=True)
@click.option(
    "--batch", type=click.IntRange(min=1), default=4, show_default=True, help="Crops a step."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def fit(model: str, data: Path, out: Path, epochs: int, batch: int, seed: int) -> None:
    """Train one network; the best epoch's checkpoint stands at --out."""
    with reported():
        with needs("train"):
            from train.fit import Epoch, Step
            from train.fit import fit as run
        if not out.parent.is_dir():
            raise click.UsageError(f"{out.parent}: no such folder")
        losses: list[float] = []
        for event in run(MODELS[model], data, out, epochs=epochs, batch=batch, seed=seed):
            match event:
                case Step():
                    losses.append(event.loss)
                    if event.done % 10 == 0 or event.done == event.total:
                        click.echo(
                            f"\repoch {event.epoch}/{epochs} step {event.done}/{event.total} "
                            f"loss {sum(losses[-100:]) / len(losses[-100:]):.4g}   ",
                            nl=False,
                            err=True,
                        )
                case Epoch():
                    scores = event.at_threshold
                    click.echo(
                        f"\nepoch {event.number}: r.w. F1 {scores['rw_f1']:.4f} "
                        f"(recall {scores['recall']:.4f}, precision {scores['precision']:.4f}) "
                        f"at threshold {event.threshold:.3f}; r.w. F1 at 0.5 "
                        f"{event.at_half['rw_f1']:.4f}{'; saved' if event.best else ''}"
                    )
        click.echo(f"{out}: best of {epochs} epochs")
