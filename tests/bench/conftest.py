"""What every measurement of this machine shares."""

from collections.abc import Iterator

import pytest

import bench.roofline


@pytest.fixture(scope="session", autouse=True)
def small_roofline() -> Iterator[None]:
    """No test depends on the machine's true peak, which takes seconds to measure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.roofline, "SIDE", 256)
        patch.setattr(bench.roofline, "BYTES", 1 << 20)
        yield
