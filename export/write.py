"""Checkpoint or ONNX file in; verified engine, sidecar and model card out."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge import tiling
from edge.engines import open_engine
from edge.engines.engine import OUTPUT, Engine, EngineInfo
from edge.engines.openvino import OpenVinoEngine
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, read_sidecar, sha256, sidecar_path
from edge.engines.variant import TensorRtVariant
from edge.errors import BadArgumentError, EdgeError, MissingExtraError, require_extra
from edge.files import atomic_write
from edge.gpu import find_gpu
from export.build import build_engine, targets_of
from export.calibration_data import CalibrationData, from_folder, padded, rendered
from export.card import card_path, model_card
from export.fp16 import fp16
from export.graph import ActivationHook, check_is_file, precision_of, read_graph
from export.search import choose, fp16_emulator
from export.verify import Comparison, Evaluator, Inference, Verification
from train.models.registry import MODELS
from train.models.spec import ModelSpec

# Largest drop of r.w. F1 allowed by default.
MAX_DROP = {"fp32": 0.001, "fp16": 0.001, "bf16": 0.01, "int8": 0.01}
# Tiles that a planned batch holds at most: enough to fill a GPU, and a bound to its memory.
MAX_BATCH = 4
# Crops that an engine is run on where there is a GPU, each as large as its tiles.
DEVICE_CROPS = 8
# Runs of one crop whose median is reported, of each runtime.
TIMED_RUNS = 5


@dataclass(frozen=True)
class Target:
    """The TensorRT to build for, and its input shapes.

    Attributes:
        frame_hw: px; the planner chooses tile and batch for it where they are None.
    """

    variant: TensorRtVariant
    compute_capabilities: tuple[str, ...]
    frame_hw: tuple[int, int]
    tile_hw: tuple[int, int] | None
    batch: tuple[int, int, int] | None


def planned_profile(
    frame_hw: tuple[int, int],
    multiple: int,
    halo: int,
    tile_hw: tuple[int, int] | None = None,
    batch: tuple[int, int, int] | None = None,
) -> Profile:
    """Tile and batches, where they are not given, for a network of that halo and multiples, px.

    Raises:
        BadArgumentError: tile or batch cannot be.
    """
    try:
        if tile_hw is None:
            layout = tiling.tile_grid(frame_hw, multiple=multiple, halo=halo)
        else:
            layout = tiling.fixed_tile_grid(frame_hw, tile_hw, multiple=multiple, halo=halo)
        # Batches of equal size: nine tiles come as three times three.
        optimum = -(-layout.count // -(-layout.count // MAX_BATCH))
        return Profile(layout.tile_hw, batch or (1, optimum, optimum))
    except (EdgeError, ValueError) as error:
        raise BadArgumentError(f"tile or batch: {error}") from None


@dataclass(frozen=True)
class ExportSource:
    """A file to export, as far as it is known without tracing.

    Attributes:
        model: key of the network.
        precision: of its graph; fp32 for a checkpoint.
        network: makes its graph; slow where torch must be traced.
    """

    path: Path
    model: str
    multiple: int
    halo: int
    precision: str
    network: Callable[[], SourceNetwork]


@dataclass(frozen=True)
class SourceNetwork:
    """A graph to put into another precision, or that has its precision already.

    Attributes:
        torch: runs the network in torch, where it came from there.
    """

    model: onnx.ModelProto
    info: EngineInfo
    spec: ModelSpec | None
    checkpoint_sha256: str | None
    torch: Inference | None


@dataclass(frozen=True)
class ConvertedGraph:
    """The graph in the precision asked for; `details` go into the sidecar, `notes` to the user."""

    model: onnx.ModelProto
    details: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True)
class Export:
    """What was written."""

    sidecar: Sidecar
    verification: Verification
    notes: list[str]


def export(
    path: Path,
    out: Path,
    *,
    precision: str | None,
    photos: Path | None,
    max_drop: float | None,
    target: Target | None,
    on_progress: Callable[[str], None],
) -> Export:
    """Write `path`, a checkpoint or an .onnx of ours, to `out`: an engine for `target`, else .onnx.

    The sidecar and the model card are written beside it.

    Args:
        precision: fp32, fp16, bf16 or int8; None is what the file has already, else fp16. In bf16
            an .onnx stays in FP32, and OpenVINO, which must be installed, computes in bf16.
        photos: to calibrate INT8 on, and to measure on.
        max_drop: of r.w. F1; None is `MAX_DROP`.
        on_progress: called with each step as it begins.

    Raises:
        BadArgumentError: a file that would be overwritten is not of such an export.
        EdgeError: the file is damaged or not ours, the graph or engine cannot be made, or it
            differs too much from float32; nothing is written.
        OSError: the files cannot be written; earlier ones stay.
    """
    if target:
        targets_of(target.variant, find_gpu(), target.compute_capabilities)
    source = open_source(path)
    check_overwritten(out, source.model)
    profile = None
    if target:
        profile = planned_profile(
            target.frame_hw, source.multiple, source.halo, target.tile_hw, target.batch
        )
    precision = _chosen_precision(source, precision, photos)
    max_drop = MAX_DROP[precision] if max_drop is None else max_drop
    crops = from_folder(photos, source.multiple) if photos else rendered()
    on_progress(f"reading the network of {path}")
    network = source.network()
    hook = ActivationHook(network.model, [OUTPUT])

    def reference(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return hook.run(tiles)[OUTPUT]

    evaluator = Evaluator(crops.held_out, reference, network.info.threshold_u8)
    graph = _graph(network, source.precision, precision, crops, evaluator, max_drop, on_progress)
    notes = [*(f"skipped {sentence}" for sentence in crops.skipped), *graph.notes]

    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_write(out))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        graph_file = folder / "model.onnx" if target else temporary
        graph_file.write_bytes(graph.model.SerializeToString())
        on_onnxruntime = open_engine(str(graph_file), backend="onnxruntime")
        on_openvino = None if target else _in_openvino(graph_file, precision)
        runs: dict[str, Inference] = {"torch, fp32": network.torch} if network.torch else {}
        if precision in ("fp16", "int8"):
            runs[f"{precision}, FP16 emulation"] = fp16_emulator(graph.model)
        engine = on_openvino if on_openvino and precision == "bf16" else on_onnxruntime
        runs[f"{precision}, {engine.device}"] = engine.run
        on_progress("evaluating")
        verification = Verification(
            crops=len(crops.held_out),
            pixels=evaluator.pixels,
            label_source=crops.label_source,
            reference=source.precision,
            rw_f1=evaluator.rw_f1,
            max_drop=max_drop,
            comparisons=[evaluator.compare(name, run) for name, run in runs.items()],
        )
        verification.check(precision)
        if on_openvino:
            notes += _compare_openvino(on_openvino, engine, verification, evaluator, precision)
        if on_openvino and precision in ("bf16", "int8"):
            timed = {"fp32 in ONNX Runtime": reference}
            if precision == "int8":
                timed["int8 in ONNX Runtime"] = on_onnxruntime.run
            timed[f"{precision} in OpenVINO"] = on_openvino.run
            notes.append(_times(timed, crops.held_out[0].image))
        sidecar = Sidecar(
            info=network.info,
            precision=precision,
            engine_sha256=sha256(graph_file),
            onnx_sha256=sha256(graph_file),
            checkpoint_sha256=network.checkpoint_sha256,
            profile=None,
            variant="onnx",
            version=onnxruntime.__version__,
            device=engine.device,
            compute_capabilities=(),
            verification={},
        )
        if target and profile:
            on_progress(f"building for {target.variant.title}")
            built = build_engine(graph.model, target.variant, profile, target.compute_capabilities)
            temporary.write_bytes(built.engine)
            sidecar = replace(
                sidecar,
                engine_sha256=sha256(temporary),
                profile=profile,
                variant=target.variant.name,
                version=target.variant.version,
                device=built.device,
                compute_capabilities=built.compute_capabilities,
            )
            notes.append(f"built in {built.seconds:.1f} s")
            gpu = find_gpu()
            if gpu and gpu.compute_capability in built.compute_capabilities:
                on_progress(f"running it on {gpu.name}")
                verification.comparisons.append(
                    _on_device(built.engine, sidecar, crops, reference, folder)
                )
                verification.check(precision)
            else:
                notes.append("the engine itself was not run: no GPU here that it is for")
        sidecar = replace(sidecar, verification={**asdict(verification), **graph.details})
        with atomic_write(sidecar_path(out)) as described, atomic_write(card_path(out)) as card:
            sidecar.write(described)
            card.write_text(model_card(network.spec, sidecar, verification, notes), "utf-8")
    return Export(sidecar, verification, notes)


def check_overwritten(out: Path, model: str) -> None:
    """Check that nothing but an earlier export of the network `model` is overwritten.

    Raises:
        BadArgumentError: `out`, or what would lie beside it, is another file.
    """
    there = [path for path in (out, sidecar_path(out), card_path(out)) if path.exists()]
    if not there:
        return
    try:
        earlier = read_sidecar(out, trust=not out.exists()).info.model
    except EdgeError:
        raise BadArgumentError(
            f"{there[0]}: is there already and not from export-trt: name another file with --out"
        ) from None
    if earlier != model:
        raise BadArgumentError(
            f"{out}: is there already, and of {earlier}, not {model}: name another file with --out"
        )


def _in_openvino(path: Path, precision: str) -> Engine | None:
    """What `edge-run` runs an .onnx in where OpenVINO is installed; None where it is not.

    Raises:
        EdgeError: bf16 is asked for, and not to be had.
    """
    try:
        # It computes FP16 files in FP32.
        return OpenVinoEngine(path, "fp32" if precision == "fp16" else precision)
    except MissingExtraError:
        if precision == "bf16":
            raise
        return None


def _compare_openvino(
    on_openvino: Engine,
    compared: Engine,
    verification: Verification,
    evaluator: Evaluator,
    precision: str,
) -> list[str]:
    """Add the comparison of OpenVINO, unless it is the engine `compared`; what to say of it.

    That it loses too much there fails no export: ONNX Runtime runs the same file.
    """
    if on_openvino is compared:
        return []
    found = evaluator.compare(f"{precision}, {on_openvino.device}", on_openvino.run)
    verification.comparisons.append(found)
    if found.drop <= verification.max_drop:
        return []
    return [
        f"in OpenVINO it costs {found.drop:.4f} r.w. F1, more than the {verification.max_drop} "
        f"allowed: edge-run runs it in ONNX Runtime"
    ]


def _times(runs: Mapping[str, Inference], crop: NDArray[np.uint8]) -> str:
    """How long each takes for one crop (H,W,3), the runs interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(TIMED_RUNS):
        for name, run in runs.items():
            start = time.perf_counter()
            run(crop[None])
            seconds[name].append(time.perf_counter() - start)
    found = ", ".join(f"{name} {median(taken) * 1e3:.0f} ms" for name, taken in seconds.items())
    height, width = crop.shape[:2]
    return f"a crop of {height}x{width} px, median of {TIMED_RUNS}: {found}"


def _on_device(
    serialized: bytes, sidecar: Sidecar, crops: CalibrationData, reference: Inference, folder: Path
) -> Comparison:
    """The engine itself against the float network, on a few crops padded to its tiles."""
    path = folder / "engine.trt"
    path.write_bytes(serialized)
    sidecar.write(sidecar_path(path))
    with contextlib.closing(open_engine(str(path))) as engine:
        assert sidecar.profile
        tiles = [padded(crop, sidecar.profile.tile_hw) for crop in crops.held_out[:DEVICE_CROPS]]
        evaluator = Evaluator(tiles, reference, sidecar.info.threshold_u8)
        return evaluator.compare(f"{sidecar.precision}, {engine.device}", engine.run)


def open_source(path: Path) -> ExportSource:
    """A checkpoint or an .onnx of ours.

    Raises:
        BadArgumentError: there is no such file.
        EdgeError: it is damaged or not ours; `network` raises it where the graph
            says otherwise than torch.
    """
    if path.suffix == ".onnx":
        model, info = read_graph(path)
        network = SourceNetwork(model, info, MODELS.get(info.model), None, None)
        return ExportSource(
            path, info.model, info.multiple, info.halo, precision_of(model), lambda: network
        )
    with require_extra("export"):
        from export.trace import EngineGraph, check_trace, to_onnx
        from train.checkpoint import load
    check_is_file(path)
    checkpoint = load(path)
    spec = checkpoint.spec

    def trace() -> SourceNetwork:
        model, info = to_onnx(checkpoint)
        check_trace(model, checkpoint)
        return SourceNetwork(model, info, spec, sha256(path), EngineGraph(checkpoint).eval().run)

    radius = spec.receptive_field_radius()
    return ExportSource(path, spec.key, spec.multiple, radius, "fp32", trace)


def _chosen_precision(source: ExportSource, asked: str | None, photos: Path | None) -> str:
    found = source.precision
    precision = asked or ("fp16" if found == "fp32" else found)
    if found not in ("fp32", precision):
        raise BadArgumentError(
            f"{source.path}: is {found} already and cannot become {precision}; give the "
            f"checkpoint or the fp32 .onnx"
        )
    if precision == "int8" and found != "int8" and photos is None:
        raise BadArgumentError(
            "INT8 is calibrated on photos of what the camera will see: give --calibration FOLDER"
        )
    return precision


def _graph(
    network: SourceNetwork,
    found: str,
    precision: str,
    crops: CalibrationData,
    evaluator: Evaluator,
    max_drop: float,
    on_progress: Callable[[str], None],
) -> ConvertedGraph:
    """The network, `found` in one precision, in `precision`."""
    details: dict[str, Any] = {}
    notes: list[str] = []
    model = network.model
    if found != precision and precision != "bf16":
        if precision == "fp16":
            model = fp16(model)
        else:
            on_progress(f"calibrating INT8 on {len(crops.calibration)} crops")
            choice = choose(model, crops, evaluator, max_drop)
            model, details["int8"] = choice.model, choice.as_json()
            notes += choice.describe().splitlines()
    onnx.helper.set_model_props(model, network.info.metadata())
    return ConvertedGraph(model, details, notes)
