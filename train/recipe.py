"""How a network is trained: the paper's way (Section 4), and ours.

`paper` is the protocol to the letter. What `strong` changes was chosen by ablation on real photos;
docs/networks.md has the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

# Learning rate of fine-tuning over that of training.
FINE_TUNING = 0.3


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        loss: weighted cross entropy (Eqs. 25-29), alone or with an overlap loss of the whole
            batch, or focal loss with one.
        foreground: fraction of the crops that are drawn around a particle, moved by a random
            jitter; 0 takes the paper's grid.
        schedule: learning rate times 0.96 every 800 steps, or a half cosine down to zero.
        norm: batch normalisation after each convolution, fused into it in every checkpoint.
        augment: the shifts, rotations and flips of Section 4.1.
        learning_rate: of Adam, at the first step.
    """

    key: str
    loss: Literal["weighted_bce", "weighted_bce_dice", "focal_dice"]
    foreground: float
    schedule: Literal["step", "cosine"]
    norm: bool
    augment: bool
    learning_rate: float

    def fine_tuning(self) -> Recipe:
        """The same from trained weights on: at a lower rate, and without normalisation layers,
        which are fused into every checkpoint."""
        return replace(self, norm=False, learning_rate=FINE_TUNING * self.learning_rate)


RECIPES = {
    recipe.key: recipe
    for recipe in (
        Recipe(
            "paper", loss="weighted_bce", foreground=0, schedule="step", norm=False, augment=True,
            learning_rate=1e-3,
        ),
        Recipe(
            "strong", loss="weighted_bce_dice", foreground=0.5, schedule="cosine", norm=True,
            augment=True, learning_rate=1e-3,
        ),
        # For rendered crops, which are new at every step and need no augmentation.
        Recipe(
            "rendered", loss="focal_dice", foreground=0, schedule="cosine", norm=True,
            augment=False, learning_rate=2e-3,
        ),
    )
}  # fmt: skip
