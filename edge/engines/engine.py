"""What every engine is, whichever backend runs it.

The contract: input `image` uint8 (N,H,W,3) RGB, output `probability` uint8 (N,1,H,W), 0..255.
Normalisation, sigmoid and rounding live inside the graph; what the runtime must know about it
travels as `EngineInfo`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import ToolError
from edge.latency import Stopwatch
from edge.particles import threshold_u8
from edge.tiling import Plan

INPUT, OUTPUT = "image", "probability"


@dataclass(frozen=True)
class EngineInfo:
    """What an engine file says about itself.

    Attributes:
        model: key of the network.
        halo: px from a cut edge of a tile that must not be used.
        multiple: tile sizes and origins are multiples of this, px.
        threshold: probability 0..1 from which on a pixel is a particle; NaN where a file has no
            metadata.
        mean, std: normalisation inside the graph, grey levels per RGB channel.
        training: what the weights were trained on, and their scores.
        content_hash: SHA-256 of the FP32 graph and its weights, metadata left out, that the
            file was made from.
    """

    model: str
    halo: int
    multiple: int
    threshold: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    training: dict[str, Any]
    content_hash: str

    @property
    def level(self) -> int:
        """The threshold as a grey level: a pixel this bright or brighter is a particle."""
        return threshold_u8(self.threshold)

    def metadata(self) -> dict[str, str]:
        """Each attribute as JSON, as it travels in a file."""
        return {key: json.dumps(value) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> EngineInfo:
        """Read what `metadata` wrote; `where` names the file in the error.

        Raises:
            ToolError: an entry is missing or damaged.
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
            ToolError: one is missing or of the wrong type.
        """
        found: dict[str, Any] = {}
        for field in fields(cls):
            value = values.get(field.name)
            if not _is_a(value, field.name):
                raise ToolError(
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
        case "training":
            return isinstance(value, dict)
        case _:
            return (
                isinstance(value, list | tuple)
                and len(value) == 3
                and all(isinstance(number, int | float) for number in value)
            )


class Frames(Protocol):
    """Whole frames of one size through an engine, first in, first out."""

    def start(self, image: NDArray[np.uint8]) -> None:
        """Begin with a frame (H,W,3) uint8 RGB, which must not change until it is finished.

        Raises:
            ToolError: the engine fails.
        """
        ...

    def finish(self) -> NDArray[np.uint8]:
        """Probability map uint8 (H,W) of the frame begun first, once it is there.

        Raises:
            ToolError: the engine fails.
        """
        ...


def through(frames: Frames, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One frame (H,W,3) uint8 RGB alone: its probability map uint8 (H,W).

    Raises:
        ToolError: the engine fails.
    """
    frames.start(image)
    return frames.finish()


class Engine(Protocol):
    """A network ready to run.

    Attributes:
        device: where it runs, in words.
        depth: frames that it gains from having under way at a time.
    """

    info: EngineInfo
    device: str
    depth: int

    def close(self) -> None:
        """Free what it holds; nothing may run any more."""
        ...

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Probabilities uint8 (N,1,H,W) of tiles uint8 (N,H,W,3) RGB.

        Raises:
            ToolError: the engine fails.
        """
        ...

    def layout(self, frame_hw: tuple[int, int]) -> Plan:
        """How it cuts frames of that size, px.

        Raises:
            ToolError: it cannot take frames of that size.
        """
        ...

    def frames(
        self, frame_hw: tuple[int, int], depth: int, clock: Stopwatch
    ) -> AbstractContextManager[Frames]:
        """A way for frames of that size, at most `depth` of them begun at a time.

        Args:
            clock: told how long the stages of a frame take.

        Raises:
            ToolError: the engine cannot take frames of that size.
        """
        ...
