"""What every engine is, whichever backend runs it.

The contract: input `image` uint8 (N,H,W,3) RGB, output `probability` uint8 (N,1,H,W), 0..255.
Normalisation, sigmoid and rounding live inside the graph; what the runtime must know about it
travels as `EngineInfo`.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.particles import threshold_u8
from edge.stage_timer import StageTimer
from edge.tiling import TileGrid

INPUT, OUTPUT = "image", "probability"


@dataclass(frozen=True)
class EngineInfo:
    """What an engine file says about itself.

    Attributes:
        model: key of the network.
        halo: px from an inner edge of a tile that must not be used.
        multiple: tile sizes and origins are multiples of this, px.
        threshold: probability 0..1 from which on a pixel is a particle; NaN where a file has no
            metadata.
        mean, std: normalisation inside the graph, grey levels per RGB channel.
        training: what the weights were trained on, and their scores.
        content_hash: SHA-256 of the FP32 graph and its weights, metadata left out, that the
            file was made from.
        min_diameter_px: of the smallest objects that are particles; 0 is no bound, as of files that
            do not say.
    """

    model: str
    halo: int
    multiple: int
    threshold: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    training: dict[str, Any]
    content_hash: str
    min_diameter_px: float = 0.0

    @property
    def threshold_u8(self) -> int:
        """The threshold 1..255: a pixel of the map that is as high is a particle."""
        return threshold_u8(self.threshold)

    def metadata(self) -> dict[str, str]:
        """Each attribute as JSON, as it travels in a file."""
        return {key: json.dumps(value) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> EngineInfo:
        """Read what `metadata` wrote; `where` names the file in the error.

        Raises:
            EdgeError: an entry is missing or damaged.
        """
        values: dict[str, Any] = {}
        for key, text in metadata.items():
            with contextlib.suppress(ValueError, RecursionError):
                values[key] = json.loads(text)
        return cls.from_values(values, where)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str) -> EngineInfo:
        """The attributes by name, lists for tuples; `where` names the file in the error.

        Raises:
            EdgeError: one is missing or of the wrong type.
        """
        found: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in values and field.default is not MISSING:
                continue
            value = values.get(field.name)
            if not _is_a(value, field.name):
                raise EdgeError(
                    f"{where}: is not an engine of this toolkit (its metadata lacks a readable "
                    f"{field.name!r}); write one with export-trt"
                )
            found[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**found)


def _is_a(value: Any, name: str) -> bool:
    """Whether `value` can be the attribute `name` of `EngineInfo`."""
    match name:
        case "model" | "content_hash":
            return isinstance(value, str)
        case "halo" | "multiple":
            return type(value) is int and value >= (name == "multiple")
        case "threshold":
            return isinstance(value, int | float) and 0 <= value <= 1
        case "min_diameter_px":
            return isinstance(value, int | float) and 0 <= value < math.inf
        case "training":
            return isinstance(value, dict)
        case _:
            return (
                isinstance(value, list | tuple)
                and len(value) == 3
                and all(isinstance(number, int | float) for number in value)
            )


class Session(Protocol):
    """Whole frames of one size through an engine, first in, first out."""

    def submit(self, image: NDArray[np.uint8]) -> None:
        """Take a frame (H,W,3) uint8 RGB, which must not change until its result is there.

        Raises:
            EdgeError: the engine fails.
        """
        ...

    def result(self) -> NDArray[np.uint8]:
        """Probability map uint8 (H,W) of the oldest frame in flight, once it is there.

        Raises:
            EdgeError: the engine fails.
        """
        ...


def infer(session: Session, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One frame (H,W,3) uint8 RGB alone: its probability map uint8 (H,W).

    Raises:
        EdgeError: the engine fails.
    """
    session.submit(image)
    return session.result()


class Engine(Protocol):
    """A network ready to run.

    Attributes:
        device: where it runs, in words.
        max_in_flight: frames that it gains from having in flight at a time.
    """

    info: EngineInfo
    device: str
    max_in_flight: int

    def close(self) -> None:
        """Free what it holds; nothing may run any more."""
        ...

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Probabilities uint8 (N,1,H,W) of tiles uint8 (N,H,W,3) RGB.

        Raises:
            EdgeError: the engine fails.
        """
        ...

    def tile_grid(self, frame_hw: tuple[int, int]) -> TileGrid:
        """How it splits frames of that size, px.

        Raises:
            EdgeError: it cannot take frames of that size.
        """
        ...

    def session(
        self, frame_hw: tuple[int, int], max_in_flight: int, timer: StageTimer
    ) -> AbstractContextManager[Session]:
        """For frames of that size, at most `max_in_flight` of them at a time.

        Args:
            timer: gets how long the stages of a frame take.

        Raises:
            EdgeError: the engine cannot take frames of that size.
        """
        ...
