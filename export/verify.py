"""Does the engine say what torch says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edge.engines.engine import Engine
from edge.errors import ToolError
from export.graph import EngineGraph
from train.checkpoint import Checkpoint
from train.data.synth import scene

# Rounding may fall on either side; anything more is another network.
MAX_GREY_LEVELS = 1
SHAPES = ((1, 8, 12), (3, 4, 4), (1, 16, 24))


@dataclass(frozen=True)
class Verification:
    """Largest difference from torch, in grey levels of 255, over `pixels` pixels."""

    max_grey_levels: int
    pixels: int


def verify(engine: Engine, checkpoint: Checkpoint) -> Verification:
    """Compare an engine with torch on synthetic photos of several shapes.

    Raises:
        ToolError: they differ by more than one grey level somewhere.
    """
    reference = EngineGraph(checkpoint).eval()
    rng = np.random.default_rng(0)
    worst = pixels = 0
    for count, rows, columns in SHAPES:
        height, width = (n * 4 * checkpoint.spec.multiple for n in (rows, columns))
        tiles = np.stack([scene(rng, height, width, particles=20).image for _ in range(count)])
        with torch.inference_mode():
            expected = reference(torch.from_numpy(tiles)).numpy()
        difference = np.abs(engine.run(tiles).astype(np.int16) - expected)
        worst, pixels = max(worst, int(difference.max())), pixels + difference.size
    if worst > MAX_GREY_LEVELS:
        raise ToolError(
            f"the exported engine differs from torch by {worst} grey levels "
            f"(at most {MAX_GREY_LEVELS} allowed): nothing was written"
        )
    return Verification(worst, pixels)
