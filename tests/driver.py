"""Scenarios on a CUDA driver that works on the CPU (driver.c).

The driver is found by its path when a process starts, so each scenario runs in a process of its
own; the driver tells on stderr what was not freed, or freed too late.
"""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PLAY = """
import os, sys
sys.setdlopenflags(os.RTLD_LAZY)  # pycuda names more of the driver than driver.c has
import {module}
{module}.{scenario}({argument!r})
"""


def play(
    scenario: Callable[[str], None], argument: str, library_path: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A scenario in a process of its own that finds libcuda.so.1 in `library_path`."""
    file = Path(inspect.getfile(scenario))
    code = PLAY.format(module=file.stem, scenario=scenario.__name__, argument=argument)
    environment = {"XDG_CACHE_HOME": str(library_path / "cache")} | environment
    environment |= {
        "LD_LIBRARY_PATH": str(library_path),
        "PYTHONPATH": os.pathsep.join([str(file.parent), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def succeeds(
    scenario: Callable[[str], None], argument: str, library_path: Path, **environment: str
) -> None:
    """The scenario ends well and leaves nothing behind."""
    done = play(scenario, argument, library_path, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
