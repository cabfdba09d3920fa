"""What finds particles in photos: networks in any engine, and filters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.real_sets import Window, whole
from bench.torch_engine import TorchEngine
from edge.engines import engine_path, open_engine
from edge.engines.engine import Engine, infer
from edge.errors import BadArgumentError, EdgeError
from edge.particles import ParticleFilter
from edge.stage_timer import StageTimer
from train.checkpoint import load
from train.crossval import SPLIT
from train.data.folds import Split
from train.data.samples import Sample
from train.fit import BEST
from train.models.registry import MODELS


class Detector(Protocol):
    """What turns an image (H,W,3) uint8 RGB into a map uint8 (H,W).

    Attributes:
        margin: px around a pixel that its value depends on.
        multiple: an image must begin on multiples of this in its photo, px.
    """

    @property
    def name(self) -> str: ...

    @property
    def margin(self) -> int: ...

    @property
    def multiple(self) -> int: ...

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Model:
    """A network in an engine.

    Attributes:
        flops: of a 512x512 tile; None of a network that is not in the model registry.
        exported: whether it comes from an engine file, not from a checkpoint.
    """

    name: str
    engine: Engine
    flops: int | None
    exported: bool

    @property
    def margin(self) -> int:
        return self.engine.info.halo

    @property
    def multiple(self) -> int:
        return self.engine.info.multiple

    @property
    def particle_filter(self) -> ParticleFilter:
        """What it is shipped with."""
        return ParticleFilter.of(self.engine.info)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        with self.engine.session((height, width), 1, StageTimer()) as session:
            return infer(session, image)


@dataclass(frozen=True)
class Found:
    """Maps of one detector for the windows of a set.

    Attributes:
        maps: uint8 of each window's size.
        shipped: what comes with the map, one each; empty of a classical filter.
    """

    detector: str
    maps: list[NDArray[np.uint8]]
    shipped: list[ParticleFilter]


def find(detector: Detector, windows: Sequence[Window]) -> Found:
    """The maps of `detector`, each computed with the photo around its window in view."""
    maps = []
    for window in windows:
        image, inside = window.with_margin(detector.margin, detector.multiple)
        maps.append(np.ascontiguousarray(detector(image)[inside]))
    shipped = [detector.particle_filter] * len(maps) if isinstance(detector, Model) else []
    return Found(detector.name, maps, shipped)


@contextlib.contextmanager
def opened(name: str) -> Iterator[Model]:
    """An engine file, a checkpoint (.pt) or a shipped model, called by its file.

    Raises:
        BadArgumentError: there is none of that name.
        EdgeError: the file is damaged, or its backend is not installed.
    """
    path = Path(name)
    exported = path.suffix != ".pt"
    if not exported and not path.is_file():
        raise BadArgumentError(f"{name}: no such file")
    if exported:
        path = engine_path(name)
        with contextlib.closing(open_engine(name)) as engine:
            spec = MODELS.get(engine.info.model)
            yield Model(path.stem, engine, spec.flops() if spec else None, exported)
    else:
        with contextlib.closing(
            TorchEngine(path, compiled=False, precision="fp32")
        ) as torch_engine:
            yield Model(path.stem, torch_engine, load(path).spec.flops(), exported)


def find_by_fold(folder: Path, photos: Sequence[Sample]) -> list[Found]:
    """Maps of each network of a `train crossval` folder, of the photos its folds did not train on.

    Raises:
        EdgeError: it is no such folder, a fold is not finished, or it is of other photos.
    """
    split = Split.read(folder / SPLIT) if (folder / SPLIT).is_file() else None
    names = {name for fold in split.folds for name in fold.test} if split else set()
    if split is None or names != {photo.name for photo in photos}:
        raise EdgeError(
            f"{folder}: is no folder of 'train crossval' on these photos; its {SPLIT} must name "
            f"each of them as a test photo"
        )
    found = []
    for network in sorted(path for path in folder.iterdir() if path.is_dir()):
        of_photo: dict[str, tuple[NDArray[np.uint8], ParticleFilter]] = {}
        for number, fold in enumerate(split.folds, 1):
            path = network / f"fold{number}" / BEST
            with opened(str(path)) as model:
                tested = [photo for photo in photos if photo.name in fold.test]
                windows = [whole(photo.name, photo.image) for photo in tested]
                fold_maps = find(model, windows).maps
                for photo, found_map in zip(tested, fold_maps, strict=True):
                    of_photo[photo.name] = found_map, model.particle_filter
        maps, shipped = zip(*(of_photo[photo.name] for photo in photos), strict=True)
        found.append(Found(f"{network.name}, by fold", list(maps), list(shipped)))
    if not found:
        raise EdgeError(f"{folder}: holds no network")
    return found
