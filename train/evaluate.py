"""Score a network on photos it has not seen, photo by photo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.engines import BACKENDS, open_engine
from edge.engines.engine import Engine, infer
from edge.engines.sessions import Sessions
from edge.particles import OperatingPoint, ParticleFilter
from edge.stage_timer import StageTimer
from edge.tiling import split, stitch, tile_grid
from train.checkpoint import Checkpoint, load, probability
from train.data.augment import normalised
from train.data.samples import Sample
from train.data.store import Store
from train.metrics import (
    LABELS,
    SCORES,
    ZERO_COUNTS,
    Counts,
    ObjectCounts,
    confidence_interval,
    object_counts,
)


@dataclass(frozen=True)
class SampleMetrics:
    """Pixels and objects of one photo under one threshold."""

    name: str
    pixels: Counts
    objects: ObjectCounts


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Every photo, `at_0_5` where the plain sigmoid exceeds 0.5, as in the paper, and
    `at_threshold` where the probability reaches the threshold. An engine, which has no plain
    sigmoid, leaves `at_0_5` empty.

    `maps`: probability of each photo, uint8 (H,W).
    """

    at_0_5: list[SampleMetrics]
    at_threshold: list[SampleMetrics]
    maps: list[NDArray[np.uint8]]

    def describe(self, threshold: float) -> str:
        """Scores of all photos together with 95% intervals, for a terminal."""
        rules = {f"threshold {threshold:g}": self.at_threshold}
        if self.at_0_5:
            rules = {"sigmoid > 0.5": self.at_0_5, **rules}
        lines = [f"{len(self.maps)} photos".ljust(24) + "".join(f"{rule:>28}" for rule in rules)]
        for key, score in SCORES.items():
            cells = ""
            for samples in rules.values():
                pixels = [sample.pixels for sample in samples]
                low, high = confidence_interval([pixels], score)
                cells += f"{score(sum(pixels, ZERO_COUNTS)):>12.4f} ({low:.4f}-{high:.4f})".rjust(
                    28
                )
            lines.append(f"{LABELS[key]:<24}{cells}")
        recall = false_positives = ""
        for samples in rules.values():
            objects = [sample.objects for sample in samples]
            recall += f"{sum(o.tp for o in objects)} of {sum(o.true for o in objects)}".rjust(28)
            false_positives += f"{sum(o.fp for o in objects) / len(objects):.1f}".rjust(28)
        lines += [f"{'object TP':<24}{recall}", f"{'object FP per photo':<24}{false_positives}"]
        return "\n".join(lines)


Source = Checkpoint | Engine


def open_source(name: str) -> Source:
    """The checkpoint (.pt) or engine at a path, or the shipped engine of that name.

    Raises:
        BadArgumentError: there is no such file or name, or no backend for that kind of file.
        EdgeError: the file is damaged or not ours, or its backend is not installed.
    """
    path = Path(name)
    if path.suffix == ".pt" or (path.is_file() and path.suffix not in BACKENDS):
        return load(path)
    return open_engine(name)


def operating_point(source: Source) -> OperatingPoint:
    """What it carries."""
    return source if isinstance(source, Checkpoint) else source.info


def evaluate(
    source: Source,
    samples: Sequence[Sample],
    tolerance: int = 0,
    particle_filter: ParticleFilter | None = None,
) -> Evaluation:
    """Score a network on whole photos, split and stitched as on the device.

    Args:
        tolerance: px that a detection may lie beside a labelled object; see `object_counts`.
        particle_filter: what counts as detected.  [default: the network's own]
    """
    found, store = Evaluation([], [], []), Store()
    particle_filter = particle_filter or ParticleFilter.of(operating_point(source))

    def score(sample: Sample, mask: NDArray[np.uint8]) -> SampleMetrics:
        doubtful = sample.doubtful
        objects = object_counts(mask, sample.labels, tolerance, doubtful)
        known = ~doubtful
        return SampleMetrics(sample.name, Counts.of(mask[known], sample.mask[known]), objects)

    if isinstance(source, Checkpoint):
        for sample, logits in zip(samples, predict(source, samples), strict=True):
            found.maps.append(store.keep(probability(logits, source.prior).numpy()))
            found.at_0_5.append(score(sample, (logits > 0).numpy().astype(np.uint8)))
    else:
        maps = probability_maps(source, (sample.image for sample in samples))
        found.maps.extend(map(store.keep, maps))
    for sample, probability_u8 in zip(samples, found.maps, strict=True):
        found.at_threshold.append(score(sample, particle_filter.mask(probability_u8)))
    return found


def probability_maps(
    source: Source, images: Iterable[NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Probability uint8 (H,W) of each image (H,W,3) uint8 RGB, one at a time.

    Raises:
        EdgeError: an image is too large for the network's halo, or the engine fails.
    """
    if isinstance(source, Checkpoint):
        for logits in _logits(source, images, source.module()):
            yield probability(logits, source.prior).numpy()
        return
    with Sessions(lambda size_hw: source.session(size_hw, 1, StageTimer()), capacity=1) as sessions:
        for image in images:
            height, width = image.shape[:2]
            yield infer(sessions.of((height, width)), image)


def predict(
    checkpoint: Checkpoint, samples: Sequence[Sample], network: nn.Module | None = None
) -> Iterator[Tensor]:
    """Logits float32 (H,W) of each photo, on the GPU where there is one.

    Args:
        network: the checkpoint's own module, where it carries hooks.

    Raises:
        EdgeError: a photo is too large for the network's halo within the tile limit.
    """
    images = (sample.image for sample in samples)
    return _logits(checkpoint, images, network or checkpoint.module())


def _logits(
    checkpoint: Checkpoint, images: Iterable[NDArray[np.uint8]], network: nn.Module
) -> Iterator[Tensor]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = checkpoint.spec
    halo = spec.receptive_field_radius()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for image in images:
        height, width = image.shape[:2]
        grid = tile_grid(
            (height, width),
            multiple=spec.multiple,
            halo=halo,
            # Deep networks have a wide halo; smaller tiles would mostly be halo.
            max_tile_pixels=max(640 * 640, (4 * halo) ** 2),
        )
        tiles: NDArray[np.float32] = np.empty((grid.count, 1, *grid.tile_hw), np.float32)
        with torch.inference_mode():
            for tile, part in zip(tiles, split(image, grid), strict=True):
                x = torch.from_numpy(part).to(device).permute(2, 0, 1)[None]
                logits = network(normalised(x, checkpoint.normalisation))
                tile[...] = logits[0].float().cpu().numpy()
        yield torch.from_numpy(stitch(tiles, grid))
