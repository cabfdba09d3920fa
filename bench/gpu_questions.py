"""What only a device can tell of the CUDA and TensorRT code, a question each; see docs/gpu.md."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.networks import FRAME_HW
from bench.verdict import Answer, Verdict, ask
from edge.cuda import ADAPTERS, open_cuda
from edge.cuda.cuda import PitchedPointer
from edge.engines.cache import cache_folder
from edge.engines.engine import Engine, infer
from edge.engines.onnx import PROVIDERS, OnnxEngine
from edge.engines.tensorrt import TensorRtEngine
from edge.errors import MissingExtraError
from edge.gpu import find_gpu
from edge.model import Model
from edge.nvml import Card
from edge.stage_timer import StageTimer

Images = Sequence[NDArray[np.uint8]]

# Bytes of a row, rows, and pitches that cuMemAllocPitch would not choose: those of frame and tile.
ROW, ROWS, PITCHES = 1587, 529, (4320, 1587, 4321, 1589)
FRAMES = 60
# A second start must be this much faster, or the first needed less than `FAST_S`.
FASTER, FAST_S = 0.8, 1.0
# Graphs of a later session may be this much faster: more, and the first captured slow kernels.
SLOWER_GRAPH = 1.15


def about_cuda() -> list[Verdict]:
    """Without TensorRT."""
    copied = (ask(f"copies by {name}", functools.partial(copies, name)) for name in ADAPTERS)
    return [*copied, ask("card", card)]


def about_engine(path: Path, images: Images) -> list[Verdict]:
    """With a .trt of this machine; where it cannot be loaded, that is all there is."""
    loaded = ask("engine", functools.partial(loads, path))
    if not loaded.ok:
        return [loaded]
    questions = {
        "second start": second_start,
        "two frames in flight": in_flight,
        "CUDA graph": captured,
        "kernels of the graph": graph_speed,
        "threads": threads,
    }
    return [loaded, *(ask(name, functools.partial(question, path, images))
                      for name, question in questions.items())]  # fmt: skip


def copies(adapter: str) -> Answer:
    """May 2-D copies go between any pitches, also within the device, and in a graph?"""
    try:
        opened = open_cuda(adapter)
    except MissingExtraError:
        return None, "not installed"
    size = ROWS * max(PITCHES)
    with (
        opened as cuda,
        cuda.current(),
        cuda.stream() as stream,
        cuda.host_memory(size) as host,
        cuda.device_memory(size) as first,
        cuda.device_memory(size) as second,
        cuda.host_memory(size) as back,
    ):
        starts = (host.pointer, first, second, back.pointer)
        stops = [PitchedPointer(s, p) for s, p in zip(starts, PITCHES, strict=True)]

        def queue() -> None:
            for source, target in itertools.pairwise(stops):
                cuda.copy(target, source, ROW, ROWS, stream)

        def exact(start: Callable[[], None]) -> bool:
            host.array[:] = rng.integers(0, 256, size, np.uint8)
            start()
            stream.synchronize()
            sent, got = (
                memory.array[: ROWS * pitch].reshape(ROWS, pitch)[:, :ROW]
                for memory, pitch in ((host, PITCHES[0]), (back, PITCHES[-1]))
            )
            return bool(np.array_equal(sent, got))

        rng = np.random.default_rng(0)
        found = {"directly": exact(queue)}
        if capture := cuda.capture(stream, queue):
            with capture as graph:
                found["in a graph"] = exact(lambda: graph.launch(stream))
        words = ", ".join(f"{how} {'' if well else 'NOT '}exact" for how, well in found.items())
        return all(found.values()), f"{words}, {cuda.title}"


def card() -> Answer:
    """Does NVML's card of that PCI address have CUDA's name?"""
    gpu, found = find_gpu(), Card.find()
    if gpu is None or found is None:
        return None, "no NVML here"
    name = found.read().name
    return name == gpu.name, f"{name}, {gpu.name} in CUDA"


def loads(path: Path) -> Answer:
    """Does TensorRT load the engine that it built here, and with which bindings?"""
    with _opened(path) as engine:
        return True, engine.device


def second_start(path: Path, images: Images) -> Answer:
    """Does the second start find what the first compiled?"""
    first, second = (
        _first_map_s(functools.partial(TensorRtEngine, path), images[0]) for _ in range(2)
    )
    found = f"first map {first:.2f} s after the start, {second:.2f} s at the second"
    if not list(cache_folder().glob("*.kernels")):
        return None, f"{found}; this TensorRT compiles nothing when it starts"
    return second < max(FASTER * first, FAST_S), found


def in_flight(path: Path, images: Images) -> Answer:
    """Do two contexts run at a time, and keep apart?"""
    with _opened(path) as engine:
        one, two = (_maps(engine, images, 12, count) for count in (1, 2))
    differing = sum(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    return not differing, f"{differing} of {len(one)} maps differ from those of one in flight"


def captured(path: Path, images: Images) -> Answer:
    """Is a graph captured, with the map that its work gives directly?"""
    with _opened(path) as engine, engine.session(FRAME_HW, 1, StageTimer()) as session:
        direct = infer(session, images[0])
        later = [infer(session, images[0]) for _ in range(3)]
        if not session.captured:
            graphs = "pycuda" not in engine.device
            return (False if graphs else None), f"no graph in {engine.device}"
    differing = sum(not np.array_equal(direct, found) for found in later)
    return not differing, f"captured; {differing} of {len(later)} maps differ from the direct one"


def graph_speed(path: Path, images: Images) -> Answer:
    """Has the graph that is captured first the kernels that one captured late has?"""
    with _opened(path) as engine:
        first, late = (_median_ms(engine, images) for _ in range(2))
    found = f"{first:.2f} ms/frame, {late:.2f} in a session opened after {FRAMES} frames"
    return first < SLOWER_GRAPH * late, found


def threads(path: Path, images: Images) -> Answer:
    """May threads take turns with a model, and another one close it?"""
    model = Model(TensorRtEngine(path), path)
    found: list[NDArray[np.uint8]] = []

    def infer_once() -> None:
        found.append(model(images[0], threshold=0.5).probability)

    for work in (infer_once, infer_once, model.close):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    equal = len(found) == 2 and np.array_equal(found[0], found[1])
    return equal, f"{len(found)} maps of 2 threads, {'equal' if equal else 'NOT equal'}"


def provider(graph: Path, image: NDArray[np.uint8]) -> Answer:
    """Does ONNX Runtime's TensorRT provider find its engine again?"""
    name = PROVIDERS[0]
    if name not in onnxruntime.get_available_providers():
        return None, f"ONNX Runtime {onnxruntime.__version__} has no {name}"
    opener = functools.partial(OnnxEngine, graph, PROVIDERS[:1])
    first, second = (_first_map_s(opener, image) for _ in range(2))
    kept = len(list(cache_folder().glob("*.onnxruntime/*.engine")))
    found = f"first map after {first:.1f} s, {second:.1f} s at the second start; {kept} engines"
    return kept > 0 and second < max(FASTER * first, FAST_S), found


def timing_cache(first_s: float, second_s: float) -> Answer:
    """Is the second build faster than the first, given how long they took?"""
    found = f"built in {first_s:.1f} s, then in {second_s:.1f} s"
    if not list(cache_folder().glob("*.timings")):
        return None, f"{found}; this TensorRT measures nothing while it builds"
    return second_s < max(FASTER * first_s, FAST_S), found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[TensorRtEngine]:
    with contextlib.closing(TensorRtEngine(path)) as engine:
        yield engine


def _first_map_s(opener: Callable[[], Engine], image: NDArray[np.uint8]) -> float:
    """Seconds from opening an engine to its first map."""
    start = time.perf_counter()
    with (
        contextlib.closing(opener()) as engine,
        engine.session(FRAME_HW, 1, StageTimer()) as session,
    ):
        infer(session, image)
        return time.perf_counter() - start


def _maps(engine: Engine, images: Images, count: int, in_flight: int) -> list[NDArray[np.uint8]]:
    found = []
    with engine.session(FRAME_HW, in_flight, StageTimer()) as session:
        for number in range(count + in_flight - 1):
            if number < count:
                session.submit(images[number % len(images)])
            if number >= in_flight - 1:
                found.append(session.result())
    return found


def _median_ms(engine: Engine, images: Images) -> float:
    timer = StageTimer()
    with engine.session(FRAME_HW, 1, StageTimer()) as session:
        for image in images:
            infer(session, image)
        for number in range(FRAMES):
            with timer.stage("frame"):
                infer(session, images[number % len(images)])
    return timer.milliseconds()["frame"]["p50"]
