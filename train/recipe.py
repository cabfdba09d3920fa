"""How a network is trained: the paper's way (Section 4), and ours.

`paper` is the protocol to the letter. What `strong` changes was chosen by ablation on real photos;
the README has the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.errors import ToolError


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        loss: weighted cross entropy (Eqs. 25-29), alone or with an overlap loss of the whole batch.
        foreground: share of the crops that are drawn around a particle, moved by a random jitter;
            0 takes the paper's grid.
        ema: decay a step of the moving average of the weights that is validated and kept; 0: none.
        schedule: learning rate times 0.96 every 800 steps, or a half cosine down to zero.
        norm: batch normalisation after each convolution, folded into it in every checkpoint.
    """

    key: str
    loss: Literal["weighted_bce", "weighted_bce_dice", "bce_dice", "bce_tversky"]
    foreground: float
    ema: float
    schedule: Literal["step", "cosine"]
    norm: bool


RECIPES = {
    recipe.key: recipe
    for recipe in (
        Recipe("paper", loss="weighted_bce", foreground=0, ema=0, schedule="step", norm=False),
        Recipe("strong", loss="bce_dice", foreground=0.5, ema=0.99, schedule="cosine", norm=True),
    )
}


def open_recipe(key: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ToolError: there is none.
    """
    if key not in RECIPES:
        raise ToolError(f"{key}: no such recipe; must be one of {', '.join(RECIPES)}")
    return RECIPES[key]
