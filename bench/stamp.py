"""A number and a time as black and white blocks in the corner of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Blocks of the size of JPEG's survive it. A stamp has 8x8 of them.
BLOCK_PX = 8
SIDE_PX = 8 * BLOCK_PX
NUMBER_BITS, TIME_BITS, CHECK_BITS = 24, 32, 8
# Steps of the time, s; it counts modulo five days.
TICK_S = 1e-4


def draw_stamp(picture: NDArray[np.uint8], number: int, time_s: float) -> NDArray[np.uint8]:
    """A copy of a picture uint8 (H,W,3) with `number`, modulo 2**24, and a Unix time in its upper
    left corner, `SIDE_PX` wide and high."""
    ticks = round(time_s / TICK_S) % (1 << TIME_BITS)
    value = (number % (1 << NUMBER_BITS)) << TIME_BITS | ticks
    stamped = picture.copy()
    data = np.frombuffer((value << CHECK_BITS | _check(value)).to_bytes(8, "big"), np.uint8)
    blocks = np.unpackbits(data).reshape(8, 8)
    stamped[:SIDE_PX, :SIDE_PX] = 255 * np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX)))[..., None]
    return stamped


def read_stamp(picture: NDArray[np.uint8], now_s: float) -> tuple[int, float] | None:
    """Number and Unix time, which is near `now_s`, of a stamped picture; None where it has none."""
    middle = slice(BLOCK_PX // 2, SIDE_PX, BLOCK_PX)
    blocks = picture[middle, middle, 1] > 127
    if blocks.shape != (8, 8):
        return None
    word = int.from_bytes(np.packbits(blocks).tobytes(), "big")
    value, check = word >> CHECK_BITS, word & (1 << CHECK_BITS) - 1
    if check != _check(value):
        return None
    period = 1 << TIME_BITS
    ticks = value % period
    age = (round(now_s / TICK_S) - ticks + period // 2) % period - period // 2
    return value >> TIME_BITS, now_s - age * TICK_S


def _check(value: int) -> int:
    """A checksum that is not that of black or white alone."""
    return (sum(value.to_bytes(8, "big")) + 0x5A) % (1 << CHECK_BITS)
