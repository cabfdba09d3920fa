"""Backends by name, and what `auto` makes of an .onnx."""

import contextlib
import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from bench.machine import memory_mb
from edge.cli import edge_run
from edge.engines import Backend, open_engine, shipped
from edge.engines.openvino import OpenVinoEngine
from edge.engines.selection import OPENVINO_IS_FASTER, Installed, Selection, select
from edge.engines.sidecar import Sidecar, sha256, sidecar_path
from edge.errors import BadArgumentError, EdgeError
from export.fp16 import fp16
from export.int8 import Placement, activations, int8
from tests.signals import interrupt_arrives

pytest.importorskip("openvino", reason="needs the extra 'openvino'")

ALL = Installed(onnxruntime=True, openvino=True, onnxruntime_on_gpu=lambda: False)
WITH_GPU = replace(ALL, onnxruntime_on_gpu=lambda: True)
WITHOUT_OPENVINO = replace(ALL, openvino=False)
ONLY_OPENVINO = replace(ALL, onnxruntime=False)


@pytest.fixture(scope="module")
def tiles() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    """A copy of a shipped network in FP32."""
    return Path(shutil.copy(shipped()["quarter_mrunet"], tmp_path / "network.onnx"))


@pytest.fixture
def int8_file(tmp_path: Path) -> Path:
    """The same network in INT8, with scales that nothing was calibrated for."""
    model = onnx.load(shipped()["quarter_mrunet"])
    quantised = int8(model, dict.fromkeys(activations(model), 8.0), Placement())
    onnx.helper.set_model_props(quantised, {e.key: e.value for e in model.metadata_props})
    path = tmp_path / "int8.onnx"
    onnx.save(quantised, path)
    return path


def describe(path: Path, precision: str, drops: dict[str, float]) -> None:
    """Write the sidecar of an .onnx, as if it had been compared in the runtimes of `drops`."""
    comparisons = [{"name": f"{precision}, {name}", "drop": drop} for name, drop in drops.items()]
    Sidecar(
        info=open_engine("quarter_mrunet").info,
        precision=precision,
        engine_sha256=sha256(path),
        onnx_sha256=sha256(path),
        checkpoint_sha256=None,
        profile=None,
        variant="onnx",
        version="1.32.0",
        device="CPU",
        compute_capabilities=(),
        verification={"max_drop": 0.01, "comparisons": comparisons},
    ).write(sidecar_path(path))


def selected(
    path: Path,
    installed: Installed = ALL,
    backend: str = "auto",
    device: str = "auto",
    precision: str | None = None,
) -> Selection:
    return select(path, backend=backend, device=device, precision=precision, installed=installed)


@pytest.mark.parametrize("name", shipped())
def test_openvino_gives_the_map_of_onnx_runtime(name: str, tiles: NDArray[np.uint8]) -> None:
    with (
        contextlib.closing(open_engine(name, backend="openvino")) as ours,
        contextlib.closing(open_engine(name, backend="onnxruntime", device="cpu")) as reference,
    ):
        assert ours.info == reference.info
        assert (ours.device.split()[0], reference.device.split()[0]) == ("OpenVINO", "ONNX")
        # One engine for tiles of any size, and what it returned stays.
        for size in (slice(None), slice(0, 32)):
            piece = np.ascontiguousarray(tiles[:, :, size])
            found = ours.run(piece)
            ours.run(255 - piece)
            expected = reference.run(piece)
            assert expected.std() > 0
            assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("backend", ["auto", "openvino", "onnxruntime"])
def test_every_backend_runs_an_fp16_file(
    backend: Backend, engine_file: Path, tiles: NDArray[np.uint8]
) -> None:
    with contextlib.closing(open_engine(str(engine_file))) as engine:
        expected = engine.run(tiles)
    model = fp16(onnx.load(engine_file))
    onnx.save(model, engine_file)
    describe(engine_file, "fp16", {})
    with contextlib.closing(open_engine(str(engine_file), backend=backend)) as engine:
        assert np.abs(engine.run(tiles).astype(int) - expected).max() <= 1


def test_what_was_compiled_is_kept_unless_it_is_damaged(
    engine_file: Path,
    tiles: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(precision: str = "fp32") -> NDArray[np.uint8]:
        with contextlib.closing(OpenVinoEngine(engine_file, precision)) as engine:
            return engine.run(tiles)

    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    expected = found()
    (kept,) = folder.glob("*/*.openvino")
    first = kept.stat().st_mtime_ns, kept.read_bytes()
    assert np.array_equal(found(), expected)
    assert (kept.stat().st_mtime_ns, kept.read_bytes()) == first
    for damaged in (first[1][:-9], first[1][:-9] + bytes(9), b"", b"junk" * 99):
        kept.write_bytes(damaged)
        assert np.array_equal(found(), expected)
        assert kept.read_bytes()[32:] != damaged[32:]
    # Another network at the same path is another entry.
    shutil.copy(shipped()["half_mrunet_lite"], engine_file)
    assert not np.array_equal(found(), expected)
    assert len(list(folder.glob("*/*.openvino"))) == 2


def test_a_cache_that_cannot_be_written_ends_nothing(
    engine_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    OpenVinoEngine(engine_file).close()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\x00\x01 no graph" * 50, "OpenVINO cannot load it"), (b"", "is not an engine of this")],
)
def test_openvino_refuses_what_is_no_engine(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(EdgeError, match=words):
        open_engine(str(path), backend="openvino")


def test_a_failing_tile_is_one_sentence() -> None:
    with (
        contextlib.closing(open_engine("quarter_mrunet", backend="openvino")) as engine,
        pytest.raises(EdgeError, match=r"failed in OpenVINO: [^\n]*shape"),
    ):
        engine.run(np.zeros((1, 33, 40, 3), np.uint8))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_share_an_engine(backend: str, tiles: NDArray[np.uint8]) -> None:
    with (
        contextlib.closing(open_engine("quarter_mrunet", backend=backend)) as engine,
        ThreadPoolExecutor(4) as threads,
    ):
        pieces = [np.ascontiguousarray(np.roll(tiles, shift, axis=2)) for shift in range(0, 32, 4)]
        alone = [engine.run(piece) for piece in pieces]
        for expected, found in zip(alone * 3, threads.map(engine.run, pieces * 3), strict=True):
            assert np.array_equal(found, expected)


def test_signals_arrive_after_engines_were_closed(tiles: NDArray[np.uint8]) -> None:
    engines = [open_engine(name, backend="openvino") for name in ("quarter_mrunet", "half_mrunet")]
    for engine in engines:
        engine.run(tiles)
        engine.close()
    assert interrupt_arrives()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sizes_seen() -> None:
    rng = np.random.default_rng(0)
    memory = []
    with contextlib.closing(open_engine("quarter_mrunet", backend="openvino")) as engine:
        for _ in range(200):
            height, width = 2 * rng.integers(50, 150, 2)
            engine.run(np.zeros((1, height, width, 3), np.uint8))
            memory.append(memory_mb("self", "VmRSS"))
    assert memory[-1] - memory[100] < 60


def test_fp32_is_never_made_less_precise_unasked(engine_file: Path) -> None:
    fastest = "openvino" if OPENVINO_IS_FASTER else "onnxruntime"
    assert selected(engine_file) == Selection(fastest, "fp32")
    assert selected(engine_file, WITHOUT_OPENVINO) == Selection("onnxruntime", "fp32")
    assert selected(engine_file, ONLY_OPENVINO) == Selection("openvino", "fp32")
    assert selected(engine_file, WITH_GPU) == Selection("onnxruntime", "fp32")
    assert selected(engine_file, WITH_GPU, device="cpu") == Selection(fastest, "fp32")
    for name in ("onnxruntime", "openvino"):
        assert selected(engine_file, WITH_GPU, backend=name) == Selection(name, "fp32")


def test_bf16_where_it_is_asked_for(engine_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert selected(engine_file, precision="bf16") == Selection("openvino", "bf16")
    assert "was not verified; export-trt --precision bf16 does" in caplog.text
    caplog.clear()
    describe(engine_file, "bf16", {"OpenVINO": 0.001})
    assert selected(engine_file) == Selection("openvino", "bf16")
    assert selected(engine_file, precision="bf16") == Selection("openvino", "bf16")
    assert selected(engine_file, precision="fp32").precision == "fp32"
    assert selected(engine_file, backend="onnxruntime") == Selection("onnxruntime", "fp32")
    assert not caplog.records
    # A sidecar of another file asks for nothing.
    with engine_file.open("ab") as file:
        file.write(b"\x00")
    assert selected(engine_file).precision == "fp32"


@pytest.mark.skipif(not OPENVINO_IS_FASTER, reason="auto prefers ONNX Runtime here")
def test_int8_in_openvino_where_it_was_verified(
    int8_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert selected(int8_file) == Selection("onnxruntime", "int8")
    describe(int8_file, "int8", {"ONNX Runtime": 0.002})
    assert selected(int8_file) == Selection("onnxruntime", "int8")
    describe(int8_file, "int8", {"ONNX Runtime": 0.002, "OpenVINO": 0.02})
    assert selected(int8_file) == Selection("onnxruntime", "int8")
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == 3 * [
        "OpenVINO, much faster on this CPU, is not used, as the file was not verified in it; "
        "export it again where OpenVINO is installed, or give --backend openvino"
    ]
    caplog.clear()
    describe(int8_file, "int8", {"ONNX Runtime": 0.02, "OpenVINO": 0.002})
    assert selected(int8_file) == Selection("openvino", "int8")
    assert selected(int8_file, WITHOUT_OPENVINO, backend="onnxruntime").precision == "int8"
    assert not caplog.records
    assert selected(int8_file, WITHOUT_OPENVINO) == Selection("onnxruntime", "int8")
    assert "pip install '.[openvino]'" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "tensorrt"}, "TensorRT runs a .trt; write one with export-trt"),
        ({"backend": "openvino", "device": "gpu"}, "leave out --device gpu"),
        ({"precision": "int8"}, "is fp32, not int8; write an .onnx in int8 with export-trt"),
        ({"precision": "bf16", "backend": "onnxruntime"}, "bf16 is computed by OpenVINO"),
        ({"precision": "bf16", "device": "gpu"}, "bf16 is computed by OpenVINO"),
    ],
)
def test_what_cannot_be(engine_file: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(BadArgumentError, match=words):
        selected(engine_file, **options)


def test_an_int8_file_runs_in_int8_everywhere(int8_file: Path, tiles: NDArray[np.uint8]) -> None:
    with pytest.raises(BadArgumentError, match="is int8, not fp32"):
        open_engine(str(int8_file), precision="fp32")
    for backend in ("onnxruntime", "openvino"):
        with contextlib.closing(
            open_engine(str(int8_file), backend=backend, device="cpu", precision="int8")
        ) as engine:
            found = engine.run(tiles)
            assert found.std() > 0
    assert engine.device.endswith("CPU, int8")


def test_a_run_says_what_computes(tmp_path: Path, photo: Path) -> None:
    def run(*options: str) -> tuple[str, str]:
        out = tmp_path / f"out{len(options)}"
        arguments = ["--source", str(photo), "--out", str(out), "--verbose", *options]
        result = CliRunner().invoke(edge_run, [*arguments, "--engine", "quarter_mrunet"])
        assert result.exit_code == 0, result.output
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        assert f"quarter_mrunet on {summary['device']}" in result.stdout
        return summary["device"], result.stderr

    device, log = run()
    assert "runs in openvino, in fp32, as the fastest that is installed" in log
    assert device.endswith("CPU, fp32")
    device, log = run("--backend", "onnxruntime", "--device", "cpu")
    assert device.startswith("ONNX Runtime")
    assert "fastest" not in log
