"""A model repository for NVIDIA Triton, to serve many cameras from one machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge.engines.engine import INPUT, OUTPUT
from edge.engines.sidecar import Sidecar
from edge.files import atomic_write

# Tiles at a time of an .onnx, which itself sets no limit.
ONNX_BATCH = 16
# How long a tile may wait for others to fill a batch.
QUEUE_DELAY_US = 1000


def write_repository(folder: Path, engine: Path, sidecar: Sidecar) -> Path:
    """Put `engine` into `folder` as the next version of its model; clients send tiles.

    Returns:
        The folder of the version.

    Raises:
        OSError: a file cannot be written; earlier versions stay.
    """
    model = folder / engine.stem
    versions = [int(p.name) for p in model.glob("*") if p.name.isdigit()]
    version = model / str(max(versions, default=0) + 1)
    version.mkdir(parents=True)
    with atomic_write(version / ("model.plan" if sidecar.profile else "model.onnx")) as temporary:
        shutil.copyfile(engine, temporary)
    with atomic_write(model / "config.pbtxt") as temporary:
        temporary.write_text(config(engine.stem, sidecar), encoding="utf-8")
    return version


def config(name: str, sidecar: Sidecar) -> str:
    """The text of a config.pbtxt (Triton's model_config.proto)."""
    if sidecar.profile:
        platform, batch = "tensorrt_plan", sidecar.profile.batch[2]
        height, width = sidecar.profile.tile_hw
    else:
        platform, batch, height, width = "onnxruntime_onnx", ONNX_BATCH, -1, -1
    return f"""name: "{name}"
platform: "{platform}"
max_batch_size: {batch}
input [
  {{ name: "{INPUT}" data_type: TYPE_UINT8 dims: [ {height}, {width}, 3 ] }}
]
output [
  {{ name: "{OUTPUT}" data_type: TYPE_UINT8 dims: [ 1, {height}, {width} ] }}
]
dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}
parameters {{ key: "halo" value: {{ string_value: "{sidecar.info.halo}" }} }}
parameters {{ key: "threshold" value: {{ string_value: "{sidecar.info.threshold}" }} }}
parameters {{ key: "min_diameter_px" value: {{ string_value: "{sidecar.info.min_diameter_px}" }} }}
"""
