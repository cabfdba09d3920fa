"""An oracle in place of the network: it finds the particles of `belts.marked`, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.engines.engine import EngineInfo
from edge.engines.tiled import TiledEngine

# In place of the name of a network.
ORACLE = "oracle"


class Oracle(TiledEngine):
    """Tells from a pixel's colour alone; tiles are planned like those of the network `info`."""

    device = "oracle"
    batch = 1

    def __init__(self, info: EngineInfo) -> None:
        self.info = replace(info, model=ORACLE, threshold=0.5)

    def close(self) -> None:
        """It holds nothing."""

    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        red, green, blue = (tiles[..., channel].astype(np.int16) for channel in range(3))
        # Of the marker it is 255, of sand it is about 0, in any light; half of it is 0.5.
        magenta = np.minimum(red, blue) - green
        return np.clip(magenta, 0, 255).astype(np.uint8)[:, None]
