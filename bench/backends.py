"""The backends of this machine, and why the others are unavailable."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime
import torch

from bench.networks import BenchNetwork
from bench.torch_engine import TorchEngine
from edge.engines.engine import Engine
from edge.engines.onnx import PROVIDERS, OnnxEngine
from edge.engines.openvino import OpenVinoEngine
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, sha256, sidecar_path
from edge.engines.tensorrt import TensorRtEngine
from edge.engines.variant import DISPLAY_NAMES, VARIANTS, TensorRtVariant, open_variant
from edge.errors import EdgeError
from edge.gpu import find_gpu
from export.build import build_engine
from export.graph import PRECISIONS
from train.checkpoint import save


@dataclass(frozen=True)
class Backend:
    """A runtime for networks.

    Attributes:
        kind: of file that it runs.
        precisions: of `PRECISIONS`, those that it has.
        opener: for a precision, what opens an engine at a path; it can be pickled.
        variant: TensorRT that builds its engines; None for others.
    """

    name: str
    kind: Literal["pt", "onnx", "trt"]
    precisions: Sequence[str]
    opener: Callable[[str], Callable[[Path], Engine]]
    variant: TensorRtVariant | None = None

    def runs(self, engine: Engine) -> bool:
        """Whether this runs `engine`: ONNX Runtime falls back to another silently."""
        return self.kind != "onnx" or self.name.rpartition(" ")[2] in engine.device

    def write(self, network: BenchNetwork, precision: str, profile: Profile, folder: Path) -> Path:
        """What an `opener` takes, in `folder`; `profile` is for a .trt, the others take any tiles.

        Raises:
            EdgeError: TensorRT refuses the graph.
        """
        path = folder / f"{network.info.model}.{precision}.{self.kind}"
        if self.variant:
            write_engine(network, precision, self.variant, profile, path)
        elif self.kind == "pt":
            save(network.checkpoint, path)
        else:
            path.write_bytes(network.graphs[precision].SerializeToString())
        return path


def write_engine(
    network: BenchNetwork, precision: str, variant: TensorRtVariant, profile: Profile, path: Path
) -> float:
    """Build the engine of a network for the GPU that is here, with its sidecar; seconds it took.

    Raises:
        EdgeError: TensorRT refuses the graph.
    """
    graph = network.graphs[precision]
    built = build_engine(graph, variant, profile)
    path.write_bytes(built.engine)
    Sidecar(
        info=network.info,
        precision=precision,
        engine_sha256=sha256(path),
        onnx_sha256=hashlib.sha256(graph.SerializeToString()).hexdigest(),
        checkpoint_sha256=None,
        profile=profile,
        variant=variant.name,
        version=variant.version,
        device=built.device,
        compute_capabilities=built.compute_capabilities,
        verification={},
    ).write(sidecar_path(path))
    return built.seconds


def find_backends() -> tuple[list[Backend], dict[str, str]]:
    """The backends that run here, and the reason by the name of each that does not."""
    present: list[Backend] = []
    unavailable: dict[str, str] = {}
    on_gpu = ("fp32", "fp16") if torch.cuda.is_available() else ("fp32",)
    for name, compiled in (("torch eager", False), ("torch compiled", True)):
        if compiled and (reason := _cannot_compile()):
            unavailable[name] = reason
            continue
        opener = functools.partial(_torch, compiled)
        present.append(Backend(name, "pt", on_gpu, opener))
    for provider in reversed(PROVIDERS):
        name = f"ONNX Runtime {provider.removesuffix('ExecutionProvider')}"
        if provider in onnxruntime.get_available_providers():
            opener = functools.partial(_onnx, provider)
            present.append(Backend(name, "onnx", PRECISIONS, opener))
        else:
            unavailable[name] = f"this ONNX Runtime has no {provider}"
    if importlib.util.find_spec("openvino"):
        present.append(Backend("OpenVINO", "onnx", ("fp32", "int8"), _openvino))
    else:
        unavailable["OpenVINO"] = "it is not installed: pip install '.[openvino]'"
    for key in VARIANTS:
        try:
            variant = open_variant(key)
        except EdgeError as error:
            unavailable[DISPLAY_NAMES[key]] = str(error)
            continue
        if find_gpu() is None:
            unavailable[DISPLAY_NAMES[key]] = "there is no GPU here (or no driver for it)"
            continue
        present.append(
            Backend(DISPLAY_NAMES[key], "trt", PRECISIONS, lambda _: TensorRtEngine, variant)
        )
    return present, unavailable


def _torch(compiled: bool, precision: str) -> Callable[[Path], Engine]:
    return functools.partial(TorchEngine, compiled=compiled, precision=precision)


def _onnx(provider: str, _: str) -> Callable[[Path], Engine]:
    return functools.partial(OnnxEngine, providers=(provider,))


def _openvino(precision: str) -> Callable[[Path], Engine]:
    return functools.partial(OpenVinoEngine, precision=precision)


def _cannot_compile() -> str:
    """Why torch cannot compile here, such as for want of a C++ compiler; empty where it can."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(torch.relu)(torch.zeros(8, device=device))
    except Exception as error:  # of whatever its back end raises
        return f"torch.compile fails ({str(error).partition(chr(10))[0]})"
    return ""
