"""Networks with random weights, traced once for all tests."""

from collections.abc import Callable
from functools import cache

import onnx
import pytest
import torch

from edge.engines.engine import EngineInfo
from export.trace import to_onnx
from tests.specs import NETWORKS
from train.checkpoint import Checkpoint, Normalisation
from train.models.registry import build


@pytest.fixture(scope="session")
def traced() -> Callable[[str], tuple[onnx.ModelProto, EngineInfo, Checkpoint]]:
    """The float32 graph of a network of `NETWORKS`."""

    @cache
    def trace(key: str) -> tuple[onnx.ModelProto, EngineInfo, Checkpoint]:
        torch.manual_seed(0)
        normalisation = Normalisation((140.0, 120.0, 100.0), (30.0, 31.0, 32.0))
        spec = NETWORKS[key]
        checkpoint = Checkpoint(spec, normalisation, 0.5, 0.5, {}, build(spec).state_dict())
        return *to_onnx(checkpoint), checkpoint

    return trace
