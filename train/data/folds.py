"""Which photos train, validate and test in each of the five folds (Section 4)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge.errors import EdgeError
from edge.files import read_json, write_json
from train.data.samples import Sample

FOLDS = 5
# Of what is not test data the paper validates on one tenth: 20% : 72% : 8%.
VALIDATION_FRACTION = 0.1

By = Literal["photo", "crop"]


@dataclass(frozen=True)
class Fold:
    """Names of the photos (or crops) of one fold."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """All folds; `by` says whether the names are of whole photos or of their crops."""

    by: By
    seed: int
    folds: tuple[Fold, ...]

    def write(self, path: Path) -> None:
        """As JSON that `read` takes back; an earlier file stays whole until the new one is."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Split:
        """What `write` wrote, or the same written by hand.

        Raises:
            EdgeError: the file is no split, or a name stands in two parts of one fold.
        """
        content = read_json(path)
        try:
            folds = tuple(
                Fold(**{part: tuple(map(_name, names)) for part, names in fold.items()})
                for fold in content["folds"]
            )
            found = cls(content["by"], content["seed"], folds)
        except (KeyError, TypeError, AttributeError):
            raise EdgeError(
                f"{path}: not a split; it needs 'by', 'seed' and 'folds' with 'training', "
                f"'validation' and 'test' names, as in the split.json of a 'train crossval' folder"
            ) from None
        if found.by not in ("photo", "crop") or len(folds) != FOLDS:
            raise EdgeError(f"{path}: 'by' must be photo or crop, and there must be {FOLDS} folds")
        for number, fold in enumerate(folds, 1):
            for part in ("training", "validation", "test"):
                if not getattr(fold, part):
                    raise EdgeError(f"{path}: fold {number} has no {part} names")
            names = (*fold.training, *fold.validation, *fold.test)
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise EdgeError(f"{path}: fold {number} names {twice} twice")
        return found


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def split(samples: Sequence[Sample], by: By, seed: int) -> Split:
    """Five folds: every photo tests once, and a tenth of the rest validates.

    Photos without a particle are spread evenly, so that every part has some with one.

    Raises:
        EdgeError: there are fewer photos than folds.
    """
    if len(samples) < FOLDS:
        raise EdgeError(
            f"{len(samples)} {by}(s) cannot make {FOLDS} folds: at least {FOLDS} are needed"
        )
    order = _shuffled(samples, seed)
    folds = []
    for number in range(FOLDS):
        test = order[number::FOLDS]
        rest = [name for name in order if name not in set(test)]
        training, validation = _held_out(rest, number / FOLDS)
        folds.append(Fold(*(tuple(sorted(part)) for part in (training, validation, test))))
    return Split(by, seed, tuple(folds))


def hold_out(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """(training, validation) where nothing is tested: one in ten validates.

    Raises:
        EdgeError: there is one photo only.
    """
    if len(samples) < 2:
        raise EdgeError("there is one photo only; training needs another one to validate on")
    _, validation = _held_out(_shuffled(samples, seed), phase=0)
    by_part = [[p for p in samples if (p.name in validation) is held] for held in (False, True)]
    return by_part[0], by_part[1]


def _shuffled(samples: Sequence[Sample], seed: int) -> list[str]:
    """Names in random order, those with particles first."""
    shuffled = random.Random(seed).sample(sorted(samples, key=lambda p: p.name), len(samples))
    return [sample.name for sample in sorted(shuffled, key=lambda p: not p.mask.any())]


def _held_out(order: Sequence[str], phase: float) -> tuple[list[str], list[str]]:
    """(rest, one in ten), evenly out of `order`; another tenth for another `phase` in 0..1."""
    count = max(1, round(len(order) * VALIDATION_FRACTION))
    taken = {int((i + phase) * len(order) / count) for i in range(count)}
    parts = ([name for i, name in enumerate(order) if (i in taken) == held] for held in (0, 1))
    rest, held = parts
    return rest, held


def chosen(samples: Iterable[Sample], names: Sequence[str], where: Path) -> list[Sample]:
    """Those of `samples` that `names` lists.

    Raises:
        EdgeError: a name has no photo; `where` is the folder named.
    """
    by_name = {sample.name: sample for sample in samples}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise EdgeError(
            f"{where}: has no {missing[0]}, which the split names; give the split of this data"
        )
    return [by_name[name] for name in names]
