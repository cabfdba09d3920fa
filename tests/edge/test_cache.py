"""What ONNX Runtime's TensorRT provider is asked to keep, on machines that may not have it."""

from pathlib import Path

import onnxruntime
import pytest

from edge.engines import shipped
from edge.engines.cache import tensorrt_provider_options
from edge.engines.onnx import PROVIDERS, OnnxEngine


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_provider_keeps_its_engines(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_session, asked = onnxruntime.InferenceSession, []

    def on_the_cpu(*arguments: object, providers: list[object]) -> object:
        asked.extend(providers)
        return open_session(*arguments, providers=PROVIDERS[-1:])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS))
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)
    OnnxEngine(shipped()["quarter_mrunet"])
    provider, options = asked[0]
    assert provider == "TensorrtExecutionProvider"
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "True"
    folder = Path(options["trt_engine_cache_path"])
    assert folder.is_dir()
    assert folder.parent == cache / "microplastic-edge"
    assert asked[1:] == list(PROVIDERS[1:])


def test_other_weights_have_another_folder(cache: Path, tmp_path: Path) -> None:
    """The provider would take the engine of the earlier ones, whose file had the same name."""
    model, folders = tmp_path / "best.onnx", set()
    for weights in (b"old", b"new"):
        model.write_bytes(weights)
        folders.add(tensorrt_provider_options(model)["trt_engine_cache_path"])
    assert len(folders) == 2


def test_a_folder_that_cannot_be_made(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file")
    model = tmp_path / "best.onnx"
    model.write_bytes(b"weights")
    assert tensorrt_provider_options(model) == {}
    assert "cannot be made" in caplog.text
