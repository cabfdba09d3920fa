"""One network in training, as Lightning sees it: loss, optimiser and validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor, nn

from edge.errors import EdgeError
from train.checkpoint import Normalisation, probability
from train.data.augment import Augmentation, normalised
from train.data.samples import IGNORED
from train.loss import LOSSES
from train.metrics import ZERO_COUNTS, Counts, ProbabilityHistogram
from train.models.norm import fused
from train.models.registry import build
from train.models.spec import ModelSpec
from train.recipe import Recipe

# Section 4: Adam, and a learning rate that falls to 0.96 of itself every 800 steps.
DECAY, DECAY_STEPS = 0.96, 800
BETAS, EPSILON = (0.9, 0.999), 1e-7
# Steps between two entries of the loss in TensorBoard and on the progress bar.
LOG_STEPS = 10
# Logit whose probability is exactly 0 in float32.
SURE = -1e4

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Validation:
    """Pixels of the validation crops: `at_0_5` where the plain sigmoid exceeds 0.5, as in the
    paper, and at every uint8 threshold of the `probability`."""

    at_0_5: Counts
    histogram: ProbabilityHistogram

    @property
    def threshold_u8(self) -> int:
        """The uint8 threshold with the best recall-weighted F1; 128 without a particle."""
        return self.histogram.best_threshold_u8() if self.histogram.particle.any() else 128

    @property
    def score(self) -> float:
        """Recall-weighted F1 at that threshold."""
        return self.histogram.at(self.threshold_u8).weighted_f1()

    @property
    def collapsed(self) -> bool:
        """Whether the prediction is constant, as that of the U-nets of the paper."""
        return self.at_0_5.constant


class SegmentationModule(lightning.LightningModule):
    """Trains `spec` by `recipe`.

    Args:
        prior: see `Checkpoint`.
        steps: optimiser steps of the whole run, for the cosine schedule.
        weights: to start from, of the plain network; random ones when not given.
    """

    def __init__(
        self,
        spec: ModelSpec,
        recipe: Recipe,
        normalisation: Normalisation,
        prior: float,
        *,
        seed: int,
        steps: int,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._recipe, self._steps, self._seed = recipe, steps, seed
        self._normalisation, self._prior = normalisation, prior
        torch.manual_seed(seed)
        # Channels last: about 1.3 times as fast on CPU, and what tensor cores want.
        network = build(spec, norm=recipe.norm)
        if weights is not None:
            network.load_state_dict(weights)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._augment = Augmentation()
        self._loss = LOSSES[recipe.loss]
        self.validation: Validation | None = None

    def weights(self) -> dict[str, Tensor]:
        """Those of the plain network, batch normalisation fused in."""
        return fused(self.network)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        # The augmentation of a step depends on nothing else, so that a resumed run repeats it.
        state = np.random.SeedSequence((self._seed, self.global_step, self.global_rank))
        # Kornia draws on the CPU; seeding every device would cost milliseconds.
        torch.default_generator.manual_seed(int(state.generate_state(1)[0]))
        loss = self.loss(*batch)
        if not torch.isfinite(loss):
            raise EdgeError(
                f"step {self.global_step + 1} (epoch {self.current_epoch + 1}): the loss is "
                f"{loss.item()}; the checkpoints of earlier epochs are whole"
            )
        # Where Lightning writes it down; in every step it would cost a millisecond.
        if (self.global_step + 1) % LOG_STEPS == 0:
            self.log("loss", loss, prog_bar=True, on_step=True)
        return loss

    def loss(self, image: Tensor, target: Tensor) -> Tensor:
        """Of images uint8 (N,3,H,W), augmented, and masks uint8 (N,1,H,W), as in `Sample`."""
        image = normalised(image, self._normalisation)
        doubtful = target == IGNORED
        ignoring = bool(doubtful.any())
        if ignoring:
            target = torch.cat([target.masked_fill(doubtful, 0), doubtful.to(target.dtype)], dim=1)
        if self._recipe.augment:
            image, target = self._augment(image, target)
        # In float32: the paper's loss sums over pixels, too much for half precision.
        logits = self.network(image).float()
        if ignoring:
            target, doubtful = target[:, :1], target[:, 1:] > 0
            # Background that the network is sure of: no loss, no gradient, no overlap.
            target, logits = target.masked_fill(doubtful, 0), logits.masked_fill(doubtful, SURE)
        loss: Tensor = self._loss(logits, target)
        return loss

    def on_validation_epoch_start(self) -> None:
        self._at_0_5, self._histogram = ZERO_COUNTS, ProbabilityHistogram()

    def validation_step(self, batch: Batch, _: int) -> None:
        logits = self.network(normalised(batch[0], self._normalisation)).float()
        target = batch[1].cpu().numpy()
        counted = target != IGNORED
        self._at_0_5 += Counts.of((logits > 0).cpu().numpy()[counted], target[counted])
        probability_u8 = probability(logits, self._prior).cpu().numpy()
        self._histogram.add(probability_u8[counted], target[counted])

    def on_validation_epoch_end(self) -> None:
        counted = torch.from_numpy(
            np.concatenate(
                [astuple(self._at_0_5), self._histogram.particle, self._histogram.background]
            )
        ).to(self.device)
        counted = self.trainer.strategy.reduce(counted, reduce_op="sum")
        at_0_5, particle, background = np.split(counted.cpu().numpy(), [4, 4 + 256])
        self.validation = Validation(
            Counts(*at_0_5.tolist()), ProbabilityHistogram(particle, background)
        )
        self.log_dict(
            {
                "rw_f1": self.validation.score,
                "rw_f1_at_0.5": self.validation.at_0_5.weighted_f1(),
                "recall_at_0.5": self.validation.at_0_5.recall(),
            },
            prog_bar=True,
        )

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.Adam(
            self.network.parameters(), self._recipe.learning_rate, BETAS, EPSILON
        )
        schedule: torch.optim.lr_scheduler.LRScheduler
        if self._recipe.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._steps)
        else:
            schedule = torch.optim.lr_scheduler.StepLR(optimiser, DECAY_STEPS, DECAY)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
