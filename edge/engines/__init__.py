"""Engines by file: one backend a module, one line here."""

from __future__ import annotations

from pathlib import Path

from edge.engines.engine import Engine
from edge.engines.onnx import OnnxEngine
from edge.errors import BadArgumentError

BACKENDS = {".onnx": OnnxEngine}
WEIGHTS = Path(__file__).parent.parent / "weights"


def shipped() -> dict[str, Path]:
    """Engines that come with the package, by name."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.onnx"))}


def open_engine(name: str) -> Engine:
    """The engine at a path, or the shipped one of that name.

    Raises:
        BadArgumentError: there is no such file or name, or no backend for that kind of file.
        ToolError: the file is damaged or not ours, or its backend is not installed.
    """
    path = shipped().get(name, Path(name))
    if not path.is_file():
        raise BadArgumentError(f"{name}: no such engine file, nor one of {', '.join(shipped())}")
    if path.suffix not in BACKENDS:
        raise BadArgumentError(
            f"{name}: no backend for {path.suffix or 'such'} files, only {', '.join(BACKENDS)}"
        )
    return BACKENDS[path.suffix](path)
