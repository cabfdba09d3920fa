"""An ONNX graph as a serialized engine of TensorRT (8.6, 10 and 11) or of TensorRT-RTX.

The graph itself says what is computed in which precision. Where versions differ, the module is
asked what it has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, numpy_helper

from edge.engines.cache import cache_folder, read_cache, warn_ignored, write_cache
from edge.engines.engine import INPUT
from edge.engines.profile import Profile
from edge.engines.tensorrt import MAX_IN_FLIGHT
from edge.engines.variant import (
    ELSEWHERE,
    CollectingLog,
    TensorRtVariant,
    collecting_log,
    without_collector,
)
from edge.errors import BadArgumentError, EdgeError
from edge.gpu import Gpu, find_gpu
from export.fp16 import fp32
from export.graph import precision_of, weights_of

# Memory for what lies between the layers. The default is all there is, which on a Jetson is the
# memory of the whole machine; MultiResUNet in FP32 needs this much for four tiles.
WORKSPACE = 4 << 30
# TensorRT-RTX leaves Turing out unless told, and so do we: with it an engine is slower elsewhere.
TURING = "7.5"


@dataclass(frozen=True)
class Built:
    """A serialized engine and how it came about.

    Attributes:
        seconds: spent on parsing and building.
        device: the GPU of the machine it was built on, or "CPU".
        compute_capabilities: of the GPUs it can run on, such as "8.6".
    """

    engine: bytes
    seconds: float
    device: str
    compute_capabilities: tuple[str, ...]


@without_collector()
def build_engine(
    model: onnx.ModelProto,
    variant: TensorRtVariant,
    profile: Profile,
    compute_capabilities: Sequence[str] = (),
) -> Built:
    """Build `model` for the tiles of `profile`.

    Args:
        compute_capabilities: of the GPUs to build for, such as "8.6"; TensorRT-RTX only. Without
            any, for this machine's GPU, or else for all that TensorRT-RTX serves but Turing.

    Raises:
        BadArgumentError: `compute_capabilities` holds one that TensorRT does not build for.
        EdgeError: there is no GPU and TensorRT needs one, or TensorRT refuses the graph.
    """
    started = time.perf_counter()
    module, gpu = variant.module, find_gpu()
    targets = targets_of(variant, gpu, compute_capabilities)
    log = collecting_log(module)
    try:
        builder = module.Builder(log)
    except TypeError as error:  # the binding's word for a builder that could not start
        raise EdgeError(f"{variant.title} cannot start here: {log.last_errors()}") from error
    config = builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, WORKSPACE)

    creation = module.NetworkDefinitionCreationFlag
    if hasattr(creation, "STRONGLY_TYPED"):
        network = builder.create_network(1 << int(creation.STRONGLY_TYPED))
    else:
        network = builder.create_network(1 << int(creation.EXPLICIT_BATCH))
        precision = precision_of(model)
        if precision != "fp32":
            config.set_flag(module.BuilderFlag.FP16)
        if precision == "int8":
            config.set_flag(module.BuilderFlag.INT8)
        model = weakly_typed(model)
    parser = module.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        refusals = (_refusal(parser.get_error(i), model) for i in range(parser.num_errors))
        raise EdgeError(
            f"{variant.title} cannot read the graph: {'; '.join(refusals)}; "
            f"--out X.onnx runs in ONNX Runtime instead"
        )

    for _ in range(_profiles(module, config)):
        shapes = builder.create_optimization_profile()
        shapes.set_shape(INPUT, *profile.shapes)
        config.add_optimization_profile(shapes)
    if variant.requires_user_allocation:
        config.set_flag(module.BuilderFlag.REQUIRE_USER_ALLOCATION)
    timings = None
    if variant.name == "rtx":  # which measures nothing while it builds
        offered = variant.compute_capabilities
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(offered[target], index)
    elif gpu:
        timings = _timings_path(variant, gpu)
        _recall_timings(config, timings, variant, log)
    try:
        serialized = builder.build_serialized_network(network, config)
    finally:  # also where it fails or is interrupted: the next build resumes there
        if timings:
            write_cache(timings, bytes(config.get_timing_cache().serialize()))
    if serialized is None:
        raise EdgeError(
            f"{variant.title} cannot build the engine: {log.last_errors()}; try a smaller "
            f"--batch or --tile, or --out X.onnx, which runs in ONNX Runtime"
        )
    return Built(
        bytes(serialized), time.perf_counter() - started, gpu.name if gpu else "CPU", targets
    )


def weakly_typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` as TensorRT 8.6 takes it: in float32, while flags say what may be less precise.

    Its parser reads scales as float32 whatever they are, and weights are float32 before a Q/DQ
    pair, which gives back the very steps that were stored.
    """
    copy = fp32(model)
    weights = weights_of(copy)
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    for node in nodes:
        stored = weights.get(node.input[0])
        if node.op_type == "DequantizeLinear" and stored is not None:
            copy.graph.node.append(_quantise(stored, node, weights))
        copy.graph.node.append(node)
    return copy


def _quantise(
    stored: onnx.TensorProto, reader: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]
) -> onnx.NodeProto:
    """Make an INT8 weight float32; returns the node that turns it into INT8 for `reader`."""
    scales = numpy_helper.to_array(weights[reader.input[1]])
    steps = numpy_helper.to_array(stored)
    # One scale an output channel, the first axis.
    values = steps * scales.reshape(-1, *[1] * (steps.ndim - 1))
    stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    quantised = f"{stored.name}.q"
    reader.input[0] = quantised
    return helper.make_node(
        "QuantizeLinear", [stored.name, *reader.input[1:]], [quantised], quantised, axis=0
    )


def targets_of(variant: TensorRtVariant, gpu: Gpu | None, asked: Sequence[str]) -> tuple[str, ...]:
    """The compute capabilities to build for, `asked` or those of `build_engine`.

    Raises:
        BadArgumentError: TensorRT does not build for one of `asked`.
        EdgeError: there is no GPU and TensorRT needs one.
    """
    if variant.name == "native":
        if asked:
            raise BadArgumentError(
                f"{', '.join(asked)}: {variant.title} builds for the GPU it runs on alone; only "
                f"--target rtx takes compute capabilities"
            )
        if gpu is None:
            raise EdgeError(
                f"{variant.title} builds on the GPU that the engine will run on, and this machine "
                f"has none (or no driver for it): {ELSEWHERE}"
            )
        return (gpu.compute_capability,)
    offered = variant.compute_capabilities
    for name in asked:
        if name not in offered:
            raise BadArgumentError(
                f"{name}: {variant.title} does not build for this compute capability, "
                f"only for {', '.join(offered)}"
            )
    if asked:
        return tuple(dict.fromkeys(asked))
    if gpu and gpu.compute_capability in offered:
        return (gpu.compute_capability,)
    return tuple(name for name in offered if name != TURING)


def _refusal(error: Any, model: onnx.ModelProto) -> str:
    """A parser's error, with the node it is about."""
    words, place = f"{error.code().name}, {error.desc()}", error.node()
    if place < 0:  # about the whole graph
        return words
    node = model.graph.node[place]
    return f"node {node.name} ({node.op_type}): {words}"


def _profiles(module: Any, config: Any) -> int:
    """How many optimisation profiles `MAX_IN_FLIGHT` contexts need.

    From TensorRT 10 on, which knows strong typing, they share one; 8.6.1 and later 8.6 can if told
    so; 8.6.0 cannot.
    """
    if hasattr(module.PreviewFeature, "PROFILE_SHARING_0806"):
        config.set_preview_feature(module.PreviewFeature.PROFILE_SHARING_0806, True)
        return 1
    if hasattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return 1
    return MAX_IN_FLIGHT


def _timings_path(variant: TensorRtVariant, gpu: Gpu) -> Path:
    """Where the measurements of kernels are kept, which make the next build faster."""
    name = re.sub(r"[^\w.]+", "-", f"{variant.title} {gpu.name}")
    return cache_folder() / f"{name}.timings"


def _recall_timings(config: Any, path: Path, variant: TensorRtVariant, log: CollectingLog) -> None:
    known = read_cache(path)
    log.warnings.clear()
    cache = config.create_timing_cache(known)
    # TensorRT warns that it does not take one, and returns an empty one, or none.
    refused = bool(log.warnings)
    if cache is None or not config.set_timing_cache(cache, False):
        refused = True
        config.set_timing_cache(config.create_timing_cache(b""), False)
    if known and refused:
        warn_ignored(path, variant.title)
