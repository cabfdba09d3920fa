import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


def test_in_a_process_of_its_own() -> None:
    """After OpenVINO and torch ran in one process, a signal can end it by a segmentation fault."""
    for package in ("openvino", "sahi"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: it needs the extra 'peers'")
    checks = str(Path(__file__).with_name("peers_checks.py"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", checks], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
