"""Every network in every precision as an engine: size, build time, and difference from FP32.

Weights are the shipped ones, or else random, which changes neither size nor time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.networks import ALL_MODELS, FRAME_HW, SIDE, open_network
from bench.tables import table
from edge.engines.engine import OUTPUT
from edge.engines.variant import TensorRtVariant
from export.build import build_engine
from export.graph import ActivationHook
from export.search import fp16_emulator
from export.verify import max_abs_difference
from export.write import planned_profile
from train.data.synth import scene
from train.models.registry import MODELS


@dataclass(frozen=True)
class EngineRow:
    """One engine.

    Attributes:
        tile_hw, batch: of its profile; px, and the optimum number of tiles.
        build_s: time to build the engine for one compute capability.
        engine_mb, onnx_mb: sizes of the engine and of the graph it was built from.
        max_abs_difference: largest difference from FP32, by FP16 emulation, of 255.
    """

    model: str
    precision: str
    tile_hw: tuple[int, int]
    batch: int
    build_s: float
    engine_mb: float
    onnx_mb: float
    max_abs_difference: int


@dataclass(frozen=True)
class EnginesResult:
    """All of them, by one TensorRT."""

    builder: str
    compute_capabilities: Sequence[str]
    engines: Sequence[EngineRow]

    def describe(self) -> str:
        """A Markdown table."""
        cells = [
            (
                MODELS[row.model].title,
                row.precision,
                "x".join(map(str, row.tile_hw)),
                row.batch,
                f"{row.build_s:.1f}",
                f"{row.engine_mb:.2f}",
                f"{row.onnx_mb:.2f}",
                row.max_abs_difference,
            )
            for row in self.engines
        ]
        head = (
            "",
            "precision",
            "tile, px",
            "batch",
            "build, s",
            "engine, MB",
            "ONNX, MB",
            "max abs difference (0-255)",
        )
        capabilities = ", ".join(self.compute_capabilities)
        return f"{self.builder}, compute capability {capabilities}\n\n{table(head, cells, left=2)}"


def measure(
    variant: TensorRtVariant,
    compute_capabilities: Sequence[str],
    models: Sequence[str] = ALL_MODELS,
) -> EnginesResult:
    """Build every network of `models` in every precision, with the tiles planned for `FRAME_HW`.

    Raises:
        EdgeError: an export differs from torch, or TensorRT refuses a graph.
    """
    rows = [row for key in models for row in _rows(key, variant, compute_capabilities)]
    return EnginesResult(variant.title, compute_capabilities, rows)


def _rows(
    key: str, variant: TensorRtVariant, compute_capabilities: Sequence[str]
) -> Iterator[EngineRow]:
    network = open_network(key)
    graphs, info = network.graphs, network.info
    profile = planned_profile(FRAME_HW, info.multiple, info.halo)
    tiles = scene(np.random.default_rng(5), SIDE, SIDE, particles=5).image[None]
    expected = ActivationHook(graphs["fp32"], [OUTPUT]).run(tiles)[OUTPUT]
    for precision, graph in graphs.items():
        found = fp16_emulator(graph)(tiles) if precision != "fp32" else expected
        built = build_engine(graph, variant, profile, compute_capabilities)
        yield EngineRow(
            model=key,
            precision=precision,
            tile_hw=profile.tile_hw,
            batch=profile.batch[1],
            build_s=round(built.seconds, 2),
            engine_mb=round(len(built.engine) / 1e6, 3),
            onnx_mb=round(graph.ByteSize() / 1e6, 3),
            max_abs_difference=int(max_abs_difference(found, expected)),
        )
