"""The power of a Jetson, as the kernel shows it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from pathlib import Path

SYSFS = Path("/sys")
# Rails through which all of a Jetson's power comes in, by board.
INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")


class ModulePower:
    """Of the whole module, through its INA3221 chips.

    Attributes:
        rails: names of those that are summed.
    """

    def __init__(self, rails: dict[str, tuple[Path, ...]]) -> None:
        self.rails = tuple(rails)
        self._files = list(rails.values())

    @classmethod
    def find(cls, sysfs: Path = SYSFS) -> ModulePower | None:
        """None where there are no rails, or where they may not be read."""
        with contextlib.suppress(OSError):
            files = ina3221_files(sysfs)
            if rails := whole_module(files):
                power = cls({rail: files[rail] for rail in rails})
                power.watts()
                return power
        return None

    def watts(self) -> float:
        """Now. Raises OSError where it cannot be read any more."""
        return sum(math.prod(int(_text(file)) / 1e3 for file in files) for files in self._files)


def ina3221_files(sysfs: Path) -> dict[str, tuple[Path, ...]]:
    """By rail, the files whose product is its power: mV and mA (JetPack 5 on), or mW (JetPack 4).

    Raises:
        OSError: a name may not be read.
    """
    files: dict[str, tuple[Path, ...]] = {}
    drivers = sysfs / "bus/i2c/drivers"
    # Three channels a chip; in4 to in7 are no rails, but voltages of the shunts and their sum.
    for path in sorted(drivers.glob("ina3221/*/hwmon/hwmon*/in[123]_label")):
        channel = path.name[2]
        files[_text(path)] = (
            path.with_name(f"in{channel}_input"),
            path.with_name(f"curr{channel}_input"),
        )
    for path in sorted(drivers.glob("ina3221x/*/iio:device*/rail_name_[012]")):
        files[_text(path)] = (path.with_name(f"in_power{path.name[-1]}_input"),)
    return files


def whole_module(rails: Iterable[str]) -> tuple[str, ...]:
    """The rails that together are all the power of a Jetson: its input, or what lies behind it."""
    names = set(rails)
    for name in INPUTS:
        if name in names:
            return (name,)
    names.discard("NC")  # not connected
    if "VIN_SYS_5V0" in names:  # AGX Orin, where the memory's rail is fed from it
        names.discard("VDDQ_VDD2_1V8AO")
    return tuple(sorted(names))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
