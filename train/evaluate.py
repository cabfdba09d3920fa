"""Score a network on photos it has not seen, photo by photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.particles import particle_mask
from edge.tiling import cut, plan, stitch
from train.checkpoint import Checkpoint, probability
from train.data.augment import normalised
from train.data.photos import Photo
from train.metrics import (
    LABELS,
    NOTHING,
    SCORES,
    Counts,
    ObjectCounts,
    confidence_interval,
    object_counts,
)


@dataclass(frozen=True)
class Scored:
    """Pixels and objects of one photo under one threshold."""

    name: str
    pixels: Counts
    objects: ObjectCounts


@dataclass(frozen=True)
class Evaluation:
    """Every photo, `at_half` where the plain sigmoid exceeds 0.5, as in the paper, and
    `at_threshold` where the probability reaches the checkpoint's threshold."""

    at_half: list[Scored]
    at_threshold: list[Scored]

    def as_text(self, threshold: float) -> str:
        """Scores of all photos together with 95% intervals, for a terminal."""
        rules = {"sigmoid > 0.5": self.at_half, f"threshold {threshold}": self.at_threshold}
        lines = [f"{len(self.at_half)} photos".ljust(24) + "".join(f"{rule:>28}" for rule in rules)]
        for key, score in SCORES.items():
            cells = ""
            for photos in rules.values():
                pixels = [photo.pixels for photo in photos]
                low, high = confidence_interval([pixels], score)
                cells += f"{score(sum(pixels, NOTHING)):>12.4f} ({low:.4f}-{high:.4f})".rjust(28)
            lines.append(f"{LABELS[key]:<24}{cells}")
        found = false = ""
        for photos in rules.values():
            objects = [photo.objects for photo in photos]
            found += f"{sum(o.found for o in objects)} of {sum(o.true for o in objects)}".rjust(28)
            false += f"{sum(o.false for o in objects) / len(objects):.1f}".rjust(28)
        lines += [f"{'objects found':<24}{found}", f"{'false objects a photo':<24}{false}"]
        return "\n".join(lines)


def evaluate(checkpoint: Checkpoint, photos: Sequence[Photo], tolerance: int = 0) -> Evaluation:
    """Score `checkpoint` on whole photos, cut and stitched as on the device.

    Args:
        tolerance: px that an object may lie beside a true one; see `object_counts`.
    """
    found = Evaluation([], [])
    for photo, logits in zip(photos, predict(checkpoint, photos), strict=True):
        level = max(1, round(checkpoint.threshold * 255))
        grey = probability(logits, checkpoint.prior).numpy()
        masks = ((logits > 0).numpy().astype(np.uint8), particle_mask(grey, level))
        for scored, mask in zip((found.at_half, found.at_threshold), masks, strict=True):
            scored.append(
                Scored(
                    photo.name,
                    Counts.of(mask, photo.mask),
                    object_counts(mask, photo.mask, tolerance),
                )
            )
    return found


def predict(
    checkpoint: Checkpoint, photos: Sequence[Photo], network: nn.Module | None = None
) -> Iterator[Tensor]:
    """Logits float32 (H,W) of each photo, on the GPU where there is one.

    Args:
        network: the checkpoint's own module, where it carries hooks.

    Raises:
        ToolError: a photo is too large for the network's halo within the tile limit.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = checkpoint.spec
    halo = spec.receptive_field_radius()
    network = network or checkpoint.module()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for photo in photos:
        layout = plan(
            photo.size_hw,
            multiple=spec.multiple,
            halo=halo,
            # Deep networks have a wide halo; smaller tiles would mostly be halo.
            max_tile_pixels=max(640 * 640, (4 * halo) ** 2),
        )
        tiles: NDArray[np.float32] = np.empty((layout.count, 1, *layout.tile_hw), np.float32)
        with torch.inference_mode():
            for tile, image in zip(tiles, cut(photo.image, layout), strict=True):
                x = torch.from_numpy(image).to(device).permute(2, 0, 1)[None]
                logits = network(normalised(x, checkpoint.normalisation))
                tile[...] = logits[0].float().cpu().numpy()
        yield torch.from_numpy(stitch(tiles, layout))
