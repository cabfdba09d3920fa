"""CUDA through whichever package of bindings is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from edge.cuda.cuda import Cuda
from edge.cuda.cuda_python import CudaPython
from edge.cuda.pycuda import PyCuda
from edge.errors import EdgeError, MissingExtraError

ADAPTERS: dict[str, Callable[[], Cuda]] = {"pycuda": PyCuda, "cuda-python": CudaPython}


def open_cuda(name: str | None = None) -> Cuda:
    """The first device, through the adapter `name`; by default the first whose package is there.

    Raises:
        EdgeError: the package is not installed, or no device can be used.
    """
    if name is not None:
        return ADAPTERS[name]()
    for adapter in ADAPTERS.values():
        with contextlib.suppress(MissingExtraError):
            return adapter()
    raise EdgeError(
        "this needs pycuda or cuda-bindings, and neither is installed: "
        "in a checkout of this project: pip install '.[jetson]' on a Jetson, '.[rtx]' elsewhere"
    )
