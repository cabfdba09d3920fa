"""Our tiles and engine against baselines, on one frame with the same weights, on the CPU.

Every method begins with the frame (H,W,3) uint8 RGB in memory, and ends with its probability map
(H,W), or for SAHI, which has no maps, with the objects of the frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import openvino
from numpy.typing import NDArray
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction

from bench.sampling import Samples, interleaved
from bench.tables import table
from edge import tiling
from edge.engines import engine_path, open_engine, shipped
from edge.engines.engine import INPUT, OUTPUT, Engine, infer
from edge.engines.onnx import OnnxEngine
from edge.particles import Particle, find_particles, particle_mask
from edge.stage_timer import StageTimer
from export.graph import read_graph
from export.trace import EngineGraph
from export.verify import Inference, max_abs_difference
from train.checkpoint import open_checkpoint
from train.data.synth import scene
from train.metrics import mask_iou

Map = NDArray[np.uint8]
Objects = Sequence[Particle] | Sequence[ObjectPrediction]
# The objects of a slice (h,w,3), given its corner (x, y) and the (height, width) of its frame.
Finder = Callable[[NDArray[np.uint8], list[int], list[int]], list[ObjectPrediction]]

PROVIDERS = ("CPUExecutionProvider",)
OURS, OUR_PARTICLES = "ours", "ours, and the particles of the map"
CROPS, SAHI = "crops, ONNX Runtime", "SAHI"
ONNX_RUNTIME, OPENVINO = "our tiles, ONNX Runtime fp32", "our tiles, OpenVINO f32"
# How many times as fast ours shall be: as the crops for a frame, as SAHI but for the network.
FRAME_TARGET, TILING_TARGET = 1.6, 5.0
# Of a frame in whose light particles are found, and of no single pixels, which SAHI refuses.
SEED = 12
# How many times as long ours may take as OpenVINO on our tiles.
OPENVINO_TARGET = 1.0
# What other engine files are called where `edge-run` chooses.
AUTO = ", as edge-run runs it"


@dataclass(frozen=True)
class BaselineRow:
    """One method.

    Attributes:
        ms: of `Samples.as_json`.
        ratio: its median over ours.
        max_abs_difference, mask_iou: of its map and ours: largest difference, 0-255, and overlap
            of the masks at the engine's threshold, 0..1 (1 where neither has any); None of objects.
        objects: that it ends with, or else particles of its map.
    """

    name: str
    ms: dict[str, Any]
    ratio: float
    max_abs_difference: int | None
    mask_iou: float | None
    objects: int


@dataclass(frozen=True)
class BaselinesResult:
    """All methods on one frame of `side` x `side` px, and their tiling alone, ours first.

    In `frame`, a loop runs each tile alone, from `tiling.split` to `tiling.stitch`:

    - ours: the engine that `edge-run` chooses, on the `tiles` with the fewest pixels;
    - our tiles, ONNX Runtime: `OnnxEngine`, on its own;
    - ONNX Runtime with default options, and eager torch: the paper's `crops`;
    - OpenVINO, compiled for the tile's shape, in float32 and in what it chooses itself if that is
      another: the crops, and our tiles;
    - SAHI: `get_sliced_prediction` with its default merging, on slices of the crops' size that
      overlap by the least of the crops' overlaps, with that ONNX Runtime. Objects are the
      8-connected pixels at the engine's threshold, as polygons;
    - each of the other engine files: as `edge-run` runs it, in `OnnxEngine`, and compiled by
      OpenVINO for the shape of its tiles.

    In `tiling`, what the network says is known beforehand, and no method spends time on it:

    - ours, and ours on the crops: `tiling.split` and `tiling.stitch`, frame to map;
    - ours, and the particles of the map: `find_particles` besides, frame to particles;
    - SAHI: `get_sliced_prediction` as above with the objects of each slice given: slices the
      frame, moves the objects into it and merges them;
    - SAHI, and the objects of the maps: that, finding the objects in the given map of each slice.

    Attributes:
        device: where ours runs, in words.
        tiles, crops: such as "9 x 528x528", px.
    """

    model: str
    device: str
    side: int
    tiles: str
    crops: str
    frame: Sequence[BaselineRow]
    tiling: Sequence[BaselineRow]

    def describe(self) -> str:
        """A Markdown table each, and whether the targets are met."""
        frame = {row.name: row for row in self.frame}
        alone = {row.name: row for row in self.tiling}
        crops, sahi = frame[CROPS], alone[SAHI]
        to_particles = sahi.ms["p50"] / alone[OUR_PARTICLES].ms["p50"]
        met = crops.ratio >= FRAME_TARGET and crops.max_abs_difference in (0, 1)
        over_openvino = 1 / frame[OPENVINO].ratio
        today = frame[ONNX_RUNTIME].ratio
        others = [
            f"{name.removesuffix(AUTO)}: {row.ratio / today:.2f} of the time of the {ONNX_RUNTIME}."
            for name, row in frame.items()
            if name.endswith(AUTO)
        ]
        return "\n\n".join(
            (
                f"{self.model}, a frame of {self.side}x{self.side} px; ours: {self.tiles} in "
                f"{self.device}, crops: {self.crops}",
                _table("frame", self.frame),
                _table("cutting and stitching alone", self.tiling),
                f"A frame: ours is {crops.ratio:.2f} times as fast as the {CROPS}, "
                f"max abs difference {crops.max_abs_difference} (targets {FRAME_TARGET} and 1): "
                f"{_met(met)}.",
                f"A frame: ours takes {over_openvino:.2f} of the time of the {OPENVINO} (target "
                f"{OPENVINO_TARGET}): {_met(over_openvino <= OPENVINO_TARGET)}.",
                *others,
                f"Cutting and stitching: ours is {sahi.ratio:.1f} times as fast as {SAHI} (target "
                f"{TILING_TARGET}; {to_particles:.1f} with the particles of the map): "
                f"{_met(sahi.ratio >= TILING_TARGET)}.",
            )
        )


def _met(met: bool) -> str:
    return "met" if met else "not met"


def _table(title: str, rows: Sequence[BaselineRow]) -> str:
    head = (
        title,
        *("p50, ms", "p90", "p99", "95% of p50", "runs", "time over ours"),
        *("max abs difference (0-255)", "mask IoU", "objects"),
    )
    cells = []
    for row in rows:
        interval = row.ms["interval"]
        cells.append(
            (
                row.name,
                *(f"{row.ms[key]:.2f}" for key in ("p50", "p90", "p99")),
                "-".join(f"{limit:.2f}" for limit in interval) if interval else "",
                len(row.ms["runs"]),
                f"{row.ratio:.2f}",
                "" if row.max_abs_difference is None else row.max_abs_difference,
                "" if row.mask_iou is None else f"{row.mask_iou:.4f}",
                row.objects,
            )
        )
    return table(head, cells)


def measure(
    model: str, limit_s: float, others: Sequence[str] = (), *, side: int = 1440, tile: int = 512
) -> BaselinesResult:
    """Time every method, interleaved, each for at most `limit_s` seconds a table.

    Args:
        model: a float32 .onnx file of a network of the registry, or the shipped one of that name.
        others: .onnx files of ours, such as of it in INT8, or names of shipped ones.
        side: of a rendered frame with 80 particles, px; more than `tile`.
        tile: side of the crops, px.

    Raises:
        EdgeError: the file is missing, damaged, not ours, or not in float32.
    """
    path = shipped().get(model, Path(model))
    _, info = read_graph(path)
    image = scene(np.random.default_rng(SEED), side, side, particles=80).image
    ours = tiling.tile_grid(image.shape[:2], multiple=info.multiple, halo=info.halo)
    crops = tiling.paper_grid(image.shape[:2], info.multiple, tile=tile)
    session = onnxruntime.InferenceSession(str(path), providers=PROVIDERS)

    def run(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = session.run([OUTPUT], {INPUT: tiles})[0]
        return found

    def find(piece: NDArray[np.uint8], corner: list[int], hw: list[int]) -> list[ObjectPrediction]:
        return _objects(run(piece[None])[0, 0], info.threshold_u8, corner, hw)

    in_torch = EngineGraph(open_checkpoint(model)).eval()
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(contextlib.closing(open_engine(str(path), device="cpu")))
        methods: dict[str, Callable[[], Map | Objects]] = {
            OURS: _framing(stack, engine, image),
            ONNX_RUNTIME: _framing(stack, OnnxEngine(path, PROVIDERS), image),
            CROPS: lambda: _map(image, crops, run),
            "crops, torch": lambda: _map(image, crops, in_torch.run),
            SAHI: lambda: _sahi(image, crops, find),
        }
        for name, layout in (("crops", crops), ("our tiles", ours)):
            for precision, compiled in _openvino(path, layout.tile_hw).items():
                methods[f"{name}, OpenVINO {precision}"] = _mapping(image, layout, compiled)
        for other in others:
            methods |= _other(stack, engine_path(other), image)
        frame = _rows(methods, limit_s, info.threshold_u8)
        device = engine.device
    return BaselinesResult(
        model=model,
        device=device,
        side=side,
        tiles=_size(ours),
        crops=_size(crops),
        frame=frame,
        tiling=_rows(
            _tiling_alone(image, ours, crops, run, info.threshold_u8), limit_s, info.threshold_u8
        ),
    )


def _framing(
    stack: contextlib.ExitStack, engine: Engine, image: NDArray[np.uint8]
) -> Callable[[], Map]:
    """Runs the frame through a session of `engine`, which stays open as long as `stack`."""
    session = stack.enter_context(engine.session(image.shape[:2], 1, StageTimer()))
    return lambda: infer(session, image)


def _other(
    stack: contextlib.ExitStack, path: Path, image: NDArray[np.uint8]
) -> dict[str, Callable[[], Map]]:
    """The methods of another engine file."""
    engine = stack.enter_context(contextlib.closing(open_engine(str(path), device="cpu")))
    layout = engine.tile_grid(image.shape[:2])
    compiled = _openvino(path, layout.tile_hw)["f32"]
    return {
        f"{path.stem}{AUTO}": _framing(stack, engine, image),
        f"{path.stem}, ONNX Runtime": _framing(stack, OnnxEngine(path, PROVIDERS), image),
        f"{path.stem}, OpenVINO": _mapping(image, layout, compiled),
    }


def _tiling_alone(
    image: NDArray[np.uint8],
    ours: tiling.TileGrid,
    crops: tiling.TileGrid,
    run: Inference,
    threshold_u8: int,
) -> dict[str, Callable[[], Map | Objects]]:
    """The methods of `BaselinesResult.tiling`; SAHI's first run asks `run`, later ones remember."""
    our_maps, crop_maps = (_run(tiling.split(image, layout), run) for layout in (ours, crops))
    maps: dict[tuple[int, ...], Map] = {}
    given: dict[tuple[int, ...], list[ObjectPrediction]] = {}

    def find(piece: NDArray[np.uint8], corner: list[int], hw: list[int]) -> list[ObjectPrediction]:
        key = tuple(corner)
        if key not in maps:
            maps[key] = run(piece[None])[0, 0]
        return _objects(maps[key], threshold_u8, corner, hw)

    def tell(piece: NDArray[np.uint8], corner: list[int], hw: list[int]) -> list[ObjectPrediction]:
        key = tuple(corner)
        if key not in given:
            given[key] = find(piece, corner, hw)
        return given[key]

    def cut_and_stitch(layout: tiling.TileGrid, maps: NDArray[np.uint8]) -> Map:
        tiling.split(image, layout)
        return tiling.stitch(maps, layout)

    return {
        OURS: lambda: cut_and_stitch(ours, our_maps),
        "ours, on the crops": lambda: cut_and_stitch(crops, crop_maps),
        SAHI: lambda: _sahi(image, crops, tell),
        OUR_PARTICLES: lambda: _particles(cut_and_stitch(ours, our_maps), threshold_u8),
        "SAHI, and the objects of the maps": lambda: _sahi(image, crops, find),
    }


def _rows(
    methods: Mapping[str, Callable[[], Map | Objects]], limit_s: float, threshold_u8: int
) -> list[BaselineRow]:
    """Every method once for its output, then timed; the one named `OURS` is the reference."""
    outputs = {name: method() for name, method in methods.items()}
    times = interleaved(methods, limit_s)
    reference = outputs[OURS]
    assert isinstance(reference, np.ndarray)
    return [
        _row(name, times[name], times[OURS], output, reference, threshold_u8)
        for name, output in outputs.items()
    ]


def _row(
    name: str,
    times: Samples,
    ours: Samples,
    output: Map | Objects,
    reference: Map,
    threshold_u8: int,
) -> BaselineRow:
    difference = overlap = None
    if isinstance(output, np.ndarray):
        difference = int(max_abs_difference(output, reference))
        overlap = round(mask_iou(output >= threshold_u8, reference >= threshold_u8), 5)
        output = _particles(output, threshold_u8)
    ratio = round(times.median / ours.median, 3)
    return BaselineRow(name, times.as_json(), ratio, difference, overlap, len(output))


def _size(layout: tiling.TileGrid) -> str:
    return f"{layout.count} x {'x'.join(map(str, layout.tile_hw))}"


def _run(tiles: NDArray[np.uint8], run: Inference) -> NDArray[np.uint8]:
    """Tile maps (N,1,h,w) of `tiles` (N,h,w,3), run one by one."""
    return np.concatenate([run(tile[None]) for tile in tiles])


def _map(image: NDArray[np.uint8], layout: tiling.TileGrid, run: Inference) -> Map:
    return tiling.stitch(_run(tiling.split(image, layout), run), layout)


def _mapping(
    image: NDArray[np.uint8], layout: tiling.TileGrid, run: Inference
) -> Callable[[], Map]:
    return lambda: _map(image, layout, run)


def _particles(found: Map, threshold_u8: int) -> list[Particle]:
    return find_particles(found, particle_mask(found, threshold_u8))


def _openvino(path: Path, tile_hw: tuple[int, int]) -> dict[str, Inference]:
    """One tile of that size in OpenVINO, by precision: float32, and what it chooses itself."""
    core = openvino.Core()
    network = core.read_model(path)
    network.reshape({INPUT: [1, *tile_hw, 3]})
    runs: dict[str, Inference] = {}
    # OpenVINO gives the thread that compiles a stack for signals, and takes back those of several
    # networks in the wrong order: in the main thread, Ctrl-C would then be a segmentation fault.
    for chosen in ({"INFERENCE_PRECISION_HINT": "f32"}, {}):
        with ThreadPoolExecutor(1) as other_thread:
            compiled = other_thread.submit(core.compile_model, network, "CPU", chosen).result()
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        runs.setdefault(precision, _opened(compiled))
    return runs


def _opened(compiled: openvino.CompiledModel) -> Inference:
    return lambda tiles: np.asarray(compiled({INPUT: tiles})[OUTPUT], np.uint8)


class _Slices(DetectionModel):
    """What SAHI calls with each slice."""

    def __init__(self, find: Finder) -> None:
        self._find = find
        super().__init__(load_at_init=False)

    def set_device(self, device: str | None = None) -> None:
        # SAHI's own would hide the GPU from this process for good.
        self.device = "cpu"

    def perform_inference(self, image: NDArray[np.uint8]) -> None:
        self._original_predictions = image

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: Any = None, full_shape_list: Any = None
    ) -> None:
        # SAHI runs slice by slice unless a model takes batches.
        (corner,), (frame_hw,) = shift_amount_list, full_shape_list
        found = self._find(self._original_predictions, corner, frame_hw)
        self._object_prediction_list_per_image = [found]


def _sahi(image: NDArray[np.uint8], crops: tiling.TileGrid, find: Finder) -> list[ObjectPrediction]:
    """The objects of a frame by SAHI, as many slices as `crops`."""
    height, width = crops.tile_hw
    ratios = [
        # A half more, since SAHI rounds the overlap in px down.
        (axis.tile - max(right - left for left, right in pairwise(axis.starts)) + 0.5) / axis.tile
        for axis in (crops.rows, crops.columns)
    ]
    result = get_sliced_prediction(
        image,
        _Slices(find),
        slice_height=height,
        slice_width=width,
        overlap_height_ratio=ratios[0],
        overlap_width_ratio=ratios[1],
        perform_standard_pred=False,
        verbose=0,
    )
    found: list[ObjectPrediction] = result.object_prediction_list
    return found


def _objects(
    found: Map, threshold_u8: int, corner: list[int], frame_hw: list[int]
) -> list[ObjectPrediction]:
    """The 8-connected pixels of a slice's map from `threshold_u8` on, as SAHI wants them.

    A polygon has three points: of a smaller object, only the box is told.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(particle_mask(found, threshold_u8))
    objects = []
    for label in range(1, count):
        left, top, width, height = boxes[label, :4].tolist()
        there = slice(top, top + height), slice(left, left + width)
        own = labels[there] == label
        (outline, *_), _ = cv2.findContours(
            own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        objects.append(
            ObjectPrediction(
                bbox=[left, top, left + width, top + height],
                category_id=0,
                segmentation=[outline.ravel().tolist()] if len(outline) > 2 else None,
                score=float(found[there][own].mean()) / 255,
                shift_amount=corner,
                full_shape=frame_hw,
            )
        )
    return objects
