"""Photos as training crops: the paper's grid, or windows drawn around particles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from edge.tiling import paper_grid, split
from train.data.samples import Sample


@dataclass(frozen=True)
class Window:
    """A crop by the number of its photo and its top left corner, px."""

    sample: int
    top: int
    left: int


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Crops of one size out of photos, of which only the crops are read.

    Photos smaller than a crop are padded right and below with the `fill` colour, as background.

    Attributes:
        side_hw: height and width of every crop: `crop`, or the largest photo where that is less,
            rounded up to `multiple`.
        grid: windows of the paper's grid over all photos.
    """

    def __init__(
        self, samples: Sequence[Sample], multiple: int, crop: int, fill: Sequence[float]
    ) -> None:
        sizes = np.array([sample.mask.shape for sample in samples]).max(axis=0)
        height, width = (min(crop, -(-int(size) // multiple) * multiple) for size in sizes)
        self.side_hw = height, width
        self._samples = [(sample.image, sample.mask) for sample in samples]
        self._padded_hw: list[tuple[int, int]] = []
        self._fill = [round(v) for v in fill]
        self.grid: list[Window] = []
        for number, sample in enumerate(samples):
            layout = paper_grid(sample.size_hw, multiple, tile=crop)
            self.grid += [Window(number, top, left) for top, left in layout.origins()]
            padded, side = layout.padded_hw, self.side_hw
            self._padded_hw.append((max(padded[0], side[0]), max(padded[1], side[1])))

    def __getitem__(self, window: Window) -> tuple[Tensor, Tensor]:
        """Image uint8 (3,h,w), channels last in memory, and mask uint8 (1,h,w), 1 on particles
        and `IGNORED` where that is doubtful."""
        image, mask = (self._part(window, part) for part in self._samples[window.sample])
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)[None]

    def _part(self, window: Window, whole: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A crop of an image or mask, padded."""
        height, width = self.side_hw
        part = whole[window.top : window.top + height, window.left : window.left + width]
        below, right = height - part.shape[0], width - part.shape[1]
        if not (below or right):
            return part
        fill = self._fill if whole.ndim == 3 else 0
        padded = cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_CONSTANT, value=fill)
        return np.asarray(padded, np.uint8)

    def __len__(self) -> int:
        """Crops of an epoch."""
        return len(self.grid)

    def sampler(self, *, seed: int, foreground: float, rank: int, ranks: int) -> CropSampler:
        """The windows of the epochs; see `CropSampler`."""
        return CropSampler(self, seed=seed, foreground=foreground, rank=rank, ranks=ranks)

    def prior(self) -> float:
        """Fraction of particle pixels in the grid's crops."""
        masks = (self._part(window, self._samples[window.sample][1]) for window in self.grid)
        return float(np.mean([(torch.from_numpy(m) == 1).float().mean().item() for m in masks]))

    def particles(self) -> list[NDArray[np.uint32]]:
        """The places of particle pixels (n,) in each photo, y * width + x."""
        return [np.flatnonzero(mask == 1).astype(np.uint32) for _, mask in self._samples]

    def position(self, number: int, place: int) -> tuple[int, int]:
        """(y, x) of such a place in a photo."""
        y, x = divmod(place, int(self._samples[number][1].shape[1]))
        return y, x

    def sample_hw(self, number: int) -> tuple[int, int]:
        """Height and width of a photo with its padding."""
        return self._padded_hw[number]


class CropSampler(Sampler[Window]):
    """The windows of an epoch, in an order that depends on (seed, epoch) alone.

    So a run that resumes from a checkpoint sees what an unbroken one would have seen. An epoch has
    as many windows as the grid, in whole batches for each of `ranks` processes; a fraction of
    `foreground` of them lies around a random particle pixel, anywhere in the crop.
    """

    def __init__(
        self, crops: Crops, *, seed: int, foreground: float, rank: int = 0, ranks: int = 1
    ) -> None:
        self._crops = crops
        self._seed, self._foreground = seed, foreground
        self._rank, self._ranks = rank, ranks
        self._epoch = 0
        self._particles = crops.particles() if foreground else []

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._crops.grid) // self._ranks)

    def __iter__(self) -> Iterator[Window]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = [self._crops.grid[i] for i in rng.permutation(len(self._crops.grid))]
        if self._foreground:
            samples = [n for n, pixels in enumerate(self._particles) if len(pixels)]
            for i in np.flatnonzero(rng.random(len(order)) < self._foreground):
                order[i] = self._around_particle(rng, samples[rng.integers(len(samples))])
        # The first ones again, where the processes would not get equally many.
        order += order[: len(self) * self._ranks - len(order)]
        return iter(order[self._rank :: self._ranks])

    def _around_particle(self, rng: np.random.Generator, sample: int) -> Window:
        pixels = self._particles[sample]
        at = self._crops.position(sample, int(pixels[rng.integers(len(pixels))]))
        corner = []
        for pixel, side, size in zip(
            at, self._crops.side_hw, self._crops.sample_hw(sample), strict=True
        ):
            low, high = max(0, pixel - side + 1), min(pixel, size - side)
            corner.append(int(rng.integers(low, high + 1)))
        return Window(sample, *corner)


def as_samples(samples: Iterable[Sample], crop: int) -> list[Sample]:
    """Every crop of the paper's grid as a photo of its own, NAME@TOP,LEFT: for folds by crop."""
    found = []
    for sample in samples:
        grid = paper_grid(sample.size_hw, 1, tile=crop)
        parts = [sample.image, sample.mask, sample.labels]
        tiles = zip(grid.origins(), *(split(part, grid) for part in parts), strict=True)
        for (y, x), image, mask, labels in tiles:
            objects = None if sample.objects is None else labels
            found.append(Sample(f"{sample.name}@{y},{x}", image, mask, objects, sample.notes))
    return found
