"""Rendered crops as a training source: new ones at every step, the same ones for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from train.data.samples import Sample
from train.data.synth import Materials, scene

# Scenes from which mean, standard deviation and the fraction of particles are estimated.
REFERENCE_SCENES, REFERENCE_SIDE = 64, 128
# Seeds of the validation scenes, and of those, that no step can have.
VALIDATION_SEED, REFERENCE_SEED = 1 << 32, 1 << 33


@dataclass(frozen=True)
class Stream:
    """Where rendered crops come from.

    Attributes:
        sand, negatives: folders or globs of photos; see `Materials`.
        cutouts: folder with images/ and masks/ of particles.
        crops: of an epoch.
        validation: scenes that validate.
    """

    sand: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    cutouts: str | None = None
    crops: int = 2000
    validation: int = 64

    @cached_property
    def materials(self) -> Materials:
        """What the scenes are made of, read from disk.

        Raises:
            EdgeError: a place holds no readable image.
        """
        cutouts = Path(self.cutouts) if self.cutouts else None
        return Materials.read(self.sand, self.negatives, cutouts)

    def describe(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return asdict(self)

    @cached_property
    def reference_scenes(self) -> list[Sample]:
        """A few scenes that statistics are estimated from."""
        return self._scenes(REFERENCE_SEED, REFERENCE_SCENES, REFERENCE_SIDE)

    def validation_samples(self, side: int) -> list[Sample]:
        """The scenes that validate, `side` x `side` px."""
        return self._scenes(VALIDATION_SEED, self.validation, side)

    def _scenes(self, seed: int, count: int, side: int) -> list[Sample]:
        found = []
        for index in range(count):
            rng = np.random.default_rng((seed, index))
            rendered = scene(rng, side, side, materials=self.materials)
            found.append(Sample(f"rendered {index}", rendered.image, rendered.mask // 255))
        return found


class RenderedCrops(Dataset[tuple[Tensor, Tensor]]):
    """Crop `index` of a seed: rendered when asked for, whatever was asked before.

    Args:
        multiple, side: px; a crop's sides are `side`, rounded up to a multiple of `multiple`.
    """

    def __init__(self, stream: Stream, multiple: int, side: int) -> None:
        self._stream = stream
        self._side = -(-side // multiple) * multiple

    def __len__(self) -> int:
        """Crops of an epoch."""
        return self._stream.crops

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Image uint8 (3,h,w), channels last in memory, and mask uint8 (1,h,w), 1 on particles."""
        rng = np.random.default_rng(key)
        rendered = scene(rng, self._side, self._side, materials=self._stream.materials)
        image = torch.from_numpy(rendered.image).permute(2, 0, 1)
        return image, torch.from_numpy(rendered.mask // 255)[None]

    def prior(self) -> float:
        """Fraction of particle pixels."""
        return float(np.mean([sample.mask.mean() for sample in self._stream.reference_scenes]))

    def sampler(self, *, seed: int, foreground: float, rank: int, ranks: int) -> StreamSampler:
        """The keys of the epochs; scenes hold particles without being drawn around them."""
        return StreamSampler(len(self), seed=seed, rank=rank, ranks=ranks)


class StreamSampler(Sampler[tuple[int, int]]):
    """Keys of an epoch, which depend on (seed, epoch) alone, so that a resumed run repeats them."""

    def __init__(self, crops: int, *, seed: int, rank: int, ranks: int) -> None:
        self._crops, self._seed, self._rank, self._ranks = crops, seed, rank, ranks
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._crops // self._ranks

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = self._epoch * self._crops + self._rank
        return iter(
            [(self._seed, first + i * self._ranks) for i in range(self._crops // self._ranks)]
        )
