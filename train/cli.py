"""train: render synthetic data and fit the networks of the paper."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import BadArgumentError, ToolError, needs, reported
from edge.files import new_folder
from train.models.registry import PAPER_MODELS, open_model
from train.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    from train.checkpoint import Checkpoint
    from train.fit import Settings

# The paper's, and those of fine-tuning, which has not as far to go.
EPOCHS, FINE_TUNING_EPOCHS = 150, 30


@click.group()
def train() -> None:
    """Render synthetic photos and train the networks of the paper."""


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
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="Folder with images/ and masks/ of real particles to cut out.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


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
    with reported():
        with needs("cpu"):
            from train.data.synth import Materials, write_photos
        materials = Materials.read(sand, negatives, cutouts)
        new_folder(folder)
        written = write_photos(folder, photos, size, seed, materials)
        with click.progressbar(written, photos) as written:
            for _ in written:
                pass
        click.echo(f"{photos} photos of {size}x{size} px in {folder}")


DATA = click.Path(path_type=Path, exists=True, file_okay=False)


@train.command()
@click.argument("data", type=DATA)
def check(data: Path) -> None:
    """Report what DATA holds: counts, particle sizes, and every broken pair by name.

    \b
    DATA is one of
      images/ and masks/ (PNG or TIFF of the same names, 0 and 255)
      images/ and a COCO file, annotations.json
      photos beside _annotations.coco.json, as Roboflow exports them
    """
    with reported():
        with needs("cpu"):
            from train.data.check import check as run
            from train.data.samples import scan
        pairs, unpaired = scan(data)
        with click.progressbar(pairs) as shown:
            report = run(shown, unpaired)
        click.echo(report.describe())
        for message in report.broken:
            click.echo(f"broken: {message}")
        if report.broken:
            raise ToolError(f"{data}: {len(report.broken)} broken, see above; fix or remove them")


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `fit` and `crossval` have in common."""
    options = (
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
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


INIT = click.option(
    "--init",
    metavar="NAME|FILE",
    help="Fine-tune: start from the shipped weights of that name, or from a checkpoint.",
)
SPLIT = click.option(
    "--split",
    "split_name",
    default="photo",
    show_default=True,
    help="Folds by photo (crops of one photo stay together), by crop (likely the paper's way), "
    "or a split.json.",
)
TOLERANCE = click.option(
    "--tolerance",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Px that a detection may lie beside a labelled object.",
)


def _settings(
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


def _recipe(name: str, start: Checkpoint | None) -> Recipe:
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


@train.command()
@click.option(
    "--model", help="Name of a network, or a .json description of one.  [default: that of --init]"
)
@INIT
@click.option(
    "--data", type=DATA, help="Folder with images/ and masks/, or COCO, or photos for --points."
)
@click.option(
    "--points",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV of file,x,y[,ignore], or COCO keypoints: learn from points on particles, not masks.",
)
@click.option(
    "--point-diameter",
    type=click.FloatRange(min=1),
    help="Px of the disc that is learnt at each point.  [default: the blob segmented around it]",
)
@material_options
@click.option(
    "--crops",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Rendered crops of an epoch, with --sand.",
)
@training_options
def fit(
    model: str | None,
    init: str | None,
    sand: tuple[str, ...],
    negatives: tuple[str, ...],
    cutouts: Path | None,
    crops: int,
    data: Path | None,
    points: Path | None,
    point_diameter: float | None,
    out: Path,
    recipe: str | None,
    devices: int | None,
    epochs: int | None,
    **settings: Any,
) -> None:
    """Train one network on photos, of which one in ten validates, or on rendered crops.

    With --sand, every crop is rendered on such photos when its step comes, and none comes twice.

    \b
    OUT/best.pt   checkpoint of the best epoch, for export-trt
    OUT/last.pt   of the last one
    """
    if bool(sand) == (data is not None):
        raise click.UsageError("give either --data FOLDER or --sand FOLDER|GLOB")
    if points and not data:
        raise click.UsageError("--points are of the photos of --data FOLDER")
    if point_diameter and not points:
        raise click.UsageError("--point-diameter is of --points FILE")
    if not (model or init):
        raise click.UsageError("give --model NAME, or --init for the network of a checkpoint")
    with reported(), stoppable():
        with needs("train"):
            from train.checkpoint import open_checkpoint
            from train.crossval import load_samples
            from train.data.blobs import with_mask
            from train.data.folds import hold_out
            from train.data.points import point_samples, read_points
            from train.data.samples import Sample
            from train.data.stream import Stream
            from train.fit import BEST
            from train.fit import fit as run
        start = open_checkpoint(init) if init else None
        spec = start.spec if start and not model else open_model(model or "")
        usual = "rendered" if sand else "strong" if init else "paper"
        chosen = _recipe(recipe or usual, start)
        training: list[Sample] | Stream
        if sand:
            training = Stream(sand, negatives, str(cutouts) if cutouts else None, crops)
            validation = training.validation_samples(settings["crop"])
            name = "rendered"
        else:
            assert data is not None
            if points:
                clicked = point_samples(data, read_points(points))
                photos = [with_mask(photo, point_diameter) for photo in clicked]
                settings["points"] = hashlib.sha256(points.read_bytes()).hexdigest()
                settings["point_diameter"] = point_diameter
            else:
                photos = load_samples(data)
            training, validation = hold_out(photos, settings["seed"])
            name = data.name
        asked = _settings(name, start, devices, epochs, settings)
        training_result = run(spec, chosen, training, validation, out, asked, start)
        click.echo(f"\n{training_result.describe()}\n{out / BEST}")


@train.command()
@click.option(
    "--models",
    "--model",
    "models",
    default="all",
    show_default=True,
    help="Names or .json descriptions, with commas; all: the five of the paper.",
)
@click.option("--fold", type=click.IntRange(1, 5), help="This fold only.  [default: all five]")
@click.option("--data", type=DATA, required=True, help="Folder with images/ and masks/, or COCO.")
@SPLIT
@TOLERANCE
@INIT
@training_options
@click.option("--ray", "address", help="Ray cluster that runs the jobs; local starts one.")
def crossval(
    models: str,
    fold: int | None,
    split_name: str,
    tolerance: int,
    init: str | None,
    data: Path,
    out: Path,
    recipe: str | None,
    devices: int | None,
    epochs: int | None,
    address: str | None,
    **settings: Any,
) -> None:
    """The paper's comparison: five networks, five folds, then its tables with ours beside."""
    with reported(), stoppable():
        specs = [open_model(name) for name in PAPER_MODELS] if models == "all" else [
            open_model(name) for name in models.split(",")
        ]  # fmt: skip
        with needs("train"):
            from train.checkpoint import open_checkpoint
            from train.crossval import Job, prepare_split, run_here
        start = open_checkpoint(init) if init else None
        chosen = _recipe(recipe or ("strong" if start else "paper"), start)
        asked = _settings(data.name, start, devices, epochs, settings)
        prepare_split(data, out, split_name, asked)
        jobs = [
            Job(spec, chosen, number, data, out, asked, tolerance, init)
            for spec in specs
            for number in ([fold] if fold else range(1, 6))
        ]
        if address:
            with needs("cluster"):
                from train.cluster import run_on_ray
            finished = run_on_ray(jobs, address)
        else:
            finished = run_here(jobs)
        for number, (job, result) in enumerate(finished, 1):
            click.echo(f"\n[{number}/{len(jobs)}] {job}: {result.training_result.describe()}")
        click.echo()
        _show_tables(out)


@train.command()
@click.argument("folder", type=DATA)
def tables(folder: Path) -> None:
    """Print Tables 1, 2 and 3 from a 'train crossval' FOLDER, the paper's numbers beside.

    Writes them there as tables.md, tables.csv and tables.png, too.
    """
    with reported():
        _show_tables(folder)


def _show_tables(folder: Path) -> None:
    with needs("train"):
        from train.crossval import results
        from train.tables import Comparison
    comparison = Comparison(results(folder))
    click.echo(comparison.describe())
    for path in comparison.write(folder):
        click.echo(path)


@train.command()
@click.argument("data", type=DATA)
@click.option("--model", help="Name of a network, or a .json description of one.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Score this .pt file instead of training.",
)
@INIT
@training_options
def sirst(
    data: Path,
    model: str | None,
    init: str | None,
    checkpoint: Path | None,
    out: Path,
    recipe: str | None,
    devices: int | None,
    epochs: int | None,
    **settings: Any,
) -> None:
    """The NUAA-SIRST v1 benchmark: train on train_v1.txt, choose and score on val_v1.txt.

    \b
    DATA holds images/, masks/, train_v1.txt and val_v1.txt.
    The recipe is 'strong' by default. Scores go to OUT/result.json.
    """
    if bool(model) == bool(checkpoint):
        raise click.UsageError("give either --model or --checkpoint")
    with reported(), stoppable():
        with needs("train"):
            from train.checkpoint import load, open_checkpoint
            from train.sirst import read_split, score, train_and_score
        if checkpoint:
            result = score(load(checkpoint), read_split(data)[1], out)
        else:
            start = open_checkpoint(init) if init else None
            spec, chosen = open_model(model or ""), _recipe(recipe or "strong", start)
            asked = _settings(data.name, start, devices, epochs, settings)
            result = train_and_score(spec, chosen, data, out, asked, start)
        click.echo(f"\n{result.describe()}\n{out / 'result.json'}")


@train.command()
@click.argument("checkpoint")
@click.option("--data", type=DATA, required=True, help="Photos with masks, or with --points.")
@click.option(
    "--points",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV of file,x,y[,ignore], or COCO keypoints: points on the particles of the photos.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Px that a detection may lie beside a labelled object.  [default: 0; 3 with --points]",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="[default: CHECKPOINT's own]")
@click.option(
    "--min-diameter", type=click.FloatRange(min=0), help="Px; smaller objects do not count."
)
@click.option(
    "--max-diameter", type=click.FloatRange(min=0), help="Px; larger objects do not count."
)
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    help="Print the highest threshold that reaches this recall of objects.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write CHECKPOINT, a .pt, with that threshold (or with --threshold) to this file.",
)
@click.option(
    "--curve",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Plot precision against recall into this PNG file.",
)
def evaluate(
    checkpoint: str,
    data: Path,
    points: Path | None,
    tolerance: float | None,
    threshold: float | None,
    min_diameter: float | None,
    max_diameter: float | None,
    recall: float | None,
    save: Path | None,
    picture: Path | None,
) -> None:
    """Score CHECKPOINT on every photo of a folder.

    \b
    CHECKPOINT is a .pt file of 'train fit', an engine, or the name of a shipped one.
    Labels are one of
      masks or COCO annotations, as for 'train fit'
      --points FILE; a photo of DATA (or DATA/images) without a point has no particle
    """
    if not points and tolerance and tolerance != int(tolerance):
        raise click.BadParameter("must be whole px with masks", param_hint="--tolerance")
    if min_diameter and max_diameter is not None and min_diameter > max_diameter:
        raise click.UsageError("--min-diameter is larger than --max-diameter")
    with reported():
        with needs("train"):
            from edge.particles import ParticleFilter
            from train.checkpoint import Checkpoint
            from train.checkpoint import save as write
            from train.crossval import load_samples
            from train.data.points import point_samples, read_points
            from train.evaluate import evaluate as score
            from train.evaluate import open_source, probability_maps, threshold_of
            from train.precision_recall import evaluate_masks, evaluate_points
        source = open_source(checkpoint)
        used = threshold_of(source) if threshold is None else threshold
        bounds = ParticleFilter(used, min_diameter, max_diameter)
        level = bounds.threshold_u8
        if points:
            clicked = point_samples(data, read_points(points))
            curve = evaluate_points(
                probability_maps(source, (photo.image for photo in clicked)),
                [photo.labels for photo in clicked],
                3.0 if tolerance is None else tolerance,
                operating_u8=level,
                bounds=bounds,
            )
            click.echo(f"{len(clicked)} photos")
        else:
            beside = int(tolerance or 0)
            photos = load_samples(data)
            scored = score(source, photos, beside, threshold=used, bounds=bounds)
            click.echo(f"{scored.describe(used)}\n")
            masks = [photo.mask for photo in photos]
            curve = evaluate_masks(scored.maps, masks, beside, operating_u8=level, bounds=bounds)
        click.echo(f"{curve.operating_row.describe()}\n\n{curve.describe()}")
        if picture:
            curve.plot(picture)
            click.echo(f"\n{picture}")
        if recall:
            row = curve.at_recall(recall)
            click.echo(
                f"\n--threshold {row.threshold:.4f} reaches a recall of {row.recall:.4f} at a "
                f"precision of {row.precision:.4f}"
            )
            used = row.threshold
        if save:
            if not isinstance(source, Checkpoint):
                raise BadArgumentError(f"{checkpoint}: --save takes a .pt, an engine keeps its own")
            write(replace(source, threshold=round(used, 4)), save)
            click.echo(f"{save}: threshold {used:.4f}")


@train.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--sand", multiple=True, required=True, metavar="FOLDER|GLOB", help="Photos without plastic."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="New folder for the negatives.",
)
def mine(checkpoint: Path, sand: tuple[str, ...], out: Path) -> None:
    """Cut out what CHECKPOINT takes for plastic in photos that hold none.

    \b
    train mine best.pt --sand sand/ --out negatives
    train fit --sand sand/ --negatives negatives ...
    """
    with reported():
        with needs("train"):
            from train.checkpoint import load
            from train.mining import mine as run
        click.echo(run(load(checkpoint), sand, out))


@train.command()
@click.argument("data", type=DATA)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default="samples.png",
    show_default=True,
)  # fmt: skip
@click.option("--crop", type=click.IntRange(min=32), default=512, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def samples(data: Path, out: Path, crop: int, seed: int) -> None:
    """Draw crops and their augmentations (Figure 8), particles outlined."""
    with reported():
        with needs("train"):
            from train.crossval import load_samples
            from train.data.augment import write_samples
        write_samples(load_samples(data), out, crop=crop, seed=seed)
        click.echo(out)


@train.command()
@click.argument(
    "checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--data", type=DATA, required=True, help="Photos with masks, for the ablation.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="New folder for tables, histograms and the proposed network.",
)
def analyse(checkpoints: tuple[Path, ...], data: Path, out: Path) -> None:
    """Say which stages of a network contribute, and propose a smaller one.

    \b
    train analyse runs/unet/fold*/best.pt --data data --out analysis
    train fit --model analysis/proposed.json --data data --out smaller
    """
    with reported():
        with needs("train"):
            from train.analyse import analyse as run
        found = run(checkpoints, data, out, lambda text: click.echo(text, err=True))
        click.echo(f"\n{found.describe()}\n\n{out}")
