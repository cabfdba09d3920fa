"""Train one network with Lightning, in a folder that a stopped run resumes from.

RUN/best.pt, last.pt   checkpoints: weights and what an engine must know; no pickled code
RUN/resume.ckpt        Lightning's own state, to resume from
RUN/settings.json      what was asked
RUN/tensorboard/       loss and scores
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from edge.errors import BadArgumentError, EdgeError
from edge.files import atomic_write, ensure_empty_directory, read_json, write_json
from train.checkpoint import Checkpoint, save
from train.data.augment import normalisation_of
from train.data.crops import Crops
from train.data.samples import Sample
from train.data.stream import RenderedCrops, Stream
from train.models.spec import ModelSpec
from train.module import LOG_STEPS, SegmentationModule
from train.recipe import Recipe

BEST, LAST, RESUME, SETTINGS = "best.pt", "last.pt", "resume.ckpt", "settings.json"


@dataclass(frozen=True)
class Settings:
    """What makes a run the run it is; one that stopped resumes only under the same.

    `batch`: crops per step, over all devices; `crop`: side of a crop, px; `precision`: one of
    Lightning's names; `init`: SHA-256 of the weights that it started from; `points`: that of the
    file of points that the masks are drawn from; `point_diameter`: of their discs, px; `classes`:
    of a COCO file that count as particle, all where empty.
    """

    data: str
    epochs: int
    batch: int = 4
    crop: int = 512
    seed: int = 0
    precision: str = "32-true"
    devices: int | str = "auto"
    init: str | None = None
    points: str | None = None
    point_diameter: float | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended: its best epoch's scores, and whether that epoch's network collapsed."""

    epochs: int
    best_epoch: int
    threshold: float
    at_0_5: dict[str, float]
    at_threshold: dict[str, float]
    collapsed: bool

    def describe(self) -> str:
        """One line for a terminal; another one where the run collapsed."""
        text = (
            f"best epoch {self.best_epoch} of {self.epochs}: validation r.w. F1 "
            f"{self.at_0_5['rw_f1']:.4f} where the sigmoid exceeds 0.5, "
            f"{self.at_threshold['rw_f1']:.4f} at threshold {self.threshold}"
        )
        if self.collapsed:
            text += (
                "\ncollapsed: a constant prediction, as of the U-nets of the paper in some "
                "folds; try another --seed, a smaller network or --recipe strong"
            )
        return text


def fit(
    spec: ModelSpec,
    recipe: Recipe,
    training: Sequence[Sample] | Stream,
    validation: Sequence[Sample],
    out: Path,
    settings: Settings,
    init: Checkpoint | None = None,
) -> TrainingResult:
    """Train `spec` on `training`, or resume the run in `out`.

    The best epoch is the one with the highest recall-weighted F1 on `validation`, which also sets
    the threshold.

    Args:
        init: to start from, of the same network or of one with fewer residual units; its
            normalisation is kept.

    Raises:
        BadArgumentError: `out` holds something else, or a run with other settings; or `init` is of
            another network.
        EdgeError: the settings in `out` are damaged, the data has nothing to learn from, or the
            loss is no longer finite.
        OSError: a checkpoint cannot be written; earlier ones are whole.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the epochs done are kept.
    """
    weights = init.weights_for(spec) if init else None
    resume = _prepare_run_directory(out, spec, recipe, training, validation, settings)
    reference = training.reference_scenes if isinstance(training, Stream) else training
    normalisation = init.normalisation if init else normalisation_of(reference)
    crops: Crops | RenderedCrops
    if isinstance(training, Stream):
        crops = RenderedCrops(training, spec.multiple, settings.crop)
    else:
        crops = Crops(training, spec.multiple, settings.crop, normalisation.mean)
    held_out = Crops(validation, spec.multiple, settings.crop, normalisation.mean)
    fraction = crops.prior()
    if not 0 < fraction < 1:
        raise EdgeError(
            f"{settings.data}: the training masks hold only "
            f"{'particles' if fraction else 'background'}: there is nothing to tell apart"
        )
    # Dice pulls the decision back to the middle: then there is nothing to undo.
    prior = fraction if recipe.loss == "weighted_bce" else 0.5
    _silence_logs()
    facts = {
        "data": settings.data,
        "photos": len(training) if isinstance(training, Sequence) else "rendered, new at each step",
        "validation_photos": len(validation),
        "recipe": recipe.key,
        "batch": settings.batch,
        "crop": settings.crop,
        "seed": settings.seed,
    }
    untrained = Checkpoint(spec, normalisation, prior, threshold=0.5, training=facts, weights={})
    checkpoints = _CheckpointCallback(out, untrained)
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        devices=settings.devices,
        precision=settings.precision,  # type: ignore[arg-type]
        logger=TensorBoardLogger(out, name="tensorboard", version=""),
        callbacks=[checkpoints, TQDMProgressBar(refresh_rate=LOG_STEPS)],
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=LOG_STEPS,
        # Ours shards the crops over the processes.
        use_distributed_sampler=False,
    )
    if settings.batch % trainer.world_size:
        raise BadArgumentError(
            f"a batch of {settings.batch} crops cannot be split over {trainer.world_size} "
            f"devices; take a multiple of {trainer.world_size}"
        )
    steps = settings.epochs * -(-len(crops) // settings.batch)
    module = SegmentationModule(
        spec, recipe, normalisation, prior, seed=settings.seed, steps=steps, weights=weights
    )
    loaders = _Loaders(crops, held_out, recipe, settings)
    try:
        trainer.fit(module, loaders, ckpt_path=resume, weights_only=True)
    except pickle.UnpicklingError as error:
        raise EdgeError(f"{resume}: not safe to load; remove {out} and train again") from error
    except SystemExit as stop:
        # What Lightning makes of Ctrl-C and SIGTERM.
        raise KeyboardInterrupt from stop
    return checkpoints.result()


def _prepare_run_directory(
    out: Path,
    spec: ModelSpec,
    recipe: Recipe,
    training: Sequence[Sample] | Stream,
    validation: Sequence[Sample],
    settings: Settings,
) -> Path | None:
    """Prepare `out` for this run; the state to resume from, where one stopped there."""
    asked = json.loads(
        json.dumps(
            {
                **asdict(settings),
                "model": spec.describe(),
                "recipe": asdict(recipe),
                "training": (
                    training.describe()
                    if isinstance(training, Stream)
                    else [sample.name for sample in training]
                ),
                "validation": [sample.name for sample in validation],
            }
        )
    )
    path = out / SETTINGS
    if not path.is_file():
        ensure_empty_directory(out)
        write_json(path, asked)
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise EdgeError(f"{path}: not the settings of a run; name a new folder")
    # Runs of before there were classes to choose say nothing of them.
    found = {"classes": [], **found}
    other = [key for key in asked if found.get(key) != asked[key]]
    if other:
        raise BadArgumentError(
            f"{out}: holds a run with another {other[0]}; name a new folder, or ask for the same"
        )
    return out / RESUME if (out / RESUME).is_file() else None


class _Loaders(lightning.LightningDataModule):
    """Batches of the training and validation crops, sharded over the processes."""

    def __init__(
        self, training: Crops | RenderedCrops, validation: Crops, recipe: Recipe, settings: Settings
    ) -> None:
        super().__init__()
        self._training, self._validation = training, validation
        self._recipe, self._settings = recipe, settings

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        sampler = self._training.sampler(
            seed=self._settings.seed,
            foreground=self._recipe.foreground,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
        )
        workers = 0 if self.trainer.strategy.root_device.type == "cpu" else _cores(self.trainer)
        return DataLoader(
            self._training,
            self._settings.batch // self.trainer.world_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=workers > 0,
            # OpenCV's threads would fight for the cores.
            worker_init_fn=lambda _: cv2.setNumThreads(0),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        return DataLoader(
            self._validation,
            self._settings.batch // ranks,
            sampler=self._validation.grid[rank::ranks],
        )


def _cores(trainer: lightning.Trainer) -> int:
    """CPU cores for each of the processes that train on this machine."""
    # Linux knows which of them are ours.
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (ours or 1) * trainer.num_nodes // trainer.world_size)


class _CheckpointCallback(Callback):
    """Keeps the best and the last checkpoint, and Lightning's state after every epoch."""

    def __init__(self, out: Path, untrained: Checkpoint) -> None:
        self._out, self._untrained = out, untrained
        self._best: dict[str, Any] = {"score": -1.0}
        self._epochs = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._epochs = state_dict["best"], state_dict["epochs"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: SegmentationModule) -> None:  # type: ignore[override]
        self._epochs = trainer.current_epoch + 1
        validation = module.validation
        assert validation is not None
        threshold = round(validation.threshold_u8 / 255, 4)
        at_0_5 = validation.at_0_5.scores()
        at_threshold = validation.histogram.at(validation.threshold_u8).scores()
        # Of equals the later one: it is trained more.
        better = validation.score >= self._best["score"]
        if better:
            self._best = {
                "score": validation.score,
                "best_epoch": self._epochs,
                "threshold": threshold,
                "at_0_5": at_0_5,
                "at_threshold": at_threshold,
                "collapsed": validation.collapsed,
            }
        if trainer.is_global_zero:
            trained = {
                "epochs": self._epochs,
                "steps": trainer.global_step,
                "validation_at_0.5": at_0_5,
                "validation_at_threshold": at_threshold,
            }
            checkpoint = replace(
                self._untrained,
                threshold=threshold,
                training=self._untrained.training | trained,
                weights=module.weights(),
            )
            for name in (BEST, LAST) if better else (LAST,):
                save(checkpoint, self._out / name)
        # Every process takes part in saving, the first one writes.
        resume = self._out / RESUME
        writing = atomic_write(resume) if trainer.is_global_zero else contextlib.nullcontext(resume)
        try:
            with writing as path:
                trainer.save_checkpoint(path)
        except OSError as error:
            # Lightning names a temporary file of its own.
            raise OSError(error.errno, error.strerror, str(resume)) from error

    def result(self) -> TrainingResult:
        """How the run ended."""
        best = {key: value for key, value in self._best.items() if key != "score"}
        return TrainingResult(self._epochs, **best)


def _silence_logs() -> None:
    """Leave out Lightning's advertisements and advice about loaders; errors stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
