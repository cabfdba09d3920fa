"""Where the belt is in each frame."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.belt.correlation import Match, contrast, correlate, peak, spectrum
from edge.belt.direction import Direction
from edge.belt.settings import BeltSettings
from edge.belt.skew import Skew
from edge.errors import EdgeError

# Of the part of the frames that is compared, px: along the belt and across; and where the direction
# is not known yet, of a square.
ALONG, ACROSS, SQUARE = 256, 512, 384
# The least that is worth comparing.
MIN_WINDOW = 32
# A key frame is replaced once the belt has moved by so much of the frame: farther from the middle a
# lens draws the same grains differently.
KEY_RANGE = 0.25
# What the direction is told from, px.
MIN_TRAVEL = 3.0
# The search without a guess is on pictures of about so many px.
COARSE = 256
# Frames over which the speed is averaged, and those of which the next is guessed.
SPEED_FRAMES, GUESS_FRAMES = 24, 5
# What stands still in the picture (dirt on the lens, glare) has a peak of its own, this near to no
# shift at all, px. Another is the belt's where it is so high compared with that one.
STILL, RELATIVE_QUALITY = 4, 0.3
# A peak is taken at once where it is so high compared with those of the last frames.
USUAL_QUALITY, QUALITY_MEMORY = 0.3, 0.9
# Frames with less than so much of the mean contrast while the belt moved show little.
CONTRAST, CONTRAST_MEMORY = 0.4, 0.95

# What a peak of whole frames must have at least to be looked at, as `Match.quality`.
COARSE_QUALITY = 6.0

Shift = tuple[float, float]
UNKNOWN = Match(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Position:
    """Of the belt in a frame, turned so that the belt moves up: what is at (x, y) in it is at row
    y + `downweb` and column x + `crossweb` of the belt, counted from the first frame.

    Attributes:
        downweb, crossweb: px.
        skew: crossweb px per downweb px of travel.
        measured: whether the frame told it; else it is assumed from the speed.
        quality: as `Match.quality`.
    """

    downweb: float
    crossweb: float
    skew: float
    measured: bool
    quality: float


@dataclass(frozen=True)
class Motion:
    """Of the belt over the last frames.

    Attributes:
        time_s: of the last frame.
        downweb: position in it, px.
        speed_px_s: mean speed.
        deviation_px_s: standard deviation of the speed from frame to frame.
        skew, quality: as in `Position`.
        crossweb: position, px, without the vibration of the camera.
    """

    time_s: float
    downweb: float
    speed_px_s: float
    deviation_px_s: float
    skew: float
    crossweb: float
    quality: float


class _KeyFrame:
    """A frame that others are compared with; `shift` is that of its content since the first."""

    def __init__(self, grey: NDArray[np.uint8], shift: Shift) -> None:
        self.grey, self.shift = grey, shift
        self.spectra: dict[tuple[int, int, int, int], NDArray[np.complex64]] = {}
        self.coarse: NDArray[np.complex64] | None = None


class Registration:
    """Finds the belt's position in frames that are given one by one, all of one size.

    Attributes:
        direction: where the belt moves; None until that is known.
        frames, assumed: number of frames so far, and of those whose position is assumed.
    """

    def __init__(self, settings: BeltSettings | None = None) -> None:
        self._settings = settings or BeltSettings()
        self.direction = self._settings.direction
        self.frames = self.assumed = 0
        self._key: _KeyFrame | None = None
        # Of the content since the first frame, down and to the right, px; of the last frame.
        self._shift: Shift = (0.0, 0.0)
        self._step: Shift = (0.0, 0.0)
        self._time_s, self._interval_s = 0.0, 0.0
        self._encoder: tuple[float | None, float | None] = None, None
        self._failures = 0
        self._quality, self._usual_quality = math.inf, 0.0
        self._history: deque[tuple[float, float]] = deque(maxlen=SPEED_FRAMES)
        self._skew = Skew()
        self._contrast = 0.0

    def add(
        self, image: NDArray[np.uint8], time_s: float | None = None, encoder: float | None = None
    ) -> Position:
        """The belt's position in the next frame (H,W,3) uint8 RGB, captured at `time_s`, with the
        counts of its encoder.

        Until the direction is known the position is that of the first frame.

        Raises:
            EdgeError: its size is another than that of the frames before.
        """
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        interval_s = self._elapsed(time_s)
        self._encoder = self._encoder[1], encoder
        self.frames += 1
        if self._key is None:
            self._key = _KeyFrame(grey, self._shift)
            self._history.append((self._time_s, 0.0))
            return self._position(measured=True, quality=math.inf)
        if grey.shape != self._key.grey.shape:
            height, width = grey.shape
            before = "x".join(map(str, reversed(self._key.grey.shape)))
            raise EdgeError(
                f"a frame of {width}x{height} px after frames of {before} px; a belt needs one size"
            )
        match = self._search(self._key, grey, interval_s)
        self._quality = match.quality
        if match.found:
            self._measured(match, grey)
        else:
            self._assume(interval_s, grey)
        return self._position(measured=match.found, quality=match.quality)

    @property
    def motion(self) -> Motion | None:
        """Of the last frames; None where it is not known yet."""
        if self.direction is None or len(self._history) < 3:
            return None
        times, places = np.array(self._history).T
        speeds = np.diff(places) / np.diff(times)
        mean = (places[-1] - places[0]) / (times[-1] - times[0])
        downweb = self.direction.travel(*self._shift)[0]
        return Motion(
            time_s=self._time_s,
            downweb=downweb,
            speed_px_s=float(mean),
            deviation_px_s=float(speeds.std()),
            skew=self._skew.value,
            crossweb=self._skew.at(downweb),
            quality=self._quality,
        )

    def _elapsed(self, time_s: float | None) -> float:
        """Since the last frame; as between those before where the times do not tell."""
        if time_s is not None and self.frames and time_s > self._time_s:
            self._interval_s = time_s - self._time_s
            self._time_s = time_s
            return self._interval_s
        if not self.frames:
            self._time_s = 0.0 if time_s is None else time_s
        else:
            self._time_s += self._interval_s or 1.0
        return self._interval_s or 1.0

    def _search(self, key: _KeyFrame, grey: NDArray[np.uint8], interval_s: float) -> Match:
        """How the content moved since the key frame.

        The first guess that the frames confirm as well as the last ones were; else the best of all,
        since a texture that repeats itself has lower peaks where it meets itself.
        """
        best = UNKNOWN
        tried: list[Shift] = []
        for guess in self._guesses(key, grey, interval_s):
            if any(math.dist(guess, other) < 8 for other in tried):
                continue
            tried.append(guess)
            match = self._compare(key, grey, guess)
            # What is far off the guess is seen in a small part of the windows only.
            near = math.dist(guess, (match.dy, match.dx)) <= 8
            if match.found and not near:
                closer = self._compare(key, grey, (match.dy, match.dx))
                match = closer if closer.found else Match(0.0, 0.0, closer.quality)
            usual = USUAL_QUALITY * self._usual_quality
            if match.found and near and usual and match.quality >= usual:
                return match
            if match.quality > best.quality:
                best = match
        return best

    def _guesses(
        self, key: _KeyFrame, grey: NDArray[np.uint8], interval_s: float
    ) -> Iterator[Shift]:
        """Of the shift since the key frame, the likeliest first."""
        since = np.subtract(self._shift, key.shift)
        step = np.asarray(self._step)
        told = self._encoder_step()
        yield _pair(since + (self._velocity() * interval_s if told is None else told))
        # One step, none (a repeated frame, or a stop), or several (dropped frames).
        for steps in (1, 0) if self._failures > 1 else (1, 0, 2, 3):
            yield _pair(since + step * steps)
        yield from self._coarse(key, grey)

    def _coarse(self, key: _KeyFrame, grey: NDArray[np.uint8]) -> Iterator[Shift]:
        """Guesses from whole frames, reduced. A shift by more than half of a frame cannot be told
        from one to the other side."""
        scale = max(1, min(grey.shape) // COARSE)
        height, width = (side // scale for side in grey.shape)

        def reduced(image: NDArray[np.uint8]) -> NDArray[np.complex64]:
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            return spectrum(np.asarray(small, np.uint8))

        if key.coarse is None:
            key.coarse = reduced(key.grey)
        surface, first = correlate(key.coarse, reduced(grey), (height, width))
        # What does not move, such as dirt on the lens, has its peak at zero: look beside it, too.
        reach = 2
        rows, columns = (np.r_[0 : reach + 1, -reach:0] for _ in range(2))
        surface[np.ix_(rows, columns)] = 0
        for match in (first, peak(surface)):
            if match.quality < COARSE_QUALITY:
                continue
            dy, dx = match.dy * scale, match.dx * scale
            yield dy, dx
            vertical = abs(dy) >= abs(dx) if self.direction is None else self.direction.vertical
            if vertical:
                yield dy - math.copysign(grey.shape[0], dy), dx
            else:
                yield dy, dx - math.copysign(grey.shape[1], dx)

    def _compare(self, key: _KeyFrame, grey: NDArray[np.uint8], guess: Shift) -> Match:
        """The shift near a guess, from a window of the key frame and one moved by the guess."""
        moved = [round(value) for value in guess]
        size = [
            min(side, (height - abs(by)) // 8 * 8)
            for side, height, by in zip(self._window(), grey.shape, moved, strict=True)
        ]
        if min(size) < MIN_WINDOW:
            return UNKNOWN
        top, left = (
            min(max(centre - side // 2, 0, -by), whole - side - max(0, by))
            for centre, side, whole, by in zip(self._centre(grey), size, grey.shape, moved,
                                               strict=True)
        )  # fmt: skip
        height, width = size
        if (where := (top, left, height, width)) not in key.spectra:
            key.spectra = {where: spectrum(key.grey[top : top + height, left : left + width])}
        top, left = top + moved[0], left + moved[1]
        after = spectrum(grey[top : top + height, left : left + width])
        surface, match = correlate(key.spectra[where], after, (height, width))
        brightness = max(1.0, float(grey[:: height // 8, :: width // 8].mean()))
        seen = contrast(after, (height, width)) / brightness
        match = self._belts(surface, match, (moved[0], moved[1]), seen)
        return Match(moved[0] + match.dy, moved[1] + match.dx, match.quality)

    def _belts(
        self, surface: NDArray[np.float32], match: Match, moved: tuple[int, int], seen: float
    ) -> Match:
        """The belt's peak, where the highest may be that of something that stands still."""
        # Where little is to be seen, only what was expected is believed.
        weak = seen < CONTRAST * self._contrast
        if math.dist((match.dy, match.dx), (-moved[0], -moved[1])) > STILL:
            if weak and math.hypot(match.dy, match.dx) > STILL:
                return UNKNOWN
            if match.found:
                memory = CONTRAST_MEMORY if self._contrast else 0.0
                self._contrast = memory * self._contrast + (1 - memory) * seen
            return match
        reach = np.arange(-STILL, STILL + 1)
        rows, columns = ((reach - by) % side for by, side in zip(moved, surface.shape, strict=True))
        surface[np.ix_(rows, columns)] = 0
        other = peak(surface)
        # Beside what was left out it may be the flank of the peak there.
        apart = max(abs(other.dy + moved[0]), abs(other.dx + moved[1])) > STILL + 2
        as_guessed = math.hypot(other.dy, other.dx) <= STILL
        likely = as_guessed or (not weak and other.quality >= RELATIVE_QUALITY * match.quality)
        if other.found and apart and likely:
            return other
        return UNKNOWN if weak else match

    def _window(self) -> tuple[int, int]:
        if self.direction is None:
            return SQUARE, SQUARE
        return (ALONG, ACROSS) if self.direction.vertical else (ACROSS, ALONG)

    def _centre(self, grey: NDArray[np.uint8]) -> tuple[int, int]:
        height, width = grey.shape
        line = self._settings.scan_row
        if line is None or self.direction is None:
            return height // 2, width // 2
        return (line, width // 2) if self.direction.vertical else (height // 2, line)

    def _measured(self, match: Match, grey: NDArray[np.uint8]) -> None:
        assert self._key
        shift = _pair(np.add(self._key.shift, (match.dy, match.dx)))
        self._step = _pair(np.subtract(shift, self._shift))
        self._shift = shift
        self._failures = 0
        memory = QUALITY_MEMORY if self._usual_quality else 0.0
        self._usual_quality = memory * self._usual_quality + (1 - memory) * match.quality
        if self.direction is None:
            dy, dx = shift
            if math.hypot(dy, dx) >= MIN_TRAVEL and max(abs(dy), abs(dx)) > 2 * min(
                abs(dy), abs(dx)
            ):
                self.direction = Direction.of(dy, dx)
        if self.direction:
            downweb, crossweb = self.direction.travel(*shift)
            self._history.append((self._time_s, downweb))
            self._skew.add(downweb, crossweb)
        if self._is_far(grey):
            self._replace_key(grey)

    def _assume(self, interval_s: float, grey: NDArray[np.uint8]) -> None:
        self.assumed += 1
        self._failures += 1
        step = self._encoder_step()
        if step is None:
            given = self._settings.speed_px_s
            step = (self._velocity() if given is None else self._along(given)) * interval_s
        self._step = _pair(step)
        self._shift = _pair(np.add(self._shift, step))
        # One frame may be spoilt, and the key frame good for the next; but not for ever.
        if self._failures > 1 or self._is_far(grey, 2 * KEY_RANGE):
            self._replace_key(grey)

    def _encoder_step(self) -> NDArray[np.float64] | None:
        """Of the content (dy, dx) since the last frame; None where no encoder tells it."""
        before, now = self._encoder
        if self._settings.encoder_px is None or before is None or now is None:
            return None
        return self._along((now - before) * self._settings.encoder_px)

    def _velocity(self) -> NDArray[np.float64]:
        """Of the content (dy, dx) in the last frames, px per s; zero where it is not known."""
        last = list(self._history)[-GUESS_FRAMES:]
        if len(last) < 2:
            return self._along(self._settings.speed_px_s or 0.0)
        (start_s, start), (end_s, end) = last[0], last[-1]
        return self._along((end - start) / (end_s - start_s))

    def _along(self, downweb: float) -> NDArray[np.float64]:
        """The content's shift (dy, dx) where the belt moves by `downweb` px."""
        if self.direction is None:
            return np.zeros(2)
        return np.asarray(self.direction.shift(downweb, downweb * self._skew.value))

    def _is_far(self, grey: NDArray[np.uint8], limit: float = KEY_RANGE) -> bool:
        assert self._key
        travelled = np.abs(np.subtract(self._shift, self._key.shift))
        return bool((travelled > limit * np.asarray(grey.shape)).any())

    def _replace_key(self, grey: NDArray[np.uint8]) -> None:
        self._key = _KeyFrame(grey, self._shift)

    def _position(self, *, measured: bool, quality: float) -> Position:
        if self.direction is None:
            return Position(0.0, 0.0, 0.0, measured, quality)
        downweb, crossweb = self.direction.travel(*self._shift)
        return Position(downweb, crossweb, self._skew.value, measured, quality)


def _pair(values: NDArray[np.float64]) -> Shift:
    dy, dx = values.tolist()
    return float(dy), float(dx)
