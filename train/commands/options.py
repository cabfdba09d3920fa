"""Options and defaults that several commands have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from edge.arguments import PathArgument
from edge.errors import printable
from train.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    from train.checkpoint import Checkpoint
    from train.fit import Settings


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them, as a tuple."""

    name = "name,name"

    def convert(self, value: Any, _: Any, __: Any) -> tuple[str, ...]:
        """Without empty ones."""
        return tuple(name.strip() for name in value.split(",") if name.strip())


def note(text: str) -> None:
    """Show a guess that was made about the data."""
    click.echo(f"note: {printable(text)}", err=True)


# The paper's, and those of fine-tuning, which has not as far to go.
EPOCHS, FINE_TUNING_EPOCHS = 150, 30
DATA = PathArgument(exists=True, file_okay=False)
INIT = click.option(
    "--init",
    metavar="NAME|FILE",
    help="Fine-tune: start from the shipped weights of that name, or from a checkpoint.",
)

CLASSES = click.option(
    "--classes",
    type=Names(),
    default="",
    help="Classes that count as particle, with commas.  [default: all]",
)
TOLERANCE = click.option(
    "--tolerance",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Px that a detection may lie beside a labelled object.",
)


def material_options(command: Callable[..., None]) -> Callable[..., None]:
    """What rendered scenes are made of."""
    options = (
        click.option(
            "--sand",
            multiple=True,
            metavar="FOLDER|GLOB",
            help="Photos of sand without plastic to render particles on; repeat it for several.",
        ),
        click.option(
            "--negatives",
            multiple=True,
            metavar="FOLDER|GLOB",
            help="Hard negatives of 'train mine', drawn more often.",
        ),
        click.option(
            "--cutouts",
            type=PathArgument(exists=True, file_okay=False),
            help="Folder with images/ and masks/ of real particles to cut out.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `fit` and `crossval` have in common."""
    options = (
        click.option(
            "--out",
            type=PathArgument(file_okay=False),
            required=True,
            help="Folder to write; the same command resumes a stopped run.",
        ),
        click.option(
            "--recipe",
            type=click.Choice(list(RECIPES)),
            help="[default: paper; rendered with --sand]",
        ),
        click.option(
            "--epochs",
            type=click.IntRange(min=1),
            help=f"[default: {EPOCHS}; {FINE_TUNING_EPOCHS} with --init]",
        ),
        click.option(
            "--batch",
            type=click.IntRange(min=1),
            default=4,
            show_default=True,
            help="Crops per step, over all devices.",
        ),
        click.option(
            "--crop",
            type=click.IntRange(min=32),
            default=512,
            show_default=True,
            help="Side of a crop, px.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option(
            "--precision",
            type=click.Choice(["32-true", "16-mixed", "bf16-mixed"]),
            default="32-true",
            show_default=True,
        ),
        click.option(
            "--devices",
            type=click.IntRange(min=1),
            help="GPUs (or processes) a network trains on.  [default: every GPU]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def settings_of(
    data: str,
    start: Checkpoint | None,
    devices: int | None,
    epochs: int | None,
    others: Mapping[str, Any],
) -> Settings:
    """What was asked for, with the defaults that depend on whether training starts from weights."""
    from train.fit import Settings

    return Settings(
        data=data,
        devices=devices or "auto",
        epochs=epochs or (FINE_TUNING_EPOCHS if start else EPOCHS),
        init=start.content_hash() if start else None,
        **others,
    )


def recipe_of(name: str, start: Checkpoint | None) -> Recipe:
    """The recipe of that name, for fine-tuning where training starts from weights."""
    return RECIPES[name].fine_tuning() if start else RECIPES[name]


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C or SIGTERM in one sentence."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nstopped; the same command resumes after the last whole epoch", err=True)
        raise SystemExit(130) from None
