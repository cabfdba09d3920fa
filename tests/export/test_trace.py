"""From a checkpoint to its graph."""

import numpy as np
import pytest

from edge.engines import open_engine, shipped
from export.trace import EngineGraph
from train.checkpoint import open_checkpoint
from train.data.synth import scene


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_run_in_torch(name: str) -> None:
    checkpoint = open_checkpoint(name)
    assert 0 < checkpoint.prior <= 0.5
    tiles = scene(np.random.default_rng(29), 160, 200, particles=14).image[None]
    found = EngineGraph(checkpoint).eval().run(tiles).astype(np.int16)
    assert found.max() > 128
    assert np.abs(found - open_engine(name).run(tiles)).max() <= 1
