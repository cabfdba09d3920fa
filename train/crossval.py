"""The paper's comparison: every network on every fold, restartable where it stopped.

OUT/split.json          which photos train, validate and test in each fold
OUT/MODEL/fold1/        a run of `train.fit`, and result.json with the scores on the test photos
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.errors import BadArgumentError, EdgeError
from edge.files import ensure_empty_directory, read_json, write_json
from train.checkpoint import load, open_checkpoint
from train.data.crops import as_samples
from train.data.folds import By, Split, chosen, split
from train.data.samples import Notes, Sample, find_samples
from train.data.store import keep_samples
from train.evaluate import SampleMetrics, evaluate
from train.fit import BEST, Settings, TrainingResult, fit
from train.metrics import Counts, ObjectCounts
from train.models.registry import MODELS
from train.models.spec import ModelSpec
from train.recipe import Recipe

RESULT, SPLIT = "result.json", "split.json"


@dataclass(frozen=True)
class Job:
    """One network on one fold (from 1): plain data, so that another machine can run it.

    `data` and `out` are folders that this machine can reach, too; `init` is a checkpoint, or the
    name of shipped weights, that training starts from.
    """

    spec: ModelSpec
    recipe: Recipe
    fold: int
    data: Path
    out: Path
    settings: Settings
    tolerance: int
    init: str | None = None

    @property
    def folder(self) -> Path:
        return self.out / self.spec.key / f"fold{self.fold}"

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).is_file()

    def __str__(self) -> str:
        return f"{self.spec.key} fold {self.fold}"


@dataclass(frozen=True)
class FoldResult:
    """One finished job: how training ended, and the test photos one by one."""

    model: str
    title: str
    fold: int
    training_result: TrainingResult
    at_0_5: list[SampleMetrics]
    at_threshold: list[SampleMetrics]

    @classmethod
    def read(cls, path: Path) -> FoldResult:
        """What `run` wrote.

        Raises:
            EdgeError: the file is something else.
        """
        content = read_json(path)

        def scored(rows: list[dict[str, Any]]) -> list[SampleMetrics]:
            return [
                SampleMetrics(r["name"], Counts(**r["pixels"]), ObjectCounts(**r["objects"]))
                for r in rows
            ]

        try:
            content["training_result"] = TrainingResult(**content["training_result"])
            for part in ("at_0_5", "at_threshold"):
                content[part] = scored(content[part])
            return cls(**content)
        except (KeyError, TypeError):
            raise EdgeError(
                f"{path}: not a result of 'train crossval'; remove it, and run the fold again"
            ) from None


def load_samples(
    data: Path,
    classes: Sequence[str] = (),
    on_note: Callable[[str], None] = lambda _: None,
) -> list[Sample]:
    """Every photo of `data`, in memory or, beyond what that holds, in a temporary file.

    Args:
        classes: of a COCO file that count as particle.  [default: all]
        on_note: callback for a sentence on each kind of guess that was made.
    """
    samples = keep_samples(paths.load() for paths in find_samples(data, classes))
    notes = Notes()
    for sample in samples:
        notes.add(sample)
    for note in notes.describe():
        on_note(note)
    return samples


def load_units(
    data: Path, by: By, settings: Settings, on_note: Callable[[str], None] = lambda _: None
) -> list[Sample]:
    """What folds are made of: photos, or their crops as photos of their own; see `load_samples`."""
    samples = load_samples(data, settings.classes, on_note)
    if by == "photo":
        return samples
    return keep_samples(c for sample in samples for c in as_samples([sample], settings.crop))


def prepare_split(
    data: Path,
    out: Path,
    asked: str,
    settings: Settings,
    on_note: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the split into `out`, where it does not stand there already.

    Args:
        asked: "photo", "crop", or the path of a split file.
        on_note: of `load_samples`.

    Raises:
        BadArgumentError: `out` holds a comparison with another split.
        EdgeError: the file is no split, or there are fewer photos than folds.
    """
    if asked in ("photo", "crop"):
        by: By = "crop" if asked == "crop" else "photo"
        wanted = split(load_units(data, by, settings, on_note), by, settings.seed)
    elif Path(asked).is_file():
        wanted = Split.read(Path(asked))
    else:
        raise BadArgumentError(f"{asked}: must be photo, crop, or a split.json that is there")
    path = out / SPLIT
    if not path.is_file():
        ensure_empty_directory(out)
        wanted.write(path)
    elif Split.read(path) != wanted:
        raise BadArgumentError(f"{out}: holds a comparison with another split; name a new folder")


def run_here(jobs: Sequence[Job]) -> Iterator[tuple[Job, FoldResult]]:
    """Run jobs one after the other on this machine; finished ones are only read."""
    units: list[Sample] | None = None
    for job in jobs:
        if units is None and not job.done:
            units = load_units(job.data, Split.read(job.out / SPLIT).by, job.settings)
        yield job, run(job, units)


def run(job: Job, samples: Sequence[Sample] | None = None) -> FoldResult:
    """Train and test one job; a finished one is only read.

    Args:
        samples: all of the data, where they are in memory already.
    """
    path = job.folder / RESULT
    if not job.done:
        folds = Split.read(job.out / SPLIT)
        fold = folds.folds[job.fold - 1]
        if samples is None:
            samples = load_units(job.data, folds.by, job.settings)
        parts = (chosen(samples, n, job.data) for n in (fold.training, fold.validation, fold.test))
        training, validation, test = parts
        start = open_checkpoint(job.init) if job.init else None
        training_result = fit(
            job.spec, job.recipe, training, validation, job.folder, job.settings, start
        )
        scored = evaluate(load(job.folder / BEST), test, job.tolerance)
        result = FoldResult(
            job.spec.key,
            job.spec.title,
            job.fold,
            training_result,
            scored.at_0_5,
            scored.at_threshold,
        )
        write_json(path, asdict(result))
    return FoldResult.read(path)


def results(out: Path) -> list[FoldResult]:
    """Every finished fold in `out`, the registry's models first and in its order.

    Raises:
        BadArgumentError: there is none.
    """
    found = [FoldResult.read(path) for path in sorted(out.glob(f"*/fold*/{RESULT}"))]
    if not found:
        raise BadArgumentError(f"{out}: holds no finished fold of 'train crossval'")
    order = list(MODELS)
    return sorted(
        found,
        key=lambda r: (order.index(r.model) if r.model in order else len(order), r.model, r.fold),
    )
