"""Train one network with the paper's loss and optimiser (Section 4).

train synth data --photos 400 --size 512
train fit --model half_mrunet --data data --epochs 20 --out half_mrunet.pt
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge.errors import ToolError
from train.checkpoint import Checkpoint, Normalisation, probability, save
from train.data.crops import Crop, crops
from train.data.photos import Photo, find_pairs, load
from train.loss import weighted_bce
from train.metrics import GreyLevels
from train.models.catalogue import build
from train.models.spec import ModelSpec

# Section 4: Adam, and a learning rate of 1e-3 times 0.96 every 800 steps.
LEARNING_RATE, DECAY, DECAY_STEPS = 1e-3, 0.96, 800
BETAS, EPSILON = (0.9, 0.999), 1e-7
# Of what is not test data the paper validates on one tenth (72% : 8%).
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Step:
    """One optimiser step: `loss` of its batch, `done` of `total` steps, `epoch` from 1."""

    epoch: int
    done: int
    total: int
    loss: float


@dataclass(frozen=True)
class Epoch:
    """Validation after an epoch: scores as in the paper (the plain sigmoid exceeds 0.5), and at
    the `threshold` of the probability with the best r.w. F1."""

    number: int
    threshold: float
    at_half: dict[str, float]
    at_threshold: dict[str, float]
    best: bool


def fit(
    spec: ModelSpec, data: Path, out: Path, *, epochs: int, batch: int, seed: int
) -> Iterator[Step | Epoch]:
    """Train `spec` on the photos of `data`; the best epoch's checkpoint stands at `out`.

    One photo in ten validates (drawn by `seed`); the best epoch is the one with the highest
    recall-weighted F1 on them, which also sets the threshold.

    Yields:
        Every step and every epoch, as it is done.

    Raises:
        ToolError: the data is broken, holds one photo only, or the loss is no longer finite.
        OSError: the checkpoint cannot be written.
    """
    torch.manual_seed(seed)
    photos = [load(*pair) for pair in find_pairs(data)]
    if len(photos) < 2:
        raise ToolError(f"{data}: holds one photo; training needs another one to validate on")
    random.Random(seed).shuffle(photos)
    held_out = max(1, round(len(photos) * VALIDATION_SHARE))
    validation, training = (crops(p, spec.multiple) for p in (photos[:held_out], photos[held_out:]))
    normalisation = _normalisation(photos[held_out:])
    prior = _prior(training)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Channels last: about 1.3 times as fast on CPU, and what tensor cores want.
    network = build(spec).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE, BETAS, EPSILON)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, DECAY_STEPS, DECAY)
    order = torch.Generator().manual_seed(seed)
    steps = -(-len(training) // batch)
    done, best = 0, -1.0
    for epoch in range(1, epochs + 1):
        network.train()
        shuffled = torch.randperm(len(training), generator=order).tolist()
        for start in range(0, len(training), batch):
            chosen = _batch([training[i] for i in shuffled[start : start + batch]])
            image, target = (t.to(device) for t in chosen)
            loss = weighted_bce(network(_normalised(image, normalisation)), target)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            done += 1
            value = loss.item()
            if not np.isfinite(value):
                raise ToolError(
                    f"step {done} (epoch {epoch}): the loss is {value}; "
                    f"the last good checkpoint, if any, stands at {out}"
                )
            yield Step(epoch, done, steps * epochs, value)
        raw, levels = _validate(network, validation, normalisation, prior, device)
        level = levels.best_level()
        score = levels.at(level).weighted_f1()
        result = Epoch(
            number=epoch,
            threshold=round(level / 255, 4),
            at_half=raw.at(128).scores(),
            at_threshold=levels.at(level).scores(),
            best=score > best,
        )
        if result.best:
            best = score
            trained = {
                "data": data.name,
                "photos": len(photos) - held_out,
                "validation_photos": held_out,
                "epochs": epoch,
                "steps": done,
                "batch": batch,
                "seed": seed,
                "validation_at_0.5": result.at_half,
                "validation_at_threshold": result.at_threshold,
            }
            weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
            save(
                Checkpoint(spec.key, normalisation, prior, result.threshold, trained, weights), out
            )
        yield result


def _normalisation(photos: Sequence[Photo]) -> Normalisation:
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for photo in photos:
        image = photo.image.reshape(-1, 3).astype(np.float64)
        total += image.sum(axis=0)
        squares += np.square(image).sum(axis=0)
        pixels += len(image)
    mean = total / pixels
    std = np.sqrt(squares / pixels - mean**2).clip(min=1.0)
    r, g, b = (round(float(v), 3) for v in mean)
    sr, sg, sb = (round(float(v), 3) for v in std)
    return Normalisation((r, g, b), (sr, sg, sb))


def _prior(training: Sequence[Crop]) -> float:
    """Share of particle pixels.

    Raises:
        ToolError: there are none, or nothing else.
    """
    prior = float(np.mean([crop.mask.mean() for crop in training]))
    if not 0 < prior < 1:
        raise ToolError(
            f"the training masks hold only {'particles' if prior else 'background'}: "
            f"there is nothing to tell apart"
        )
    return prior


def _batch(chosen: Sequence[Crop]) -> tuple[Tensor, Tensor]:
    """Images uint8 (N,3,H,W), channels last in memory, and targets uint8 (N,1,H,W)."""
    image = torch.from_numpy(np.stack([crop.image for crop in chosen])).permute(0, 3, 1, 2)
    return image, torch.from_numpy(np.stack([crop.mask for crop in chosen]))[:, None]


def _normalised(image: Tensor, normalisation: Normalisation) -> Tensor:
    shape = (1, 3, 1, 1)
    mean = image.new_tensor(normalisation.mean, dtype=torch.float32).view(shape)
    std = image.new_tensor(normalisation.std, dtype=torch.float32).view(shape)
    return (image.float() - mean) / std


def _validate(
    network: nn.Module,
    validation: Sequence[Crop],
    normalisation: Normalisation,
    prior: float,
    device: torch.device,
) -> tuple[GreyLevels, GreyLevels]:
    """Grey levels of the plain sigmoid, as in the paper, and of the probability."""
    network.eval()
    raw, levels = GreyLevels(), GreyLevels()
    with torch.inference_mode():
        for crop in validation:
            image, target = _batch([crop])
            logits = network(_normalised(image.to(device), normalisation))
            for counted, p in ((raw, torch.sigmoid(logits)), (levels, probability(logits, prior))):
                counted.add((p * 255).round().to(torch.uint8).cpu().numpy(), target.numpy())
    return raw, levels
