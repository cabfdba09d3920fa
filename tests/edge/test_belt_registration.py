"""Where a belt of rendered sand is, against where it was put."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from edge.belt.correlation import correlate, spectrum
from edge.belt.direction import Direction
from edge.belt.registration import Registration
from edge.belt.settings import BeltSettings
from edge.errors import EdgeError
from tests.edge.belts import TURNS, Image, noisy, view
from train.data.sand import fine_sand

SIZE = 200, 240
STEADY = np.arange(24) * 17.3


@pytest.fixture(scope="module")
def belt() -> Image:
    return np.rint(fine_sand(np.random.default_rng(7), 900, 300) * 255).astype(np.uint8)


def errors(
    registration: Registration,
    frames: Sequence[Image],
    places: Sequence[float],
    times: Sequence[float | None] | None = None,
) -> np.ndarray:
    """Downweb error in each frame, px."""
    found = [
        registration.add(frame, i / 25 if times is None else times[i]).downweb
        for i, frame in enumerate(frames)
    ]
    return np.subtract(found, places)


def frames(belt: Image, places: Sequence[float], sigma: float = 4.0, skew: float = 0.0,
           gains: Sequence[float] | None = None) -> list[Image]:  # fmt: skip
    rng = np.random.default_rng(1)
    return [
        noisy(view(belt, place, skew * place, SIZE), sigma, rng, gains[i] if gains else 1.0)
        for i, place in enumerate(places)
    ]


@pytest.mark.parametrize("step", [0.4, 3.7, 48.2, 120.6])
def test_known_shifts_are_found_to_a_fraction_of_a_pixel(belt: Image, step: float) -> None:
    places = np.arange(min(24, int(690 / step))) * step
    registration = Registration()
    assert abs(errors(registration, frames(belt, places), places)[-3:]).max() < 0.15
    assert registration.direction is Direction.UP
    assert not registration.assumed


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("skew", [0.0, 0.03])
def test_four_directions_and_skew(belt: Image, direction: Direction, skew: float) -> None:
    registration = Registration()
    seen = [np.rot90(image, -TURNS[direction]) for image in frames(belt, STEADY, skew=skew)]
    assert abs(errors(registration, list(map(np.ascontiguousarray, seen)), STEADY)[2:]).max() < 0.15
    assert registration.direction is direction
    motion = registration.motion
    assert motion
    assert motion.skew == pytest.approx(skew, abs=0.002)
    assert motion.speed_px_s == pytest.approx(17.3 * 25, rel=0.01)
    assert motion.deviation_px_s < 5


def test_directions_are_turned_and_back() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    for direction in Direction:
        dy, dx = direction.shift(3.0, 1.0)
        assert direction.travel(dy, dx) == (3.0, 1.0)
        assert Direction.of(dy, dx) is direction
        line = direction.row(1, (4, 6))
        row = image[1] if direction.vertical else image[:, 1]
        assert sorted(direction.turned(image)[line]) == sorted(row)


@pytest.mark.parametrize("with_times", [True, False])
def test_dropped_and_repeated_frames(belt: Image, with_times: bool) -> None:
    kept = [0, 1, 2, 3, 3, 3, 4, 7, 8, 9, 9, 10, 14, 15, 16, 18, 20, 21]
    places = STEADY[kept]
    times = [index / 25 if with_times else None for index in kept]
    registration = Registration()
    assert abs(errors(registration, frames(belt, places), places, times)[2:]).max() < 0.15
    assert not registration.assumed


def test_stop_and_go_and_reversal(belt: Image) -> None:
    steps = [40.0] * 6 + [0.0] * 5 + [40.0] * 4 + [-15.5] * 4 + [0.3] * 3 + [60.0] * 3
    places = np.cumsum([0.0, *steps])
    registration = Registration()
    assert abs(errors(registration, frames(belt, places), places)[2:]).max() < 0.15
    assert not registration.assumed


def test_gain_and_noise(belt: Image) -> None:
    gains = np.random.default_rng(2).uniform(0.5, 1.2, len(STEADY)).tolist()
    registration = Registration()
    seen = frames(belt, STEADY, sigma=8, gains=gains)
    assert abs(errors(registration, seen, STEADY)[2:]).max() < 0.4


def test_what_stands_still_is_not_the_belt(belt: Image) -> None:
    rng = np.random.default_rng(3)
    dirt = np.ones(SIZE, np.float32)
    for _ in range(25):
        place = int(rng.integers(SIZE[1])), int(rng.integers(SIZE[0]))
        cv2.circle(dirt, place, 3, 0.6, -1)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    glare = 90 * np.exp(-((y - 90) ** 2 + (x - 120) ** 2) / (2 * 30**2))
    seen = [
        np.clip(frame * dirt[..., None] + glare[..., None], 0, 255).astype(np.uint8)
        for frame in frames(belt, STEADY)
    ]
    assert abs(errors(Registration(), seen, STEADY)[2:]).max() < 0.5


def test_a_texture_that_repeats_itself_is_not_taken_for_a_shift() -> None:
    """The belt moves by more than the first window, which then shows the same pattern only."""
    rng = np.random.default_rng(3)
    pattern = np.tile(rng.normal(0, 10, (32, 32)), (82, 17))[:2600, :540]
    sand = pattern + rng.normal(0, 3, pattern.shape)
    belt = np.repeat(np.clip(120 + sand, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    registration = Registration()
    for index in range(4):
        position = registration.add(view(belt, 400.0 * index, 0.0, (1080, 512)), index / 25)
    assert registration.direction is Direction.UP
    assert position.downweb == pytest.approx(1200, abs=0.5)


def test_over_an_empty_stretch_an_encoder_tells(belt: Image) -> None:
    """Also where the belt changes its speed there, or goes back."""
    blank = np.full((240, 180, 3), 120, np.uint8)
    places = np.cumsum([0, *[17.3] * 12, 30, 30, -5, 0, 4, *[17.3] * 8])
    registration = Registration(BeltSettings(encoder_px=0.25))
    for index, place in enumerate(places):
        image = blank if 12 < index <= 17 else view(belt, place, 0.0, (240, 180))
        position = registration.add(image, index / 25, encoder=1000 + place / 0.25)
        if index > 1:
            assert position.downweb == pytest.approx(place, abs=0.5)
            # The first frame after the stretch has only an empty one to be compared with.
            assert position.measured == (not 12 < index <= 18)


def test_over_an_empty_stretch_the_last_speed_holds(belt: Image) -> None:
    bare = belt.copy()
    bare[250:620] = 110
    registration = Registration()
    error = errors(registration, frames(bare, STEADY[:1]), STEADY[:1])
    places = np.arange(1, 40) * 17.3
    error = errors(registration, frames(bare, places), places, ((1 + np.arange(39)) / 25).tolist())
    assert registration.assumed >= 3
    assert abs(error).max() < 1.0


def test_an_empty_belt() -> None:
    empty = np.full((900, 300, 3), 120, np.uint8)
    unknown = Registration()
    assert (errors(unknown, frames(empty, STEADY), STEADY * 0) == 0).all()
    assert unknown.direction is None
    assert unknown.motion is None
    assert unknown.assumed == len(STEADY) - 1
    given = Registration(BeltSettings(direction=Direction.UP, speed_px_s=17.3 * 25))
    assert abs(errors(given, frames(empty, STEADY), STEADY)).max() < 0.01
    assert given.assumed == len(STEADY) - 1


def test_one_spoilt_frame_costs_nothing(belt: Image) -> None:
    seen = frames(belt, STEADY)
    seen[9] = np.full_like(seen[9], 255)
    registration = Registration()
    assert abs(errors(registration, seen, STEADY)[2:]).max() < 0.3
    assert registration.assumed == 1


def test_unrelated_pictures_have_no_peak() -> None:
    rng = np.random.default_rng(5)
    for size in ((256, 512), (96, 160), (64, 64)):
        pairs = rng.normal(0, 9, (20, 2, *size)).astype(np.float32)
        best = max(
            correlate(spectrum(a), spectrum(b), size)[1].quality for a, b in pairs
        )  # fmt: skip
        assert best < 10


def test_frames_of_another_size_are_refused(belt: Image) -> None:
    registration = Registration()
    registration.add(belt[:100, :120])
    with pytest.raises(EdgeError, match="a frame of 120x90 px after frames of 120x100 px"):
        registration.add(belt[:90, :120])
