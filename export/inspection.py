"""Facts about an engine file, and whether this machine can run it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from edge.engines import open_engine
from edge.engines.engine import EngineInfo
from edge.engines.sidecar import Sidecar, read_sidecar, sidecar_path
from edge.engines.tensorrt import load_engine, matching_variant
from edge.errors import EdgeError
from export.graph import conv_nodes, int8_fraction, precision_of, read_graph


def inspection(path: Path) -> str:
    """Facts about an .onnx or .trt, a line each.

    Raises:
        EdgeError: it is damaged or not ours.
    """
    lines = _onnx(path) if path.suffix == ".onnx" else _plan(path)
    return "\n".join(f"{name + ':':<14}{value}" for name, value in lines.items())


def _onnx(path: Path) -> dict[str, str]:
    model, info = read_graph(path)
    convs = conv_nodes(model)
    operators = Counter(node.op_type for node in model.graph.node)
    has_sidecar = sidecar_path(path).is_file()
    return {
        "file": f"{path}, {path.stat().st_size / 1e6:.2f} MB, ONNX opset "
        f"{model.opset_import[0].version}",
        **_network(info),
        "precision": f"{precision_of(model)}, {int8_fraction(convs):.1%} of the convolutions' "
        f"FLOPs in INT8",
        "layers": ", ".join(f"{count} {kind}" for kind, count in operators.most_common()),
        "tiles": f"any multiple of {info.multiple} px, any batch",
        "sidecar": _checked(read_sidecar(path)) if has_sidecar else "none",
        "runs here": f"yes, on {open_engine(str(path)).device}",
    }


def _plan(path: Path) -> dict[str, str]:
    sidecar = read_sidecar(path)
    profile = sidecar.profile
    if profile is None:
        raise EdgeError(f"{path}: its sidecar describes an .onnx; write the engine again")
    lines = {
        "file": f"{path}, {path.stat().st_size / 1e6:.2f} MB, engine of {sidecar.variant} TensorRT "
        f"{sidecar.version}, built on {sidecar.device}",
        **_network(sidecar.info),
        "precision": sidecar.precision,
        "tiles": f"{profile.tile_hw[0]}x{profile.tile_hw[1]} px, {profile.batch[0]} to "
        f"{profile.batch[2]} a batch, optimum {profile.batch[1]}",
        "GPUs": f"compute capability {', '.join(sidecar.compute_capabilities)}",
        "sidecar": _checked(sidecar),
    }
    try:
        layers = _layers(path, sidecar)
    except EdgeError as error:
        return {**lines, "runs here": f"no: {error}"}
    return {**lines, "layers": layers, "runs here": "yes"}


def _network(info: EngineInfo) -> dict[str, str]:
    return {
        "network": f"{info.model}, halo {info.halo} px, threshold {info.threshold}, particles of "
        f"{info.min_diameter_px:g} px and more",
        "content": info.content_hash,
    }


def _checked(sidecar: Sidecar) -> str:
    drops = [found["drop"] for found in sidecar.verification.get("comparisons", [])]
    largest = f"{max(drops):+.4f}" if drops else "not measured"
    return f"belongs to this file; largest drop of r.w. F1: {largest}"


def _layers(path: Path, sidecar: Sidecar) -> str:
    """How many layers an engine has.

    Raises:
        EdgeError: this machine cannot load it.
    """
    variant = matching_variant(path, sidecar)
    with load_engine(path, variant) as engine:
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(variant.module.LayerInformationFormat.JSON)
        del inspector
    return f"{len(json.loads(text)['Layers'])}"
