"""Engines on CUDA streams: the whole way of a frame on a driver for the CPU, errors for real."""

import contextlib
import ctypes
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import edge.engines.tensorrt as backend
from edge import tiling
from edge.cli import edge_run
from edge.cuda import open_cuda
from edge.cuda.cuda import Cuda, PitchedPointer
from edge.engines import open_engine, shipped
from edge.engines.engine import EngineInfo
from edge.engines.execution_slot import _batch, execution_slot
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, read_sidecar, sha256, sidecar_path
from edge.engines.tensorrt import CudaSession, TensorRtEngine
from edge.engines.tiled import TiledSession
from edge.engines.variant import TensorRtVariant
from edge.errors import BadArgumentError, EdgeError
from edge.gpu import Gpu, find_gpu
from edge.model import load_model
from edge.particles import ParticleFilter
from edge.stage_timer import StageTimer
from tests.conftest import write_rgb
from tests.driver import succeeds
from tests.edge import stand_in
from train.data.synth import scene

TILE, BATCH = (64, 48), (1, 2, 4)


def written(folder: Path, **behaviour: bool | int) -> Path:
    """An engine of the stand-in's, with a sidecar that fits it and the driver's device."""
    path = folder / "quarter.trt"
    path.write_bytes(stand_in.plan(shipped()["quarter_mrunet"], TILE, BATCH, **behaviour))
    Sidecar(
        info=open_engine("quarter_mrunet", backend="onnxruntime").info,
        precision="fp16",
        engine_sha256=sha256(path),
        onnx_sha256="",
        checkpoint_sha256=None,
        profile=Profile(TILE, BATCH),
        variant="rtx",
        version=stand_in.__version__,
        device="CPU",
        compute_capabilities=("8.7",),
        verification={},
    ).write(sidecar_path(path))
    return path


def use_stand_in() -> None:
    """Let the backend find the stand-in where it looks for TensorRT-RTX."""
    backend.open_variant = lambda name: TensorRtVariant(name, sys.modules[stand_in.__name__])


def photo(seed: int, height: int, width: int) -> np.ndarray:
    return scene(np.random.default_rng(seed), height, width, particles=20).image


def expected(info: EngineInfo, image: np.ndarray) -> np.ndarray:
    """The same tiles through ONNX Runtime, split and stitched on the host."""
    layout = tiling.fixed_tile_grid(image.shape[:2], TILE, multiple=info.multiple, halo=info.halo)
    session = TiledSession(
        layout, open_engine("quarter_mrunet", backend="onnxruntime").run, StageTimer()
    )
    session.submit(image)
    return session.result()


def frames_are_those_of_onnx_runtime(folder: str) -> None:
    """Bit for bit: padded and whole frames, several in flight, captured as graphs and not."""
    use_stand_in()
    with contextlib.closing(TensorRtEngine(written(Path(folder)))) as engine:
        for height, width in ((160, 200), (64, 48), (63, 131), (30, 40)):
            images = [photo(seed, height, width) for seed in range(5)]
            with engine.session((height, width), 2, StageTimer()) as session:
                found = []
                for number, image in enumerate(images):
                    session.submit(image)
                    if number:
                        found.append(session.result())
                found.append(session.result())
                # From its second frame on, a slot launches a graph.
                assert session.captured
            for image, probability in zip(images, found, strict=True):
                assert np.array_equal(probability, expected(engine.info, image))
                assert probability.std() > 0


def tiles_are_those_of_onnx_runtime(folder: str) -> None:
    use_stand_in()
    tiles = np.stack([photo(seed, *TILE) for seed in range(3)])
    with contextlib.closing(open_engine(str(written(Path(folder))))) as engine:
        reference = open_engine("quarter_mrunet", backend="onnxruntime")
        assert np.array_equal(engine.run(tiles), reference.run(tiles))


def another_thread_may_run_it(folder: str) -> None:
    use_stand_in()
    found: list[np.ndarray] = []
    image = photo(0, 100, 100)

    def work() -> None:
        with engine.session((100, 100), 1, StageTimer()) as session:
            session.submit(image)
            found.append(session.result())

    with contextlib.closing(TensorRtEngine(written(Path(folder)))) as engine:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert np.array_equal(found[0], expected(engine.info, image))


def threads_take_turns_with_a_model(folder: str) -> None:
    """A frame of the same size each: the session that one thread opened, another one uses, and a
    third closes."""
    use_stand_in()
    image = photo(0, 100, 100)
    model = load_model(written(Path(folder)))
    found: list[np.ndarray] = []
    for work in (
        lambda: found.append(model(image).probability),
        lambda: found.append(model(image).probability),
        model.close,
    ):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 2
    for probability in found:
        assert np.array_equal(probability, expected(model.engine.info, image))


def maps_of(engine: TensorRtEngine, count: int, in_flight: int) -> list[np.ndarray]:
    """Of frames as small as a tile."""
    found = []
    with engine.session(TILE, in_flight, StageTimer()) as session:
        for number in range(count):
            session.submit(photo(number, *TILE))
            if number >= in_flight - 1:
                found.append(session.result())
        for _ in range(in_flight - 1):
            found.append(session.result())
    return found


def are_expected(info: EngineInfo, maps: list[np.ndarray]) -> bool:
    return all(np.array_equal(m, expected(info, photo(i, *TILE))) for i, m in enumerate(maps))


def each_frame_in_flight_has_its_profile(folder: str) -> None:
    """Where contexts do not share one, and again once the session has ended."""
    use_stand_in()
    path = written(Path(folder), profiles=2, shared=False)
    with contextlib.closing(TensorRtEngine(path)) as engine:
        for _ in range(2):
            assert are_expected(engine.info, maps_of(engine, 5, 2))
        with (
            engine.session(TILE, 2, StageTimer()),
            pytest.raises(EdgeError, match="2 frames in flight, which are open already"),
            engine.session((100, 100), 2, StageTimer()),
        ):
            pass


def a_profile_too_few_is_told(folder: str) -> None:
    use_stand_in()
    with contextlib.closing(TensorRtEngine(written(Path(folder), shared=False))) as engine:
        with (
            pytest.raises(EdgeError, match=r"Profile 0 has been chosen by another.*export-trt"),
            engine.session(TILE, 2, StageTimer()),
        ):
            pass
        assert are_expected(engine.info, maps_of(engine, 3, 1))


def graphs_are_of_specialised_kernels(folder: str) -> None:
    """Not of those that TensorRT-RTX runs until it has compiled better ones."""
    use_stand_in()
    with contextlib.closing(TensorRtEngine(written(Path(folder)))) as engine:
        assert are_expected(engine.info, maps_of(engine, 8, 2))
    assert set(stand_in.kernels_run[4:]) == {"specialised"}


def no_capture_where_memory_is_allocated(folder: str) -> None:
    use_stand_in()
    with contextlib.closing(TensorRtEngine(written(Path(folder), allocates=True))) as engine:
        assert are_expected(engine.info, maps_of(engine, 5, 2))
    assert ctypes.CDLL("libcuda.so.1").driverInvalidated() == 0


def kernels_are_compiled_once(folder: str) -> None:
    """For all starts: not with a damaged cache, of another engine, or where none can be kept."""
    use_stand_in()
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("edge").addHandler(handler)
    path = written(Path(folder))

    def compiled() -> int:
        stand_in.compiled.clear()
        with contextlib.closing(TensorRtEngine(path)) as engine:
            assert are_expected(engine.info, maps_of(engine, 3, 1))
        return len(stand_in.compiled)

    assert [compiled(), compiled()] == [1, 0]
    (cache,) = (Path(os.environ["XDG_CACHE_HOME"]) / "microplastic-edge").iterdir()
    for damaged in (b"", b"no cache", b'["0.9", []]'):
        assert told == []
        cache.write_bytes(damaged)
        assert [compiled(), compiled()] == [1, 0]
        assert [str(cache) in line and "made anew" in line for line in told] == [True] * bool(
            damaged
        )
        told.clear()
    written(Path(folder), profiles=2)
    assert [compiled(), compiled()] == [1, 0]
    file = Path(folder) / "file"
    file.touch()
    os.environ["XDG_CACHE_HOME"] = str(file)
    assert [compiled(), compiled()] == [1, 1]
    assert "cannot be kept" in told[0]


def frames_under_way_are_given_back(folder: str) -> None:
    """One is never finished: its memory must not be freed while the device still works on it."""
    use_stand_in()
    with (
        contextlib.closing(TensorRtEngine(written(Path(folder)))) as engine,
        engine.session((100, 100), 2, StageTimer()) as session,
    ):
        for seed in range(4):
            session.submit(photo(seed, 100, 100))
            if seed:
                session.result()


def a_failure_on_the_device_is_told(folder: str) -> None:
    use_stand_in()
    with (
        contextlib.suppress(EdgeError),  # nothing can be freed any more, which is told again
        contextlib.closing(TensorRtEngine(written(Path(folder)))) as engine,
        engine.session((100, 100), 1, StageTimer()) as session,
    ):
        session.submit(photo(0, 100, 100))
        stream = ctypes.c_void_p(session._busy[0]._stream.handle)
        with engine._cuda.current():
            ctypes.CDLL("libcuda.so.1").driverFail(stream, 719)
        with pytest.raises(EdgeError, match="CUDA_ERROR_LAUNCH_FAILED"):
            session.result()


def a_device_without_room_is_told(folder: str) -> None:
    use_stand_in()
    os.environ["DRIVER_MEMORY"] = "30000"
    with (
        contextlib.closing(TensorRtEngine(written(Path(folder)))) as engine,
        pytest.raises(EdgeError, match="out of memory"),
        engine.session((100, 100), 2, StageTimer()),
    ):
        pass


def an_engine_without_a_sidecar_is_run_if_trusted(folder: str) -> None:
    use_stand_in()
    path = written(Path(folder))
    sidecar_path(path).unlink()
    with pytest.raises(EdgeError, match="only if you trust it: --trust-engine"):
        TensorRtEngine(path)
    with (
        load_model(path, trust=True) as model,
        pytest.raises(BadArgumentError, match="its threshold is not known; give one"),
    ):
        model.particle_filter()
    engine = TensorRtEngine(path, trust=True)
    with contextlib.closing(engine):
        assert engine.info.halo == 16
        assert engine.info.multiple == 16
        image = photo(0, 200, 100)
        with engine.session((200, 100), 1, StageTimer()) as session:
            session.submit(image)
            assert np.array_equal(session.result(), expected(engine.info, image))


def a_damaged_engine_is_refused(folder: str) -> None:
    use_stand_in()
    path = written(Path(folder))
    path.write_bytes(b"no plan")
    with pytest.raises(EdgeError, match="is not the file that"):
        TensorRtEngine(path)
    with pytest.raises(
        EdgeError, match=r"magic tag does not match.*damaged, or was built elsewhere"
    ):
        TensorRtEngine(path, trust=True)


def another_profile_is_refused(folder: str) -> None:
    use_stand_in()
    path = written(Path(folder))
    sidecar = read_sidecar(path)
    assert sidecar.profile
    other = Profile(sidecar.profile.tile_hw, (1, 1, 1))
    replace(sidecar, profile=other).write(sidecar_path(path))
    with pytest.raises(EdgeError, match="describes another profile; write it again"):
        TensorRtEngine(path)


def a_whole_run(folder: str) -> None:
    """edge-run over photos of two sizes: masks are those of ONNX Runtime, and nothing is left."""
    use_stand_in()
    path = written(Path(folder))
    photos = [photo(seed, 120 + 40 * (seed > 2), 90) for seed in range(6)]
    (Path(folder) / "photos").mkdir()
    for seed, image in enumerate(photos):
        write_rgb(Path(folder) / "photos" / f"{seed}.png", image)
    out = Path(folder) / "out"
    arguments = ["--source", str(Path(folder) / "photos"), "--engine", str(path), "--out", str(out)]
    result = CliRunner().invoke(edge_run, [*arguments, "--cuda", "cuda-python"])
    assert result.exit_code == 0, result.output
    assert "quarter_mrunet on TensorRT-RTX 1.0, cuda-bindings" in result.output
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == 6
    info = open_engine("quarter_mrunet", backend="onnxruntime").info
    for mask, image in zip(masks, photos, strict=True):
        found = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(found, ParticleFilter.of(info).mask(expected(info, image)))


class _RedChannel:
    """Contexts of a network whose map is the red channel: nothing but a 2-D copy."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda

    @contextlib.contextmanager
    def context(
        self, _: Cuda, __: object, shape: tuple[int, ...], addresses: dict[str, int]
    ) -> Iterator["_RedChannel"]:
        context = _RedChannel(self._cuda)
        context._at, context._pixels = addresses, shape[0] * shape[1] * shape[2]
        yield context

    def keep_kernels(self) -> None:
        pass

    def execute_async_v3(self, handle: int) -> bool:
        stream = SimpleNamespace(handle=handle)
        tiles, maps = (
            PitchedPointer(self._at["image"], 3),
            PitchedPointer(self._at["probability"], 1),
        )
        self._cuda.copy(maps, tiles, 1, self._pixels, stream)
        return True


def frames_in_flight_keep_apart(_: str) -> None:
    """Two slots, each with its stream and graph, give back every frame's own red channel."""
    profile, frame_hw = Profile((64, 64), (1, 1, 2)), (97, 131)
    images = [photo(seed, *frame_hw) for seed in range(3)]
    with open_cuda("cuda-python") as cuda, cuda.current(), contextlib.ExitStack() as opened:
        grid = tiling.fixed_tile_grid(frame_hw, profile.tile_hw, multiple=8, halo=16)
        slots = [
            opened.enter_context(execution_slot(cuda, _RedChannel(cuda), profile, grid))
            for _ in range(2)
        ]
        session = CudaSession(cuda, slots, StageTimer())
        session.submit(images[0])
        for number in range(1, 12):
            session.submit(images[number % 3])
            assert np.array_equal(session.result(), images[(number - 1) % 3][:, :, 0])
        session.result()
        assert session.captured


@pytest.mark.skipif(find_gpu() is None, reason="there is no GPU")
def test_frames_in_flight_on_a_gpu() -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    frames_in_flight_keep_apart("")


# Of contexts and kernels, whatever memory there is.
RULES = [
    threads_take_turns_with_a_model,
    each_frame_in_flight_has_its_profile,
    a_profile_too_few_is_told,
    graphs_are_of_specialised_kernels,
    no_capture_where_memory_is_allocated,
    kernels_are_compiled_once,
]
SCENARIOS = [
    frames_in_flight_keep_apart,
    a_whole_run,
    frames_are_those_of_onnx_runtime,
    tiles_are_those_of_onnx_runtime,
    another_thread_may_run_it,
    frames_under_way_are_given_back,
    a_failure_on_the_device_is_told,
    a_device_without_room_is_told,
    an_engine_without_a_sidecar_is_run_if_trusted,
    a_damaged_engine_is_refused,
    another_profile_is_refused,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("integrated", ["0", "1"], ids=["discrete", "integrated"])
def test_on_the_driver(scenario, integrated: str, fake_driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    settings = {"DRIVER_INTEGRATED": integrated, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    succeeds(scenario, str(tmp_path), fake_driver, **settings)


@pytest.mark.parametrize("scenario", RULES, ids=lambda scenario: scenario.__name__)
def test_rules_of_tensorrt(scenario, fake_driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    succeeds(scenario, str(tmp_path), fake_driver, XDG_CACHE_HOME=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("count", "allowed", "batch"),
    [
        (9, (1, 3, 4), 3),
        (16, (1, 4, 4), 4),
        (10, (1, 4, 4), 2),
        (7, (2, 4, 4), 4),
        (1, (1, 4, 4), 1),
        (1, (4, 4, 4), 4),
    ],
)
def test_batches_that_fit_the_tiles(count: int, allowed: tuple[int, int, int], batch: int) -> None:
    assert _batch(count, allowed) == batch


@pytest.mark.parametrize(
    ("change", "gpu", "words"),
    [
        (
            {"version": "9.9"},
            Gpu("Orin", "8.7"),
            "was built by TensorRT-RTX 9.9, which TensorRT-RTX",
        ),
        ({"variant": "onnx"}, Gpu("Orin", "8.7"), "describes no TensorRT engine"),
        ({"compute_capabilities": ("8.6",)}, Gpu("Orin", "8.7"), "8.6, and Orin has 8.7; write it"),
        ({}, None, "needs a GPU of compute capability 8.7, and this machine has none"),
        (
            {"variant": "native"},
            Gpu("Orin", "8.7"),
            "was built by TensorRT 1.0; TensorRT cannot be",
        ),
    ],
)
def test_engines_of_other_machines(
    change: dict[str, object],
    gpu: Gpu | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path)
    replace(read_sidecar(path), **change).write(sidecar_path(path))
    monkeypatch.setattr(backend, "find_gpu", lambda: gpu)
    if change.get("variant") != "native":
        monkeypatch.setattr(backend, "open_variant", lambda name: TensorRtVariant(name, stand_in))
    with pytest.raises(EdgeError, match=words):
        TensorRtEngine(path)


def test_a_real_engine_gets_as_far_as_asking_for_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past our own checks, TensorRT-RTX itself says what is missing; its words are in ours."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    if backend.find_gpu():
        pytest.skip("this machine has a GPU")
    from export.build import build_engine
    from export.graph import read_graph

    variant = TensorRtVariant("rtx", rtx)
    model, _ = read_graph(shipped()["quarter_mrunet"])
    path = tmp_path / "quarter.trt"
    path.write_bytes(build_engine(model, variant, Profile(TILE, BATCH), ["8.6"]).engine)
    with (
        pytest.raises(EdgeError, match=r"TensorRT-RTX .* cannot load it .*CUDA"),
        backend.load_engine(path, variant),
    ):
        pass


def test_trust_is_for_engines_that_changed(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(EdgeError, match="only if you trust it: --trust-engine"):
        read_sidecar(path)
    assert read_sidecar(path, trust=True).engine_sha256 != sha256(path)
    assert json.loads(sidecar_path(path).read_text(encoding="utf-8"))["schema"] == 2
