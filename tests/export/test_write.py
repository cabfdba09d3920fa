"""export-trt as a user runs it."""

import importlib.util
import json
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result

import export.calibration_data
import export.trace
from edge.engines import open_engine, shipped
from edge.engines.sidecar import read_sidecar, sha256
from export.cli import export_trt
from export.graph import content_hash, precision_of
from tests.test_architecture import HIDDEN
from train.checkpoint import load

# Crops to measure on: what the tests below look at does not depend on how many there are.
FEW = 8
FEW_IN_A_PROCESS = f"import export.calibration_data; export.calibration_data.CROPS = {FEW}\n"


@pytest.fixture(scope="module", autouse=True)
def few_crops() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.calibration_data, "CROPS", FEW)
        yield


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export_trt, [str(argument) for argument in arguments])


def copy_export(exported: Path, out: Path) -> None:
    """An exported file with what lies beside it."""
    for ending in ("", ".json", ".md"):
        shutil.copy(f"{exported}{ending}", f"{out}{ending}")


@pytest.fixture(scope="module")
def source(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("export") / "model.pt"
    shutil.copy(checkpoint_path, copy)
    return copy


@pytest.fixture(scope="module")
def exported(source: Path) -> Path:
    """The float32 ONNX file as a user gets it: from the command."""
    out = source.with_suffix(".onnx")
    result = run(source, "--precision", "fp32", "--out", out)
    assert result.exit_code == 0, result.output
    assert "torch, fp32" in result.output
    return out


@pytest.fixture(scope="module")
def engine(source: Path) -> Path:
    """An FP16 engine of the same checkpoint for RTX cards."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    result = run(source, "--target", "rtx", "--frame", "300x200", "--compute-capability", "8.6")
    assert result.exit_code == 0, result.output
    assert "fp16, FP16 emulation" in result.output
    return source.with_suffix(".trt")


def test_the_contract(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (image,), (probability,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[3]) == ("image", "tensor(uint8)", 3)
    assert (probability.name, probability.type) == ("probability", "tensor(uint8)")
    assert probability.shape[1] == 1
    # Batch, height and width are dynamic.
    assert all(isinstance(size, str) for size in image.shape[:3])


def test_a_second_export_writes_the_same_bytes(
    source: Path, exported: Path, tmp_path: Path
) -> None:
    again = tmp_path / exported.name
    result = run(source, "--precision", "fp32", "--out", again)
    assert result.exit_code == 0, result.output
    assert sha256(again) == sha256(exported)


def test_uint8_is_cast_before_it_is_transposed(exported: Path) -> None:
    graph = onnx.load(exported).graph
    readers = [node.op_type for node in graph.node if "image" in node.input]
    assert readers == ["Cast"]


def test_metadata_says_what_the_runtime_must_know(exported: Path, checkpoint_path: Path) -> None:
    info, model = open_engine(str(exported)).info, onnx.load(exported)
    checkpoint = load(checkpoint_path)
    assert (info.model, info.halo, info.multiple) == ("quarter_mrunet", 15, 2)
    assert (info.mean, info.std) == (checkpoint.normalisation.mean, checkpoint.normalisation.std)
    assert (info.threshold, info.threshold_u8, info.min_diameter_px) == (0.5, 128, 1)
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
    card = exported.with_name(f"{exported.name}.md").read_text(encoding="utf-8")
    assert "Quarter MultiResUNet" in card
    assert "44,571 parameters" in card
    assert re.search(r"\| torch, fp32 \| [01] \| 1.0000 \|", card)
    assert "| the best there | 0.2500 |" in card


def test_the_sidecar_belongs_to_the_engine(engine: Path, source: Path) -> None:
    sidecar = read_sidecar(engine)
    assert (sidecar.precision, sidecar.variant) == ("fp16", "rtx")
    assert sidecar.compute_capabilities == ("8.6",)
    assert sidecar.engine_sha256 == sha256(engine)
    assert sidecar.checkpoint_sha256 == sha256(source)
    assert sidecar.info.halo == 15
    assert sidecar.profile is not None
    assert sidecar.profile.tile_hw == (300, 200)
    assert sidecar.profile.batch == (1, 1, 1)
    compared = [found["name"] for found in sidecar.verification["comparisons"]]
    assert len(compared) == 3
    assert sidecar.verification["label_source"] == "rendered scenes"


def test_the_engine_file_is_a_plan_and_nothing_else(engine: Path) -> None:
    """TensorRT-RTX reads it; without a GPU it gets as far as asking for a driver."""
    import tensorrt_rtx

    runtime = tensorrt_rtx.Runtime(tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR))
    plan = engine.read_bytes()
    malformed = int(tensorrt_rtx.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
    _, reasons = runtime.get_engine_validity(plan)
    assert not reasons & malformed
    _, reasons = runtime.get_engine_validity(b"{" + plan)
    assert reasons & malformed


def test_what_inspect_says(engine: Path, exported: Path) -> None:
    of_plan, of_graph = run("inspect", engine), run("inspect", exported)
    assert of_plan.exit_code == of_graph.exit_code == 0, of_plan.output + of_graph.output
    for words in ("quarter_mrunet", "fp16", "300x200 px", "compute capability 8.6", "runs here"):
        assert words in of_plan.output
    assert re.search(r"belongs to this file; largest drop of r.w. F1: [+-]0.00", of_plan.output)
    for words in ("fp32", "24 Conv", "any multiple of 2 px", "yes, on OpenVINO"):
        assert words in of_graph.output


def test_an_onnx_becomes_an_engine_without_torch(tmp_path: Path) -> None:
    out = tmp_path / "half.onnx"
    argv = ["export-trt", str(shipped()["quarter_mrunet"]), "--out", str(out)]
    code = HIDDEN.format(
        package="torch", module="export.cli", function="export_trt", commands=[argv]
    )
    code = code.replace("codes = ", f"{FEW_IN_A_PROCESS}codes = ", 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert precision_of(onnx.load(out)) == "fp16"
    sidecar = read_sidecar(out)
    assert (sidecar.profile, sidecar.checkpoint_sha256) == (None, None)
    # The network of the shipped model is named, though its graph is another.
    assert sidecar.info == open_engine("quarter_mrunet").info
    again = run(out, "--precision", "int8", "--out", tmp_path / "int8.onnx")
    assert again.exit_code == 2
    assert "is fp16 already and cannot become int8" in again.output


def test_a_shipped_model_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    monkeypatch.chdir(tmp_path)
    shipped_card = shipped()["quarter_mrunet"].with_suffix(".md")
    before = {path.name: path.stat().st_mtime_ns for path in shipped_card.parent.iterdir()}
    result = run("quarter_mrunet", "--target", "rtx", "--frame", "64x64")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "quarter_mrunet.trt", "quarter_mrunet.trt.json", "quarter_mrunet.trt.md",
    ]  # fmt: skip
    assert {p.name: p.stat().st_mtime_ns for p in shipped_card.parent.iterdir()} == before


def test_another_files_card_stays(exported: Path, tmp_path: Path) -> None:
    """A copy of a shipped model, with its card, exported to .onnx and beside itself."""
    source, card = tmp_path / "model.onnx", tmp_path / "model.md"
    shutil.copy(exported, source)
    card.write_text("the card of model.onnx", encoding="utf-8")
    (tmp_path / "other.md").write_text("the card of other.trt", encoding="utf-8")
    result = run(source, "--out", tmp_path / "other.onnx")
    assert result.exit_code == 0, result.output
    assert card.read_text(encoding="utf-8") == "the card of model.onnx"
    assert (tmp_path / "other.md").read_text(encoding="utf-8") == "the card of other.trt"
    assert "fp16" in (tmp_path / "other.onnx.md").read_text(encoding="utf-8")


def test_nothing_of_another_file_is_overwritten(exported: Path, tmp_path: Path) -> None:
    def refused(out: Path, words: str) -> None:
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        result = run("quarter_mrunet", "--precision", "fp32", "--out", out)
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    out = tmp_path / "x.onnx"
    for ending in ("", ".json", ".md"):
        (mine := tmp_path / f"x.onnx{ending}").write_text("mine")
        refused(out, f"x.onnx{ending}: is there already and not from export-trt")
        mine.unlink()
    copy_export(exported, out)
    out.write_bytes(shipped()["half_mrunet"].read_bytes())
    refused(out, "x.onnx: is there already and not from export-trt")
    # One of the same network is; so is what lies beside one that is gone.
    copy_export(exported, out)
    for _ in range(2):
        result = run("quarter_mrunet", "--precision", "fp32", "--out", out)
        assert result.exit_code == 0, result.output
        assert read_sidecar(out).info == open_engine("quarter_mrunet").info
        out.unlink()
    copy_export(exported, out)
    sidecar = json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))
    sidecar["info"]["model"] = "unet"
    Path(f"{out}.json").write_text(json.dumps(sidecar), encoding="utf-8")
    refused(out, "of unet, not quarter_mrunet")


def test_the_shipped_models_stay_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = shipped()["quarter_mrunet"]
    before = {path.name: path.stat().st_mtime_ns for path in weights.parent.iterdir()}
    refused = run("quarter_mrunet", "--out", weights.with_name("mine.onnx"))
    assert refused.exit_code == 2
    assert "would lie among the shipped models" in refused.output
    if importlib.util.find_spec("tensorrt_rtx"):
        # By its path, too, it is written to the current folder.
        result = run(weights, "--target", "rtx", "--frame", "64x64")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "quarter_mrunet.trt").is_file()
    assert {path.name: path.stat().st_mtime_ns for path in weights.parent.iterdir()} == before


def test_bf16_is_verified_in_openvino(tmp_path: Path) -> None:
    out = tmp_path / "bf16.onnx"
    result = run("quarter_mrunet", "--precision", "bf16", "--out", out)
    if "does not compute in bfloat16" in result.output:
        pytest.skip("this CPU has no bfloat16")
    assert result.exit_code == 0, result.output
    assert re.search(r"\| bf16, OpenVINO [\d.]+, CPU, bf16 \|", result.output)
    assert re.search(r"fp32 in ONNX Runtime \d+ ms, bf16 in OpenVINO \d+ ms", result.output)
    assert precision_of(onnx.load(out)) == "fp32"
    assert read_sidecar(out).precision == "bf16"
    # The engine file asks for it.
    assert open_engine(str(out)).device.endswith("CPU, bf16")
    assert run("inspect", out).output.count("bf16") > 0
    for_gpu = run("quarter_mrunet", "--precision", "bf16", "--out", tmp_path / "x.trt")
    assert for_gpu.exit_code == 2
    assert "give --out X.onnx" in for_gpu.output


def test_inspect_takes_names_and_refuses_other_files(source: Path) -> None:
    named = run("inspect", "quarter_mrunet")
    assert named.exit_code == 0, named.output
    assert "network:      quarter_mrunet" in named.output
    for argument, words in (("absent", "nor one of half_mrunet"), (source, "no backend for .pt")):
        refused = run("inspect", argument)
        assert refused.exit_code == 2
        assert words in refused.output


def test_int8_is_calibrated_on_the_users_photos(rendered_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    (tmp_path / "photos").mkdir()
    for path in (rendered_data / "images").iterdir():
        shutil.copy(path, tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    result = run(
        shipped()["quarter_mrunet"],
        *("--precision", "int8", "--calibration", tmp_path / "photos", "--out", out),
        *("--triton", tmp_path / "triton"),
    )
    assert result.exit_code == 0, result.output
    assert "calibration: " in result.output
    assert "of the convolutions' FLOPs" in result.output
    assert "broken.jpg: not a readable image" in result.output
    assert re.search(r"int8 in ONNX Runtime \d+ ms, int8 in OpenVINO \d+ ms", result.output)
    sidecar = read_sidecar(out)
    in_openvino = sidecar.verification["comparisons"][-1]
    assert in_openvino["name"].startswith("int8, OpenVINO")
    # Unless it lost too much there, it is what edge-run runs it in.
    if platform.machine() == "x86_64" and in_openvino["drop"] <= 0.01:
        assert open_engine(str(out)).device.endswith("CPU, int8")
    assert sidecar.verification["int8"]["int8_fraction"] > 0.5
    assert "rendered on photos" in sidecar.verification["label_source"]
    served = tmp_path / "triton" / "int8" / "1" / "model.onnx"
    assert sha256(served) == sidecar.engine_sha256


def test_a_graph_that_differs_from_torch_is_not_kept(
    source: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = onnx.load(exported)
    for initializer in wrong.graph.initializer:
        if initializer.name.endswith("head.bias"):
            initializer.raw_data = np.float32([3.0]).tobytes()
    out = tmp_path / "model.onnx"
    copy_export(exported, out)
    earlier = {path: path.read_bytes() for path in tmp_path.iterdir()}
    info = open_engine(str(exported)).info
    monkeypatch.setattr(export.trace, "to_onnx", lambda _: (wrong, info))
    result = run(source, "--precision", "fp32", "--out", out)
    assert result.exit_code == 1
    assert "differs from torch by" in result.output
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_an_engine_that_costs_too_much_is_not_kept(tmp_path: Path, rendered_data: Path) -> None:
    """Weights beyond float16: the FP16 graph is another network."""
    model = onnx.load(shipped()["quarter_mrunet"])
    for weight in model.graph.initializer:
        factor = {"network.stem.weight": 1e5, "network.stem.bias": 1e5}.get(weight.name, 1)
        if weight.name in ("network.encoder.0.convs.0.weight", "network.encoder.0.shortcut.weight"):
            factor = 1e-5
        if factor != 1:
            values = onnx.numpy_helper.to_array(weight) * np.float32(factor)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "loud.onnx")
    out = tmp_path / "engine.onnx"
    result = run(tmp_path / "loud.onnx", "--precision", "fp16", "--out", out)
    assert result.exit_code == 1
    assert "fp16 costs" in result.output
    assert "export with --precision fp32, or allow more with --max-drop" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["loud.onnx"]


class RunsCode:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("code-has-run",)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent.pt"], 2, "no such file"),
        (["absent.onnx"], 2, "no such file"),
        (["absent"], 2, "or one of half_mrunet"),
        (["random.pt"], 1, "not a checkpoint"),
        (["random.onnx"], 1, "not an ONNX model"),
        (["foreign.onnx"], 1, "not an engine of this toolkit"),
        (["evil.pt"], 1, "not a checkpoint that is safe to load"),
        (["lacks.pt"], 1, "head.bias should be 1, is missing"),
        (["model.pt", "--out", "nowhere/x.onnx"], 2, "no such folder"),
        (["model.pt", "--out", "x.engine"], 2, "must end in .trt or .onnx"),
        (["model.onnx"], 2, "is the source itself"),
        (["model.pt", "--tile", "64x64"], 2, "leave out --tile"),
        (["model.pt", "--precision", "int4"], 2, "'int4' is not one of"),
        (["model.pt", "--precision", "int8"], 2, "give --calibration FOLDER"),
        (["model.pt", "--calibration", "absent"], 1, "absent: no such folder"),
        (["model.pt", "--calibration", "empty"], 1, "holds 0 readable photo(s)"),
        (["model.pt", "--calibration", "broken"], 1, "a.png: not a readable image"),
    ],
)
def test_bad_input(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("random.pt").write_bytes(b"\x00\x01 no checkpoint" * 50)
    Path("random.onnx").write_bytes(b"\x00\x01 no graph" * 50)
    Path("evil.pt").write_bytes(pickle.dumps(RunsCode()))
    shutil.copy(exported, "model.onnx")
    shutil.copy(exported.with_suffix(".pt"), "model.pt")
    foreign = onnx.load("model.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, "foreign.onnx")
    content = torch.load("model.pt", weights_only=True)
    del content["weights"]["head.bias"]
    torch.save(content, "lacks.pt")
    for name in ("empty", "broken"):
        Path(name).mkdir()
    for name in ("a.png", "b.jpg"):
        Path("broken", name).write_bytes(b"no image")
    there = sorted(path.name for path in tmp_path.iterdir())
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "model.onnx" if code == 2 else "x.onnx"]
        if "--tile" in arguments or "--precision" in arguments:
            arguments[-1] = "x.onnx"
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert result.output.count("Error: ") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tile", "63x64"], "63 px is not a multiple of 2"),
        (["--tile", "16x16"], "leaves nothing of a 16 px tile"),
        (["--tile", "big"], "'big' is not HEIGHTxWIDTH"),
        (["--frame", "0x100"], "holds no pixels"),
        (["--batch", "4,2,1"], "no smaller than the one before"),
        (["--batch", "none"], "neither N nor MIN,OPT,MAX"),
        (["--compute-capability", "8.7"], "8.7: TensorRT-RTX"),
        (["--triton", "repository"], "not TensorRT-RTX"),
    ],
)
def test_shapes_that_cannot_be(arguments: list[str], words: str, source: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    there = sorted(path.name for path in source.parent.iterdir())
    result = run(source, "--target", "rtx", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert sorted(path.name for path in source.parent.iterdir()) == there


def test_native_without_tensorrt_names_the_ways_out(source: Path) -> None:
    from edge.gpu import find_gpu

    if find_gpu():
        pytest.skip("this machine has a GPU")
    result = run(source)
    assert result.exit_code == 1
    for words in ("TensorRT", "--target rtx", "--out X.onnx"):
        assert words in result.output


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.argv = {argv!r}
from export.cli import export_trt
export_trt()
"""


def test_a_full_disk_leaves_earlier_files_whole(tmp_path: Path, exported: Path) -> None:
    copy_export(exported, tmp_path / "engine.onnx")
    earlier = {path: path.read_bytes() for path in tmp_path.iterdir()}
    argv = ["export-trt", str(exported), "--out", str(tmp_path / "engine.onnx")]
    code = FEW_IN_A_PROCESS + FULL_DISK.format(argv=argv)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "engine.onnx: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_the_sidecar_is_json_with_a_schema(exported: Path) -> None:
    content = json.loads(Path(f"{exported}.json").read_text(encoding="utf-8"))
    assert content["schema"] == 2
    assert content["info"]["model"] == "quarter_mrunet"
