"""A simulated camera above a belt, and what goes wrong with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.belt.belts import Belt
from edge.frame import Frame
from edge.sources.source import Source

FPS = 30.0
# Px of belt beyond each side of the frame, and beyond its first and last row, that jitter shows.
MARGIN = 16
# Frames that a belt that stops and goes moves, and stands.
GOES, STANDS = 40, 15
# Quarter turns that make a belt whose surface moves up in the frame move there.
TURNS = {"up": 0, "left": 1, "down": 2, "right": 3}


@dataclass(frozen=True)
class Condition:
    """How a belt moves and is seen.

    Attributes:
        name: for tables.
        step_px: how far it moves from frame to frame.
        frames: that the camera takes, those lost included.
        per_megapixel: particles of the belt; many, or one more or less would be more than 1%.
        height: rows of a frame, along the belt, px.
        noise: standard deviation, grey levels.
        vibration_px: standard deviation of the camera's place, along and across the belt.
        gain: largest change of the exposure, a fraction; part of it swings, part of it jumps.
        dropped, repeated: fraction of the frames that are lost, or replaced by the one before.
        stops: whether the belt stops and goes.
        direction: in which its surface moves in the frame.
    """

    name: str
    step_px: float
    frames: int = 0
    per_megapixel: float = 150
    height: int = 720
    noise: float = 2.0
    vibration_px: float = 0.0
    gain: float = 0.0
    dropped: float = 0.0
    repeated: float = 0.0
    stops: bool = False
    direction: str = "up"

    @property
    def scan_row(self) -> int:
        """The middle of a frame, along the belt."""
        return self.height // 2

    def travel(self) -> NDArray[np.float64]:
        """How far the belt has come at each frame, px, without vibration: (frames,)."""
        steps = np.full(self.frames - 1, float(self.step_px))
        if self.stops:
            # It takes five frames to stop, and five to be as fast as before.
            phase = np.arange(self.frames - 1) % (GOES + STANDS)
            steps *= np.clip(np.minimum(phase + 1, GOES - phase) / 5, 0, 1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    def length(self) -> int:
        """Rows of belt that it takes."""
        return int(np.ceil(self.travel()[-1])) + self.height + 2 * MARGIN


@dataclass(frozen=True)
class Shot:
    """A frame of the camera: `number` of its moment, at `number / FPS` s; the `moment` whose
    picture it is, which of a repeated one is earlier; and where on the belt its first row and
    column lie, px."""

    number: int
    moment: int
    top: float
    left: float


def shots(condition: Condition, seed: int) -> list[Shot]:
    """The frames that arrive. The first and the last always do."""
    rng = np.random.default_rng(seed)
    travel = condition.travel()
    places = np.stack([travel, np.zeros_like(travel)], axis=1) + MARGIN
    shaken = rng.normal(0, 1, places.shape) * condition.vibration_px
    places += np.clip(shaken, 1 - MARGIN, MARGIN - 1)
    fate = rng.random(len(travel))
    fate[[0, -1]] = 1
    found: list[Shot] = []
    for number, (top, left) in enumerate(places.tolist()):
        if fate[number] < condition.dropped:
            continue
        if found and fate[number] < condition.dropped + condition.repeated:
            last = found[-1]
            found.append(Shot(number, last.moment, last.top, last.left))
        else:
            found.append(Shot(number, number, top, left))
    return found


def gains(condition: Condition, seed: int) -> NDArray[np.float64]:
    """What each frame's light is multiplied by: (frames,)."""
    rng = np.random.default_rng((seed, 1))
    time = np.arange(condition.frames)
    swing = np.sin(2 * np.pi * time / 50)
    jumps = rng.uniform(-1, 1, condition.frames // 20 + 1)[time // 20]
    return np.asarray(1 + condition.gain * (0.5 * swing + 0.5 * jumps), np.float64)


class BeltCamera(Source):
    """The frames of a belt under a condition.

    Attributes:
        shots: which of them arrive.
        gain: what the light of each moment is multiplied by.
    """

    time_base = "clip"

    def __init__(self, belt: Belt, condition: Condition, seed: int) -> None:
        super().__init__("simulated belt")
        self.belt, self.condition, self._seed = belt, condition, seed
        self.shots = shots(condition, seed)
        self.gain = gains(condition, seed)
        self.expected = len(self.shots)

    def __iter__(self) -> Iterator[Frame]:
        condition = self.condition
        # Of a repeated picture the noise is the same too.
        for moment, same in itertools.groupby(self.shots, lambda shot: shot.moment):
            shot = next(same)
            image = self._view(shot)
            rng = np.random.default_rng((self._seed, 2, moment))
            image = exposed(rng, image, float(self.gain[moment]), condition.noise)
            image = np.ascontiguousarray(np.rot90(image, TURNS[condition.direction]))
            for number in (shot.number, *(again.number for again in same)):
                yield Frame(image, number, self.uri, number / FPS)

    def _view(self, shot: Shot) -> NDArray[np.uint8]:
        height, width = self.condition.height, self.belt.image.shape[1] - 2 * MARGIN
        top, left = int(np.floor(shot.top)), int(np.floor(shot.left))
        down, right = shot.top - top, shot.left - left
        if not (down or right):
            return self.belt.image[top : top + height, left : left + width]
        first, last = max(0, top - 4), top + height + 5
        part = self.belt.image[first:last]
        moved = np.array([[1, 0, shot.left], [0, 1, shot.top - first]], np.float64)
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(part, moved, (width, height), flags=flags)
        return np.asarray(view, np.uint8)


def exposed(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    gain: float | NDArray[np.float64],
    noise: float,
) -> NDArray[np.uint8]:
    """An image under another exposure, with a sensor's noise, grey levels."""
    seen = np.multiply(image, gain, dtype=np.float32)
    if noise:
        seen += rng.standard_normal(seen.shape, np.float32) * np.float32(noise)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)
