"""Configurations as Triton itself reads them."""

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from edge.engines import open_engine
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar
from export.triton import config, write_repository

PLAN = Sidecar(
    info=open_engine("quarter_mrunet").info,
    precision="fp16",
    engine_sha256="",
    onnx_sha256="",
    checkpoint_sha256=None,
    profile=Profile((512, 480), (1, 4, 9)),
    variant="native",
    version="10.3",
    device="Orin",
    compute_capabilities=("8.7",),
    verification={},
)


@pytest.mark.parametrize(
    ("sidecar", "platform", "batch", "image"),
    [
        (PLAN, "tensorrt_plan", 9, [512, 480, 3]),
        (replace(PLAN, profile=None, variant="onnx"), "onnxruntime_onnx", 16, [-1, -1, 3]),
    ],
)
def test_config(sidecar: Sidecar, platform: str, batch: int, image: list[int]) -> None:
    parsed = text_format.Parse(config("half", sidecar), model_config_pb2.ModelConfig())
    assert (parsed.name, parsed.platform, parsed.max_batch_size) == ("half", platform, batch)
    (given,), (found,) = parsed.input, parsed.output
    assert (given.name, list(given.dims)) == ("image", image)
    assert (found.name, list(found.dims)) == ("probability", [1, *image[:2]])
    assert given.data_type == found.data_type == model_config_pb2.TYPE_UINT8
    assert parsed.parameters["halo"].string_value == "15"
    assert parsed.HasField("dynamic_batching")


def test_each_export_is_a_new_version(tmp_path: Path) -> None:
    engine = tmp_path / "half.trt"
    for number in (1, 2):
        engine.write_bytes(b"plan %d" % number)
        version = write_repository(tmp_path / "models", engine, PLAN)
        assert version == tmp_path / "models" / "half" / str(number)
    found = sorted(str(p.relative_to(tmp_path / "models")) for p in tmp_path.rglob("half/*"))
    assert found == ["half/1", "half/2", "half/config.pbtxt"]
    assert (tmp_path / "models" / "half" / "1" / "model.plan").read_bytes() == b"plan 1"
