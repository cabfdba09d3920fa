import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

import export.write
from edge.engines import open_engine
from export.cli import export_trt
from export.graph import content_hash
from export.verify import verify
from train.checkpoint import load


@pytest.fixture(scope="module")
def exported(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine as a user gets it: from the command."""
    copy = tmp_path_factory.mktemp("export") / "model.pt"
    shutil.copy(checkpoint_path, copy)
    result = CliRunner().invoke(export_trt, [str(copy), "--format", "onnx"])
    assert result.exit_code == 0, result.output
    assert "grey level(s) from torch" in result.output
    return copy.with_suffix(".onnx")


def test_the_contract(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (image,), (probability,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[3]) == ("image", "tensor(uint8)", 3)
    assert (probability.name, probability.type) == ("probability", "tensor(uint8)")
    assert probability.shape[1] == 1
    # Batch, height and width are dynamic.
    assert all(isinstance(size, str) for size in image.shape[:3])


def test_uint8_is_cast_before_it_is_transposed(exported: Path) -> None:
    graph = onnx.load(exported).graph
    readers = [node.op_type for node in graph.node if "image" in node.input]
    assert readers == ["Cast"]


def test_metadata_says_what_the_runtime_must_know(exported: Path, checkpoint_path: Path) -> None:
    info, model = open_engine(str(exported)).info, onnx.load(exported)
    checkpoint = load(checkpoint_path)
    assert (info.model, info.halo, info.multiple) == ("quarter_mrunet", 15, 2)
    assert (info.mean, info.std) == (checkpoint.normalisation.mean, checkpoint.normalisation.std)
    assert (info.threshold, info.level) == (0.5, 128)
    assert info.training == checkpoint.training
    assert info.content_hash == content_hash(model)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    assert info.content_hash != content_hash(model)


def test_the_engine_knows_the_weights(exported: Path) -> None:
    """Different tiles, different answers: verification would be empty on a constant network."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (3, 32, 48, 3), np.uint8)
    engine = open_engine(str(exported))
    together = engine.run(tiles)
    assert together.std() > 0
    for tile, expected in zip(tiles, together, strict=True):
        assert np.array_equal(engine.run(tile[None])[0], expected)


def test_the_card_says_what_it_is(exported: Path) -> None:
    card = exported.with_suffix(".md").read_text(encoding="utf-8")
    assert "Quarter MultiResUNet" in card
    assert "44,571 parameters" in card
    assert "| 0.5 (shipped) | 0.2500 |" in card


def test_an_engine_that_differs_from_torch_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint_path: Path
) -> None:
    copy = tmp_path / "model.pt"
    shutil.copy(checkpoint_path, copy)
    wrong = onnx.load(exported)
    for initializer in wrong.graph.initializer:
        if initializer.name.endswith("head.bias"):
            initializer.raw_data = np.float32([3.0]).tobytes()
    out = tmp_path / "model.onnx"
    out.write_bytes(b"earlier")
    monkeypatch.setattr(export.write, "to_onnx", lambda _: wrong)
    result = CliRunner().invoke(export_trt, [str(copy)])
    assert result.exit_code == 1
    assert "differs from torch by" in result.output
    assert out.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["unet", "half_unet", "mrunet", "half_mrunet"])
def test_the_other_networks_export_too(key: str, tmp_path: Path) -> None:
    from train.checkpoint import Checkpoint, Normalisation, save
    from train.models.catalogue import MODELS, build

    checkpoint = Checkpoint(
        MODELS[key],
        Normalisation((120.0,) * 3, (40.0,) * 3),
        0.4,
        0.5,
        {},
        build(MODELS[key]).state_dict(),
    )
    save(checkpoint, tmp_path / "model.pt")
    result = CliRunner().invoke(export_trt, [str(tmp_path / "model.pt")])
    assert result.exit_code == 0, result.output
    assert verify(open_engine(str(tmp_path / "model.onnx")), checkpoint).max_grey_levels <= 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent.pt"], 1, "no such file"),
        (["random.pt"], 1, "not a checkpoint"),
        (["random.pt", "--out", "nowhere/x.onnx"], 2, "no such folder"),
        (["random.pt", "--out", "x.trt"], 2, "must end in .onnx"),
        (["random.pt", "--format", "tflite"], 2, "'tflite' is not 'onnx'"),
    ],
)
def test_bad_input(
    arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("random.pt").write_bytes(b"\x00\x01 no checkpoint" * 50)
    result = CliRunner().invoke(export_trt, arguments)
    assert result.exit_code == code
    assert words in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["random.pt"]
