"""F1 on a photo of sand against how many patches of another were labelled, in two orders.

python -m bench.label_order PATCHES OUT
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import click

from bench.machine import describe as describe_machine
from bench.machine import machine_info
from bench.objects import TruePoints
from bench.patches import LABELS, read_patches
from bench.scores import total
from bench.tables import table
from edge.arguments import PathArgument
from edge.errors import error_handler
from edge.particles import ParticleFilter
from train.checkpoint import Checkpoint, load, open_checkpoint
from train.data.blobs import with_mask
from train.data.points import PointSample, point_samples, read_points
from train.evaluate import probability_maps
from train.fit import LAST, Settings, fit
from train.metrics import ObjectCounts
from train.precision_recall import THRESHOLDS_U8
from train.ranking import rank_photo
from train.recipe import RECIPES

# Labelled patches, of the eight of each photo.
NUMBERS = (1, 2, 4)
SHIPPED, RANKED, RANDOM, ALL = "shipped", "ranked", "random", "all"
# How far apart a detection and a pellet may be, px.
TOLERANCE = 3


@dataclass(frozen=True)
class Row:
    """One network, on the patches of the photo that it did not learn from.

    Attributes:
        photo: that it learnt from.
        order: in which patches were labelled; `number` of them.
        seed: of a random order.
        threshold_u8: chosen on the labelled patches by F1; of `shipped`, its own.
        files: labelled, in their order.
    """

    photo: str
    order: str
    number: int
    seed: int
    threshold_u8: int
    tp: int
    fp: int
    fn: int
    files: str


def counts(
    checkpoint: Checkpoint, patches: Sequence[PointSample], filters: Iterable[ParticleFilter]
) -> dict[ParticleFilter, ObjectCounts]:
    """Of all patches together, by what is reported."""
    maps = list(probability_maps(checkpoint, (patch.image for patch in patches)))
    truth = [TruePoints(patch.labels, TOLERANCE) for patch in patches]
    return {
        one: total([true.counts(one.mask(found)) for true, found in zip(truth, maps, strict=True)])
        for one in filters
    }


def fine_tuned(
    start: Checkpoint, patches: Sequence[PointSample], epochs: int, out: Path
) -> tuple[Checkpoint, ParticleFilter]:
    """The last epoch, and the threshold that is best on the patches, with the smallest diameter of
    `start`; `start` and its own where they hold no pellet, which nothing can be learnt from."""
    own = ParticleFilter.of(start)
    samples = [with_mask(patch, None) for patch in patches]
    if not any((sample.mask == 1).any() for sample in samples):
        return start, own
    settings = Settings(out.name, epochs, batch=1, crop=192, devices=1, init=start.content_hash())
    recipe = RECIPES["strong"].fine_tuning()
    # Single crops make more steps of few patches. The last epoch is taken, so what validates
    # decides nothing.
    fit(start.spec, recipe, samples, samples[:1], out, settings, start)
    checkpoint = load(out / LAST)
    found = counts(checkpoint, patches, map(own.at, THRESHOLDS_U8))
    return checkpoint, max(found, key=lambda one: (found[one].f1(), -one.threshold))


@dataclass(frozen=True)
class Trial:
    """What the networks of one photo's patches have in common.

    Attributes:
        photo: that they learn from.
        others: patches of the other photo, which they are scored on.
        out: folder for the runs; finished ones are not trained again.
    """

    start: Checkpoint
    photo: str
    others: Sequence[PointSample]
    epochs: int
    out: Path

    def row(self, order: str, chosen: Sequence[PointSample], seed: int = 0) -> Row:
        """Of a network that learnt from the patches `chosen`."""
        network, used = self.start, ParticleFilter.of(self.start)
        if chosen:
            run = self.out / f"{Path(self.photo).stem}_{order}_{len(chosen)}_{seed}"
            network, used = fine_tuned(self.start, chosen, self.epochs, run)
        found = counts(network, self.others, [used])[used]
        files = " ".join(one.name for one in chosen)
        numbers = (used.threshold_u8, found.tp, found.fp, found.fn)
        return Row(self.photo, order, len(chosen), seed, *numbers, files)


def measure(folder: Path, out: Path, model: str, epochs: int, seeds: int) -> Iterator[Row]:
    """Fine-tune `model` on some patches of one photo and count on those of the other, both ways.

    Args:
        folder: of the patches that `bench.patches` cut.
        out: as `Trial.out`.
        seeds: random orders.
    """
    start = open_checkpoint(model)
    samples = {one.name: one for one in point_samples(folder, read_points(LABELS / "pellets.csv"))}
    by_photo: dict[str, list[PointSample]] = defaultdict(list)
    for patch in read_patches():
        by_photo[patch.photo].append(samples[patch.file])
    own = ParticleFilter.of(start)
    trials = []
    for photo, pool in by_photo.items():
        others = [one for other, those in by_photo.items() if other != photo for one in those]
        scores = {one.name: rank_photo(start, one.name, one.image, own).score for one in pool}
        ranked = sorted(pool, key=lambda one: (-scores[one.name], one.name))
        trials.append((Trial(start, photo, others, epochs, out), ranked))
    for trial, _ in trials:
        yield trial.row(SHIPPED, [])
    for number in NUMBERS:
        for trial, ranked in trials:
            yield trial.row(RANKED, ranked[:number])
        for seed in range(seeds):
            for trial, ranked in trials:
                drawn = random.Random(seed).sample(
                    sorted(ranked, key=lambda one: one.name), len(ranked)
                )
                yield trial.row(RANDOM, drawn[:number], seed)
    for trial, ranked in trials:
        yield trial.row(ALL, ranked)


def describe(rows: Sequence[Row]) -> str:
    """F1 of both photos' patches together: counts are summed, of random orders for each seed."""
    cells = []
    for order, number in dict.fromkeys((row.order, row.number) for row in rows):
        of = [row for row in rows if (row.order, row.number) == (order, number)]
        by_seed: dict[int, list[ObjectCounts]] = defaultdict(list)
        for row in of:
            by_seed[row.seed].append(ObjectCounts(row.tp, row.fp, row.fn))
        f1 = sorted(total(part).f1() for part in by_seed.values())
        spread = f"{f1[0]:.3f}-{f1[-1]:.3f}" if len(f1) > 1 else ""
        cells.append((number, order, f"{sum(f1) / len(f1):.3f}", spread))
    return table(("patches of each photo", "order", "F1", "lowest and highest"), cells, left=2)


@click.command()
@click.argument("patches", type=PathArgument(exists=True, file_okay=False))
@click.argument("out", type=PathArgument(file_okay=False))
@click.option("--model", default="half_mrunet_lite", show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
def main(patches: Path, out: Path, model: str, epochs: int, seeds: int) -> None:
    """Fine-tune MODEL on 1, 2, 4 and 8 of the PATCHES of one photo, in the order of 'train rank'
    and in random ones, and score it on those of the other; OUT/label_order.csv has each run."""
    with error_handler():
        out.mkdir(parents=True, exist_ok=True)
        rows: list[Row] = []
        with (out / "label_order.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            for row in measure(patches, out, model, epochs, seeds):
                rows.append(row)
                writer.writerow(astuple(row))
                file.flush()
        click.echo(describe_machine(machine_info()))
        click.echo(f"{model}, {epochs} epochs, {seeds} random orders")
        click.echo(describe(rows))


if __name__ == "__main__":
    main()
