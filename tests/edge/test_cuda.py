"""The adapters and the packages under them, on a CUDA driver that works on the CPU."""

import ctypes
import itertools
import re
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from edge.cuda import open_cuda
from edge.cuda.cuda import PitchedPointer
from edge.errors import EdgeError
from tests.driver import play, succeeds

PACKAGES = {"pycuda": "pycuda", "cuda-python": "cuda-bindings"}
MODULES = {"pycuda": "pycuda", "cuda-python": "cuda"}
EXTRAS = {"pycuda": "jetson", "cuda-python": "rtx"}


@pytest.fixture(params=PACKAGES)
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    try:
        version(PACKAGES[name])
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    return name


def refused(*words: str) -> AbstractContextManager[object]:
    return pytest.raises(EdgeError, match=".*".join(map(re.escape, words)))


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of it is imported already, nothing can import it any more."""
    for name in (package, *(name for name in sys.modules if name.startswith(f"{package}."))):
        monkeypatch.setitem(sys.modules, name, None)


def driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def copies(adapter: str) -> None:
    """7x20 bytes through memories of other pitches come back as they were, and nothing else."""
    with (
        open_cuda(adapter) as cuda,
        cuda.current(),
        cuda.stream() as stream,
        cuda.host_memory(300) as host,
        cuda.host_memory(300) as back,
        cuda.device_memory(500) as first,
        cuda.device_memory(400) as second,
    ):
        assert cuda.title == f"{PACKAGES[adapter]} {version(PACKAGES[adapter])}"
        assert not cuda.integrated
        assert host.device_pointer is None
        assert host.array.shape == (300,)
        assert host.array.dtype == np.uint8
        assert host.array.ctypes.data == host.pointer
        host.array[:] = np.random.default_rng(5).integers(0, 256, 300, np.uint8)
        back.array[:] = 0
        stages = [
            PitchedPointer(host.pointer + 3, 40),
            PitchedPointer(first + 9, 64),
            PitchedPointer(second, 20),
            PitchedPointer(back.pointer + 11, 31),
        ]
        for source, target in itertools.pairwise(stages):
            cuda.copy(target, source, 20, 7, stream)
        assert not back.array.any()  # queued, not done
        stream.synchronize()
        expected = np.zeros(300, np.uint8)
        for row in range(7):
            expected[11 + 31 * row :][:20] = host.array[3 + 40 * row :][:20]
        np.testing.assert_array_equal(back.array, expected)
        with refused("the GPU failed (cuMemcpy2DAsync", "invalid"):
            cuda.copy(stages[1], stages[0], 20, 9, stream)  # the ninth row leaves the host's memory


def test_copies_keep_to_their_rows(adapter: str, fake_driver: Path) -> None:
    succeeds(copies, adapter, fake_driver)


def sharing(adapter: str) -> None:
    with open_cuda(adapter) as cuda, cuda.current(), cuda.host_memory(8) as host:
        assert cuda.integrated
        assert host.device_pointer == host.pointer  # in this driver, which maps it


def test_an_integrated_device_sees_host_memory(adapter: str, fake_driver: Path) -> None:
    succeeds(sharing, adapter, fake_driver, DRIVER_INTEGRATED="1")


def graphs(adapter: str) -> None:
    """A graph does what its work does directly, each time on what is in the memory then."""

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def invert(pointer: int) -> None:
        np.ctypeslib.as_array((ctypes.c_uint8 * 6).from_address(pointer))[:] ^= 255

    with (
        open_cuda(adapter) as cuda,
        cuda.current(),
        cuda.stream() as stream,
        cuda.host_memory(12) as host,
        cuda.device_memory(6) as device,
    ):

        def work() -> None:
            cuda.copy(PitchedPointer(device, 6), PitchedPointer(host.pointer, 6), 6, 1, stream)
            handle, pointer = ctypes.c_void_p(stream.handle), ctypes.c_void_p(device)
            driver().cuLaunchHostFunc(handle, invert, pointer)
            cuda.copy(PitchedPointer(host.pointer + 6, 6), PitchedPointer(device, 6), 6, 1, stream)

        def inverted(start: Callable[[], None], value: int) -> bool:
            host.array[:6], host.array[6:] = value, 0
            start()
            assert not host.array[6:].any()
            stream.synchronize()
            return bool((host.array[6:] == 255 - value).all())

        host.array[:] = 0
        capture = cuda.capture(stream, work)
        if capture is None:
            assert adapter == "pycuda"
        else:
            stream.synchronize()
            assert not host.array.any()  # captured, not done
            with capture as graph:
                assert inverted(lambda: graph.launch(stream), 3)
                assert inverted(lambda: graph.launch(stream), 7)

        def broken(error: Exception) -> None:
            work()
            raise error

        assert cuda.capture(stream, stream.synchronize) is None  # which no capture survives
        assert cuda.capture(stream, lambda: broken(EdgeError("the engine cannot"))) is None
        if capture is not None:
            with pytest.raises(ZeroDivisionError):
                cuda.capture(stream, lambda: broken(ZeroDivisionError()))
        assert inverted(work, 9)  # the stream still works, and did none of that


def test_a_graph_is_its_work(adapter: str, fake_driver: Path) -> None:
    succeeds(graphs, adapter, fake_driver)


def too_much(adapter: str) -> None:
    with open_cuda(adapter) as cuda, cuda.current():
        with (
            cuda.device_memory(600),
            refused("out of memory (cuMemAlloc", "out of memory", "--tile or --batch"),
            cuda.device_memory(600),
        ):
            pass
        with cuda.device_memory(600):  # the first is free again
            pass


def test_a_full_device_says_what_to_do(adapter: str, fake_driver: Path) -> None:
    succeeds(too_much, adapter, fake_driver, DRIVER_MEMORY="1000")


def broken_kernel(adapter: str) -> None:
    """A failure comes at synchronize, and frees that fail after it do not hide it."""
    with (
        refused("the GPU failed (cuStreamSynchronize", "unspecified launch failure", "dmesg"),
        open_cuda(adapter) as cuda,
        cuda.current(),
        cuda.stream() as stream,
        cuda.host_memory(8),
        cuda.device_memory(8),
    ):
        launch_failed = 719
        driver().driverFail(ctypes.c_void_p(stream.handle), launch_failed)
        stream.synchronize()


def test_a_failed_kernel_is_told_first(adapter: str, fake_driver: Path) -> None:
    done = play(broken_kernel, adapter, fake_driver)
    assert done.returncode == 0, done.stderr


def threads(adapter: str) -> None:
    """Another thread works with the same memory once it is current, and not before."""
    seen: list[object] = []
    with open_cuda(adapter) as cuda:
        with refused("context"), cuda.device_memory(8):
            pass
        with cuda.current(), cuda.host_memory(8) as host, cuda.device_memory(8) as device:
            host.array[:] = 4

            def other() -> None:
                try:
                    with cuda.device_memory(8):
                        pass
                except EdgeError as error:
                    seen.append(str(error))
                with cuda.current(), cuda.stream() as stream, cuda.host_memory(8) as back:
                    cuda.copy(
                        PitchedPointer(device, 8), PitchedPointer(host.pointer, 8), 8, 1, stream
                    )
                    cuda.copy(
                        PitchedPointer(back.pointer, 8), PitchedPointer(device, 8), 8, 1, stream
                    )
                    stream.synchronize()
                    seen.append(back.array.tolist())

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            error, values = seen
            assert "context" in str(error)
            assert values == [4] * 8
        with refused("context"), cuda.stream():
            pass


def test_each_thread_attaches(adapter: str, fake_driver: Path) -> None:
    succeeds(threads, adapter, fake_driver)


def closed_elsewhere(adapter: str) -> None:
    """Another thread than the one that opened it may close it, and leaves nothing either."""
    cuda = open_cuda(adapter)
    cuda.__enter__()
    with cuda.current(), cuda.device_memory(8):
        pass
    thread = threading.Thread(target=cuda.__exit__)
    thread.start()
    thread.join()


def test_any_thread_closes_it(adapter: str, fake_driver: Path) -> None:
    succeeds(closed_elsewhere, adapter, fake_driver)


def again(adapter: str) -> None:
    """What is left when the context goes would be told each time."""
    for _ in range(3):
        with open_cuda(adapter) as cuda, cuda.current(), cuda.stream(), cuda.device_memory(8):
            pass
    with (
        pytest.raises(KeyError),
        open_cuda(adapter) as cuda,
        cuda.current(),
        cuda.stream(),
        cuda.device_memory(8),
        cuda.host_memory(8),
    ):
        raise KeyError


def test_all_is_freed_in_order(adapter: str, fake_driver: Path) -> None:
    succeeds(again, adapter, fake_driver)


def no_use(adapter: str) -> None:
    with refused("no CUDA device can be used (", "nvidia-smi"):
        open_cuda(adapter)


def test_a_machine_without_a_device(adapter: str, fake_driver: Path, tmp_path: Path) -> None:
    succeeds(no_use, adapter, fake_driver, DRIVER_DEVICES="0")
    (tmp_path / "libcuda.so.1").write_text("no library")
    succeeds(no_use, adapter, tmp_path)


def default(adapter: str) -> None:
    if adapter == "cuda-python":
        sys.modules["pycuda"] = None  # type: ignore[assignment]
    assert open_cuda().title.startswith(PACKAGES[adapter])


def test_the_first_installed_one_is_taken(adapter: str, fake_driver: Path) -> None:
    succeeds(default, adapter, fake_driver)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(MODULES[name], monkeypatch)
    with refused(f"needs {PACKAGES[name]}", f"pip install '.[{EXTRAS[name]}]'"):
        open_cuda(name)


def test_no_package_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES.values():
        hide(module, monkeypatch)
    with refused("pycuda or cuda-bindings", "[jetson]", "[rtx]"):
        open_cuda()
