"""The two TensorRT variants, and what they log.

Plain TensorRT ("native": 8.6, 10 and 11) and TensorRT-RTX ("rtx") share their Python interface;
where versions differ, ask the module what it has.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from edge.errors import EdgeError

VARIANTS = {"native": "tensorrt", "rtx": "tensorrt_rtx"}
DISPLAY_NAMES = {"native": "TensorRT", "rtx": "TensorRT-RTX"}
ELSEWHERE = (
    "run the command on the device itself, give --target rtx for a GeForce or RTX card, "
    "or --out X.onnx, which runs in ONNX Runtime anywhere"
)
_INSTALL_HINTS = {
    "native": (
        "it comes with JetPack (a virtual environment sees it with --system-site-packages) or "
        f"from NVIDIA: {ELSEWHERE}"
    ),
    "rtx": "in a checkout of this project: pip install '.[rtx]'",
}


@dataclass(frozen=True)
class TensorRtVariant:
    """An imported TensorRT module and its key in `VARIANTS`."""

    name: str
    module: Any

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def title(self) -> str:
        """Such as "TensorRT 10.3.0"."""
        return f"{DISPLAY_NAMES[self.name]} {self.version}"

    @property
    def compute_capabilities(self) -> dict[str, Any]:
        """TensorRT-RTX's names of those it serves ("SM86") by ours ("8.6"); others have none."""
        members = getattr(self.module, "ComputeCapability", None)
        return {
            f"{name[2:-1]}.{name[-1]}": member
            for name, member in (members.__members__.items() if members else ())
            if name.startswith("SM")
        }

    @property
    def compiles_at_run_time(self) -> bool:
        """Whether kernels for a shape are compiled when it is first met, as by TensorRT-RTX."""
        return hasattr(self.module, "DynamicShapesKernelSpecializationStrategy")

    @property
    def requires_user_allocation(self) -> bool:
        """Whether such an engine can be built to allocate nothing while it runs, but to be given
        memory; CUDA graphs need that."""
        flags = getattr(self.module, "BuilderFlag", None)
        return self.compiles_at_run_time and hasattr(flags, "REQUIRE_USER_ALLOCATION")


def open_variant(name: str) -> TensorRtVariant:
    """The variant of that key in `VARIANTS`.

    Raises:
        EdgeError: its module is not installed, or has no libraries.
    """
    try:
        module = importlib.import_module(VARIANTS[name])
    # The package on the public index is a stub whose import fails in one of these ways.
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise _unusable(name, f" ({reason})") from error
    if not hasattr(module, "Runtime"):
        raise _unusable(name, "")
    return TensorRtVariant(name, module)


def _unusable(name: str, why: str) -> EdgeError:
    return EdgeError(
        f"{DISPLAY_NAMES[name]} cannot be used from this Python{why}; {_INSTALL_HINTS[name]}"
    )


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """No garbage collection within the block, or the function that this decorates.

    TensorRT calls the log while it holds a lock that the destructors of its objects want as well:
    an old builder collected in the middle of such a call would wait for ever.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class CollectingLog(Protocol):
    """A TensorRT logger that keeps the latest messages."""

    errors: deque[str]
    warnings: deque[str]

    def log(self, severity: Any, message: str) -> None:
        """Called by TensorRT."""
        ...

    def last_errors(self) -> str:
        """The last few errors, or warnings where there are none, as one line."""
        ...


def collecting_log(module: Any) -> CollectingLog:
    """The logger for `module`'s builder, parser or runtime, emptied.

    There is one for all: TensorRT keeps a pointer to the first it was given, whose object may end.
    """
    log = _log(module.ILogger)
    log.errors.clear()
    log.warnings.clear()
    return log


@functools.cache
def _log(logger: Any) -> CollectingLog:
    class Log(logger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=20)
            self.warnings: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity in (logger.INTERNAL_ERROR, logger.ERROR):
                self.errors.append(message)
            elif severity == logger.WARNING:
                self.warnings.append(message)

        def last_errors(self) -> str:
            lines = list(self.errors or self.warnings)[-3:]
            return " ".join("; ".join(lines).split())

    return Log()
