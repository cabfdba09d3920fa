"""The user's cache folder: what is slow to make again, such as compiled kernels and timings.

Nothing in it is needed: what is missing, damaged or of another machine is made anew, and a run does
without where nothing can be kept. The whole folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

from edge.engines.sidecar import sha256
from edge.files import atomic_write
from edge.gpu import find_gpu

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/microplastic-edge, by default in ~/.cache; it may not exist."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder, "microplastic-edge")


def cache_file(name: str, suffix: str, *key: str) -> Path:
    """The file of that name for exactly this `key`: all that its content depends on."""
    plain = re.sub(r"[^\w.]+", "-", name)
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return cache_folder() / f"{plain}-{digest}.{suffix}"


def read_cache(path: Path) -> bytes:
    """The content of a file in the cache; empty where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        _log.warning("%s: cannot be read (%s), and is made anew", path, error.strerror)
        return b""


def warn_ignored(path: Path, by: str) -> None:
    """Log that `by` does not take what `read_cache` returned."""
    _log.warning("%s: %s does not take it (damaged, or of another machine); made anew", path, by)


def write_cache(path: Path, content: bytes) -> None:
    """Keep `content`, whole or not at all; where that fails, it is logged and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        _log.warning("%s: cannot be kept (%s)", path, error.strerror)


def tensorrt_provider_options(model: Path) -> dict[str, str]:
    """Options with which ONNX Runtime's TensorRT provider keeps the engines that it builds.

    It tells models apart by file name and structure, not by weights, and GPUs by compute capability
    alone: so each model and GPU has a folder of its own.

    Source: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    gpu = find_gpu()
    folder = cache_file(model.stem, "onnxruntime", sha256(model), gpu.name if gpu else "")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("%s: cannot be made (%s)", folder, error.strerror)
        return {}
    if not os.access(folder, os.W_OK):
        _log.warning("%s: cannot be written", folder)
        return {}
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }
