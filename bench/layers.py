"""Time of each layer of an engine, by the profiler of its runtime."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.layer_names import IN, NCHWC, LayerNames, op_of
from bench.networks import FRAME_HW
from bench.roofline import measure_roofline
from bench.sampling import seconds_of
from bench.tables import table
from edge.cuda import open_cuda
from edge.cuda.cuda import Cuda, PitchedPointer, Stream
from edge.engines import engine_path
from edge.engines.contexts import ExecutionContexts
from edge.engines.engine import INPUT, OUTPUT
from edge.engines.onnx import OnnxEngine
from edge.engines.sidecar import Sidecar, read_sidecar
from edge.engines.tensorrt import load_engine, matching_variant
from edge.engines.variant import TensorRtVariant, collecting_log
from edge.errors import EdgeError
from export.graph import read_graph
from train.data.synth import scene

WARM_UP = 3


@dataclass(frozen=True)
class LayerTime:
    """One step of the runtime, which may be several nodes of the graph fused.

    Attributes:
        name: of a convolution as in torch; else the node's in the graph, or the runtime's own.
        part: of the network, such as "encoder 0"; of a step that the runtime inserted, that of the
            step before it.
        op: as the runtime names it.
        ms: median over the runs.
        fraction: of all layers' time, 0..1.
        gflop: billions of operations by the rule of Table 4; None where no convolution is known.
        gflop_per_s: what it achieves of them.
    """

    name: str
    part: str
    op: str
    ms: float
    fraction: float
    gflop: float | None
    gflop_per_s: float | None


@dataclass(frozen=True)
class LayersResult:
    """Medians over `runs` of one batch of tiles, as planned for frames of `FRAME_HW`.

    Attributes:
        whole_ms: of a run by the clock, nothing profiled.
        profiled_ms: the same while profiled, interleaved with the others.
        layers: part by part in the order of the network, within a part as they run.
        peak_gflop_per_s: of this machine, as `Roofline`; None on a GPU.
    """

    engine: str
    device: str
    batch: int
    tile_hw: tuple[int, int]
    runs: int
    whole_ms: float
    profiled_ms: float
    layers: Sequence[LayerTime]
    peak_gflop_per_s: float | None = None

    @property
    def title(self) -> str:
        """Engine, device and tiles."""
        height, width = self.tile_hw
        return f"{self.engine} on {self.device}; {self.batch} x {height}x{width} px"

    @property
    def layers_ms(self) -> float:
        return sum(layer.ms for layer in self.layers)

    @property
    def least_ms(self) -> float | None:
        """Of a run whose convolutions all reach the peak, and all else takes no time."""
        if not self.peak_gflop_per_s:
            return None
        return sum(layer.gflop or 0 for layer in self.layers) / self.peak_gflop_per_s * 1e3

    def describe(self) -> str:
        """A Markdown table, the slowest layer first."""
        cells = [
            (
                layer.name,
                layer.part,
                layer.op,
                f"{layer.ms:.3f}",
                f"{layer.fraction:.1%}",
                "" if layer.gflop is None else f"{layer.gflop:.3f}",
                "" if layer.gflop_per_s is None else f"{layer.gflop_per_s:.1f}",
                self._of_peak(layer),
            )
            for layer in sorted(self.layers, key=lambda layer: -layer.ms)
        ]
        head = ("layer", "part", "operator", "ms", "fraction", "GFLOP", "GFLOP/s", "of peak")
        lines = (
            f"{self.title}; medians of {self.runs} runs",
            f"a run takes {self.whole_ms:.3f} ms, {self.profiled_ms:.3f} ms while it is profiled; "
            f"the layers add up to {self.layers_ms:.3f} ms",
            self._roofline(),
            table(head, cells, left=3),
        )
        return "\n\n".join(filter(None, lines))

    def _of_peak(self, layer: LayerTime) -> str:
        if layer.gflop_per_s is None or not self.peak_gflop_per_s:
            return ""
        return f"{layer.gflop_per_s / self.peak_gflop_per_s:.0%}"

    def _roofline(self) -> str:
        if self.least_ms is None:
            return ""
        return (
            f"at the peak of {self.peak_gflop_per_s:.0f} GFLOP/s, that of a matrix product, the "
            f"convolutions alone would take {self.least_ms:.3f} ms: "
            f"{self.least_ms / self.whole_ms:.0%} of a run"
        )


# Of one run: ms by the runtime's name of a layer, in the order they ran.
LayerTimes = dict[str, float]


def measure(engine_name: str, runs: int) -> LayersResult:
    """Profile an engine file or shipped model: an .onnx on the CPU, a .trt on its GPU.

    (Of layers on a GPU, ONNX Runtime tells only how long it takes to launch them.) A .trt's layers
    are named after the network where the .onnx of that network lies beside it.

    Raises:
        BadArgumentError: there is no such engine.
        EdgeError: it is damaged or not ours, or this machine cannot run it.
    """
    path = engine_path(engine_name)
    measured = _in_tensorrt if path.suffix == ".trt" else _in_onnx_runtime
    return measured(engine_name, path, runs)


def _layers(
    names: LayerNames, times: Mapping[str, float], ops: Mapping[str, str], pixels: int
) -> list[LayerTime]:
    """What ran, part by part.

    Args:
        times: ms by the runtime's name of a layer, in the order they ran.
        ops: the runtime's operators by the same names, where it tells them.
        pixels: that a run computes, of all tiles of a batch.
    """
    whole = sum(times.values())
    layers = []
    part, latest = IN, ""
    for name, ms in times.items():
        nodes = names.nodes(name, ops.get(name, ""))
        convs = [names.convs[node.name] for node in nodes if node.name in names.convs]
        part = names.parts[nodes[0].name] if nodes else part
        op = ops.get(name) or op_of(name, nodes)
        if convs:
            title = latest = " + ".join(conv.name for conv in convs)
        elif nodes or not ops:
            title = name
        else:
            # Its name in ONNX Runtime says nothing ("ReorderOutput_token_72").
            title = f"{op} after {latest}" if latest else op
        op = f"{op} NCHWc" if name.endswith(NCHWC) else op
        flops_per_pixel = sum(conv.flops_per_pixel for conv in convs)
        gflop = flops_per_pixel * pixels / 1e9 if convs else None
        layers.append(_layer(title, part, op, ms, whole, gflop))
    return sorted(layers, key=lambda layer: names.order.index(layer.part))


def _layer(
    name: str, part: str, op: str, ms: float, whole_ms: float, gflop: float | None = None
) -> LayerTime:
    """One that takes `ms` of the `whole_ms` of all."""
    return LayerTime(
        name=name,
        part=part,
        op=op,
        ms=round(ms, 4),
        fraction=round(ms / whole_ms, 4),
        gflop=None if gflop is None else round(gflop, 4),
        gflop_per_s=None if gflop is None else round(gflop / ms * 1e3, 2),
    )


def _in_onnx_runtime(engine_name: str, path: Path, runs: int) -> LayersResult:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(OnnxEngine(path, ["CPUExecutionProvider"])) as engine,
    ):
        tile_hw = engine.tile_grid(FRAME_HW).tile_hw
        tiles = _tiles(1, tile_hw)
        options = engine.ort_session.get_session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        whole_ms, profiled_ms = _interleaved(
            lambda: engine.run(tiles), lambda: session.run([OUTPUT], {INPUT: tiles}), runs
        )
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        device = engine.device
    found, ops = _node_times(events)
    model, _ = read_graph(path)
    height, width = tile_hw
    layers = _layers(LayerNames(model), _medians(found[-runs:]), ops, height * width)
    peak = measure_roofline().gflops_per_s["fp32"]
    return LayersResult(engine_name, device, 1, tile_hw, runs, whole_ms, profiled_ms, layers, peak)


def _node_times(events: Sequence[Mapping[str, Any]]) -> tuple[list[LayerTimes], dict[str, str]]:
    """Runs out of a profile of ONNX Runtime, and the operators by name."""
    runs: list[LayerTimes] = [{}]
    ops: dict[str, str] = {}
    for event in events:
        if event["name"] == "model_run":
            runs.append({})
        elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            runs[-1][name] = event["dur"] / 1e3
            ops[name] = event["args"]["op_name"]
    return runs[:-1], ops


def _in_tensorrt(engine_name: str, path: Path, runs: int) -> LayersResult:
    sidecar = read_sidecar(path)
    variant = matching_variant(path, sidecar)
    assert sidecar.profile  # or it would match no variant
    batch, tile_hw = sidecar.profile.batch[1], sidecar.profile.tile_hw
    height, width = tile_hw
    tiles = _tiles(batch, tile_hw)
    profiler = _profiler(variant)
    with contextlib.ExitStack() as stack:
        cuda = stack.enter_context(open_cuda())
        stack.enter_context(cuda.current())
        log = collecting_log(variant.module)
        contexts = ExecutionContexts(
            stack.enter_context(load_engine(path, variant, log)), variant, log
        )
        stack.callback(contexts.close)
        stream = stack.enter_context(cuda.stream())
        addresses = {
            INPUT: stack.enter_context(_on_device(cuda, tiles, stream)),
            OUTPUT: stack.enter_context(cuda.device_memory(batch * height * width)),
        }
        plain, profiled = (
            stack.enter_context(_runner(contexts, cuda, tiles.shape, addresses, stream, told))
            for told in (None, profiler)
        )

        def run_profiled() -> None:
            profiler.runs.append({})
            profiled()

        whole_ms, profiled_ms = _interleaved(plain, run_profiled, runs)
        device = f"{variant.title}, {cuda.title}"
    times = _medians(profiler.runs[-runs:])
    layers = _named(path, sidecar, times, batch * height * width)
    return LayersResult(engine_name, device, batch, tile_hw, runs, whole_ms, profiled_ms, layers)


def _named(path: Path, sidecar: Sidecar, times: LayerTimes, pixels: int) -> list[LayerTime]:
    """The layers of the engine at `path`, by the .onnx beside it if that is the same network."""
    graph = path.with_suffix(".onnx")
    if graph.is_file():
        model, info = read_graph(graph)
        if info.content_hash == sidecar.info.content_hash:
            return _layers(LayerNames(model), times, {}, pixels)
    whole = sum(times.values())
    return [
        _layer(name, sidecar.info.model, op_of(name, ()), ms, whole) for name, ms in times.items()
    ]


def _profiler(variant: TensorRtVariant) -> Any:
    """An IProfiler that adds what it is told to the last of its `runs`."""

    class Profiler(variant.module.IProfiler):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.runs: list[LayerTimes] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.runs[-1][layer_name] = ms

    return Profiler()


@contextlib.contextmanager
def _on_device(cuda: Cuda, tiles: NDArray[np.uint8], stream: Stream) -> Iterator[int]:
    """Pointer to a copy of `tiles`."""
    row, rows = tiles.shape[2] * tiles.shape[3], tiles.shape[0] * tiles.shape[1]
    with cuda.host_memory(tiles.size) as host, cuda.device_memory(tiles.size) as pointer:
        host.array[:] = tiles.ravel()
        cuda.copy(
            PitchedPointer(pointer, row), PitchedPointer(host.pointer, row), row, rows, stream
        )
        stream.synchronize()
        yield pointer


@contextlib.contextmanager
def _runner(
    contexts: ExecutionContexts,
    cuda: Cuda,
    shape: tuple[int, ...],
    addresses: Mapping[str, int],
    stream: Stream,
    profiler: Any | None,
) -> Iterator[Callable[[], None]]:
    """Runs one batch of `shape` in a context of its own, and waits for it."""
    with contexts.context(cuda, stream, shape, addresses) as context:
        # The context must be freed before its engine: nothing else may hold it.
        held = [context]
        del context
        if profiler:
            held[0].profiler = profiler

        def run() -> None:
            if not held[0].execute_async_v3(stream.handle):
                raise EdgeError("TensorRT could not queue a batch of tiles")
            stream.synchronize()

        try:
            yield run
        finally:
            held.clear()


def _interleaved(
    plain: Callable[[], object], profiled: Callable[[], object], runs: int
) -> tuple[float, float]:
    """Medians of both over `runs` after `WARM_UP`, ms; interleaved, so that drift affects both."""
    times = [(seconds_of(plain), seconds_of(profiled)) for _ in range(WARM_UP + runs)]
    whole, with_profile = np.median(times[WARM_UP:], axis=0) * 1e3
    return round(float(whole), 3), round(float(with_profile), 3)


def _medians(runs: Sequence[LayerTimes]) -> LayerTimes:
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def _tiles(count: int, tile_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Rendered tiles (N,H,W,3)."""
    rng = np.random.default_rng(0)
    return np.stack([scene(rng, *tile_hw, particles=10).image for _ in range(count)])
