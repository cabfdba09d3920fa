"""The machine's roofline: peak floating point operations and bytes a second."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.sampling import seconds_of
from train.models.spec import ModelSpec

SIDE, BYTES, REPEATS = 2048, 1 << 28, 10
BYTES_PER_ELEMENT = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Roofline:
    """Measured here with torch: a square matrix product, and a copy of 256 MiB.

    Attributes:
        gflops_per_s: by precision.
        gb_per_s: read and written, 10**9 bytes.
    """

    gflops_per_s: dict[str, float]
    gb_per_s: float


def measure_roofline() -> Roofline:
    """The fastest of `REPEATS` runs each, on the first GPU or else the CPU."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")

    def fastest(task: Callable[[], object]) -> float:
        def whole() -> None:
            task()
            if on_gpu:
                torch.cuda.synchronize()

        return min(seconds_of(whole) for _ in range(REPEATS))

    products = {}
    dtypes = {"fp32": torch.float32} | ({"fp16": torch.float16} if on_gpu else {})
    for precision, dtype in dtypes.items():
        matrix = torch.rand(SIDE, SIDE, device=device, dtype=dtype)
        seconds = fastest(functools.partial(torch.matmul, matrix, matrix))
        products[precision] = round(2 * SIDE**3 / seconds / 1e9, 1)
    source = torch.zeros(BYTES // 4, device=device)
    target = torch.empty_like(source)
    copying = fastest(lambda: target.copy_(source))
    return Roofline(products, round(2 * BYTES / copying / 1e9, 1))


def flops_per_byte(spec: ModelSpec, side: int, precision: str) -> float:
    """Of one image of `side` px, if each convolution read its input and wrote its output once."""
    elements = spec.params() + sum(
        (conv.cin + conv.cout) * (side >> conv.level) ** 2 for conv in spec.convs()
    )
    return spec.flops(side, side) / (elements * BYTES_PER_ELEMENT[precision])
