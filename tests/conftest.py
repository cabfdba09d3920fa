"""Small things that many tests use."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from train.data.synth import Scene, scene, write_photos

# A suite that runs in the background ignores it, and so does every command it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where compiled networks are kept meanwhile, also by other processes."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def write_rgb(path: Path, image: NDArray[np.uint8]) -> Path:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture(scope="session")
def sand() -> Scene:
    """A rendered scene of 160x200 px with a dozen particles."""
    return scene(np.random.default_rng(29), 160, 200, particles=14)


@pytest.fixture
def photo(tmp_path: Path, sand: Scene) -> Path:
    """That scene as a PNG file."""
    return write_rgb(tmp_path / "photo.png", sand.image)


@pytest.fixture(scope="session")
def rendered_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten rendered photos of 64x64 px with masks."""
    folder = tmp_path_factory.mktemp("rendered_data")
    for _ in write_photos(folder, count=10, size=64, seed=227):
        pass
    return folder


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of quarter_mrunet with random weights."""
    import torch

    from train.checkpoint import Checkpoint, Normalisation, save
    from train.models.registry import MODELS, build

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "quarter.pt"
    spec = MODELS["quarter_mrunet"]
    weights = build(spec).state_dict()
    normalisation = Normalisation((140.0, 120.0, 100.0), (30.0, 31.0, 32.0))
    training = {
        "data": "none",
        "steps": 0,
        "validation_at_threshold": dict.fromkeys(
            ("precision", "recall", "f1", "miou", "rw_f1", "rw_miou"), 0.25
        ),
    }
    save(Checkpoint(spec, normalisation, 0.4, 0.5, training, weights, min_diameter_px=1.0), path)
    return path


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the libcuda.so.1 of driver.c, to be the LD_LIBRARY_PATH of another process."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
         "-Wl,-soname,libcuda.so.1", Path(__file__).with_name("driver.c"),
         "-o", folder / "libcuda.so.1", "-lpthread", "-ldl"],
        check=True,
    )  # fmt: skip
    return folder
