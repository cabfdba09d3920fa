"""find_gpu against a driver of six functions, as machines without a GPU have none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7 + ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 7 ? "Orin" : "another", length);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = device != 7 ? -1 : attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
    return 0;
}
"""
ASK = "from edge.gpu import find_gpu; print(find_gpu())"


def ask(library_path: Path) -> str:
    environment = os.environ | {"LD_LIBRARY_PATH": str(library_path)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize(
    ("init", "count", "expected"),
    [
        (0, 2, "Gpu(name='Orin', compute_capability='8.7')"),
        (0, 0, "None"),
        (100, 1, "None"),  # CUDA_ERROR_NO_DEVICE
    ],
)
def test_the_first_device(init: int, count: int, expected: str, tmp_path: Path) -> None:
    source = tmp_path / "driver.c"
    source.write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-DINIT={init}", f"-DCOUNT={count}", source, "-o", library],
        check=True,
    )
    assert ask(tmp_path) == expected


def test_a_library_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("no library")
    assert ask(tmp_path) == "None"
