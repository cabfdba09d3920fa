"""What the folder of a run holds, read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge.errors import BadArgumentError, EdgeError
from edge.files import read_json
from train.checkpoint import Checkpoint, load
from train.crossval import RESULT, SPLIT, FoldResult, load_samples, load_units
from train.data.folds import By, Split, chosen
from train.data.samples import Sample
from train.data.stream import Stream
from train.fit import BEST, LAST, SETTINGS, STARTS, Settings

Points = list[tuple[float, float]]
KEYS = {
    "data", "epochs", "batch", "crop", "seed", "precision", "recipe", "training", "validation",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A run of 'train fit', or one fold of 'train crossval'.

    Attributes:
        settings: those of settings.json.
        best: checkpoint of the best epoch so far.
        last: `Checkpoint.training` of the last one.
    """

    path: Path
    settings: dict[str, Any]
    best: Checkpoint
    last: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Of `path`.

        Raises:
            BadArgumentError: it holds no run, or none with a whole epoch.
            EdgeError: a file in it is damaged.
        """
        path = path.resolve()
        if not (path / SETTINGS).is_file():
            raise BadArgumentError(
                f"{path}: holds no {SETTINGS}; give the --out folder of 'train fit' or "
                f"'train crossval'"
            )
        if not (path / BEST).is_file():
            raise BadArgumentError(f"{path}: has no whole epoch yet; try again later")
        settings = read_json(path / SETTINGS)
        if not _is_of_run(settings):
            raise EdgeError(f"{path / SETTINGS}: not the settings of a run of 'train fit'")
        return cls(path, settings, load(path / BEST), load(path / LAST).training)

    @property
    def name(self) -> str:
        """Of the folder; of a fold with the model's."""
        return "/".join(self.path.parts[-2:]) if self._split else self.path.name

    @property
    def starts(self) -> list[dict[str, Any]]:
        """See `train.provenance`; runs of earlier versions have none."""
        found: list[dict[str, Any]] = self.settings.get(STARTS, [])
        return found

    @property
    def _split(self) -> Path | None:
        """The split, where this is a finished fold."""
        path = self.path.parents[1] / SPLIT
        return path if path.is_file() and (self.path / RESULT).is_file() else None

    def curves(self) -> dict[str, Points]:
        """(step, value) of each scalar in tensorboard/, by its name; empty where there is none."""
        folder = self.path / "tensorboard"
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        if not folder.is_dir():
            return {}
        events.Reload()
        # Steps that a resumed run repeats come twice.
        return {
            name: sorted({event.step: event.value for event in events.Scalars(name)}.items())
            for name in events.Tags()["scalars"]
        }

    def held_out(self, data: Path | None = None) -> tuple[list[Sample], str]:
        """The photos to evaluate the run on, and what they are.

        Those that it validated on; of a fold those that it was tested on; rendered scenes where it
        learnt from such.

        Args:
            data: where the folder of the photos is now; all photos of a folder of another name.

        Raises:
            EdgeError: they cannot be had.
        """
        training = self.settings["training"]
        if data and (isinstance(training, dict) or data.resolve().name != self.settings["data"]):
            photos = load_samples(data)
            return photos, f"all {len(photos)} photos of {data.resolve().name}"
        if isinstance(training, dict):
            return self._rendered(training)
        if self.settings.get("points"):
            raise EdgeError(
                f"{self.name} learnt from points: evaluate it with 'train evaluate --points', or "
                f"give other photos that have masks with --data"
            )
        folder = data or self._data_folder()
        by: By = "photo"
        names: Sequence[str] = self.settings["validation"]
        kind = "validated on"
        if self._split:
            split = Split.read(self._split)
            by, kind = split.by, "was tested on"
            names = split.folds[FoldResult.read(self.path / RESULT).fold - 1].test
        photos = chosen(load_units(folder, by, self._asked()), names, folder)
        unit = f"{by}{'s' * (len(photos) != 1)}"
        return photos, f"{len(photos)} {unit} of {folder.resolve().name} that it {kind}"

    def _asked(self) -> Settings:
        names = {field.name for field in fields(Settings)}
        asked = Settings(**{key: value for key, value in self.settings.items() if key in names})
        return replace(asked, classes=tuple(asked.classes))

    def _rendered(self, training: dict[str, Any]) -> tuple[list[Sample], str]:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in training.items()
        }
        try:
            photos = Stream(**values).validation_samples(self.settings["crop"])
        except TypeError:
            raise EdgeError(
                f"{self.path / SETTINGS}: not the settings of a run of 'train fit'"
            ) from None
        return photos, f"{len(photos)} rendered scenes that it validated on"

    def _data_folder(self) -> Path:
        folders = [start.get("data_folder") for start in self.starts]
        if not (folders and folders[-1]):
            raise EdgeError(f"{self.name} does not say where its photos are: give --data FOLDER")
        folder = Path(folders[-1])
        if not folder.is_dir():
            raise EdgeError(f"{folder}: no longer there: give --data FOLDER")
        return folder


def _is_of_run(settings: Any) -> bool:
    """Whether this is what `fit` writes, also in earlier versions."""
    if not isinstance(settings, dict) or not settings.keys() >= KEYS:
        return False
    recipe, starts = settings["recipe"], settings.get(STARTS, [])
    return (
        isinstance(recipe, dict)
        and recipe.keys() >= {"key", "learning_rate"}
        and isinstance(starts, list)
        and all(isinstance(start, dict) for start in starts)
    )
