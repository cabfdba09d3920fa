from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bench.belt import long_run, rate
from bench.belt.belts import Belt, marked, of_photos, rendered, unmarked
from bench.belt.camera import MARGIN, BeltCamera, Condition, shots
from bench.belt.looped import LoopedBelt
from bench.belt.metered import MeteredEngine
from bench.belt.oracle import Oracle
from bench.cli import bench
from edge.engines import open_engine
from edge.engines.engine import EngineInfo, infer
from edge.frame import Frame
from edge.particles import ParticleFilter, find_particles, particle_mask
from edge.result import Result
from edge.stage_timer import StageTimer

WIDTH = 128


@pytest.fixture(scope="module")
def info() -> EngineInfo:
    return open_engine("quarter_mrunet").info


@pytest.fixture(scope="module")
def belt() -> Belt:
    return marked(rendered(1, 800, WIDTH + 2 * MARGIN, 500))


def _found(engine: Oracle | MeteredEngine, image: np.ndarray) -> np.ndarray:
    with engine.session((image.shape[0], image.shape[1]), 1, StageTimer()) as session:
        probability = infer(session, image)
    particles = find_particles(probability, particle_mask(probability, 128))
    return np.array([(particle.x, particle.y) for particle in particles])


def test_the_oracle_finds_the_marked_particles_and_nothing_else(
    belt: Belt, info: EngineInfo
) -> None:
    meter = MeteredEngine(Oracle(info))
    found = _found(meter, belt.image)
    assert len(found) == len(belt.particles) > 20
    distances = np.linalg.norm(found[:, None] - belt.particles[None], axis=2)
    assert distances.min(axis=0).max() < 1
    assert meter.frames == 1
    assert meter.pixels >= belt.image.shape[0] * belt.image.shape[1]


def test_a_belt_of_photos(tmp_path: Path, info: EngineInfo) -> None:
    for seed, size in enumerate(((200, 300), (150, 90))):
        image = rendered(seed, *size, 0).image
        cv2.imwrite(str(tmp_path / f"{seed}.png"), image)
    scene = of_photos(0, 700, WIDTH, 300, [str(tmp_path)])
    assert scene.image.shape == (700, WIDTH, 3)
    assert len(unmarked(scene).particles) > 10
    belt = marked(scene)
    assert len(_found(Oracle(info), belt.image)) == len(belt.particles) > 5


def test_the_camera_shows_the_belt_where_it_says(belt: Belt) -> None:
    condition = Condition("", 7.5, 30, height=96, noise=0, vibration_px=1, direction="left")
    camera = BeltCamera(belt, condition, 0)
    frames = list(camera)
    assert len(frames) == 30
    for frame, shot in list(zip(frames, camera.shots, strict=True))[::7]:
        assert frame.size_hw == (WIDTH, 96)
        upright = np.rot90(frame.image, -1)
        moved = np.array([[1, 0, shot.left], [0, 1, shot.top]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(belt.image, moved, (WIDTH, 96), flags=flags)
        assert np.abs(upright.astype(int) - expected).mean() < 2


def test_dropped_and_repeated_frames_and_stops() -> None:
    condition = Condition("", 10, 400, dropped=0.1, repeated=0.1, stops=True)
    found = shots(condition, 0)
    numbers = [shot.number for shot in found]
    assert numbers[0] == 0
    assert numbers[-1] == 399
    assert 340 < len(numbers) < 380
    assert 20 < sum(shot.moment < shot.number for shot in found) < 60
    steps = np.diff(condition.travel())
    assert steps.min() == 0
    assert steps.max() == 10
    assert condition.length() > condition.travel()[-1] + condition.height


def test_a_looped_belt_goes_round(belt: Belt) -> None:
    frames = list(LoopedBelt(belt, 96, 40.0, 21, paced=False))
    assert (frames[0].image == frames[20].image).all()
    assert (frames[19].image[40:] == frames[20].image[:-40]).all()


def test_counts_on_the_strip_are_those_of_the_mosaic() -> None:
    pytest.importorskip("trackers", reason="needs the extra 'peers'")
    from bench.belt import counts

    conditions = (
        Condition("slow", 2.9, height=160, per_megapixel=500),
        Condition("fast", 39.7, height=160, per_megapixel=500, noise=4, direction="left"),
    )
    result = counts.measure(
        "quarter_mrunet", (), lambda _: None, conditions, ("fast",), width=192, rows=600
    )
    slow, fast, _ = result.rows
    assert [row.detector for row in result.rows] == ["oracle", "oracle", "quarter_mrunet"]
    for row in (slow, fast):
        assert row.strip == row.mosaic == row.mosaic_again == row.truth > 20
        assert row.eject_px is not None
        assert row.eject_px < 2
        assert row.eject_frames is not None
        assert row.eject_frames < 1
    for row in result.rows:
        assert row.strip == row.strip_at_once
        assert row.missed == row.extra == 0
    # A tracker loses what moves by more than its own size.
    assert slow.bytetrack > 0.8 * slow.truth
    assert fast.bytetrack < 0.5 * fast.truth < fast.truth
    for row in result.rows:
        assert row.frame_pixels > 2 * row.strip_pixels
        assert row.condition in result.describe()


def test_a_counting_line() -> None:
    pytest.importorskip("trackers", reason="needs the extra 'peers'")
    from bench.belt.tracking import CountingLine

    line = CountingLine(row=40, width=64, fps=30, threshold=0.5, step_px=None)
    crossed = []
    for top in range(70, 10, -2):
        probability = np.zeros((96, 64), np.uint8)
        probability[top : top + 9, 20:29] = 255
        frame = Frame(np.zeros((96, 64, 3), np.uint8), 0, "", None)
        crossed.append(line.update(Result.of(frame, probability, ParticleFilter(0.5))))
    (centre,) = np.concatenate(crossed)
    assert centre[0] == 24
    assert 36 <= centre[1] < 40


def test_the_rate() -> None:
    result = rate.measure("quarter_mrunet", 1, lambda _: None, frames_wh=((96, 160),), warm_up=5)
    (row,) = result.rows
    assert row.fps > 0
    assert 0 < row.paced_fps < 30.01
    assert 0 < row.latency_ms["p50"] <= row.latency_ms["p99"] <= row.latency_ms["max"]
    assert 1 <= row.pixels < 3
    assert "96x160" in result.describe()


def test_hours_of_belt_count_every_round() -> None:
    result = long_run.measure("quarter_mrunet", 0.02, lambda _: None)
    assert result.frames == 2160
    assert result.expected > 100
    # One lies across the last row.
    assert abs(result.particles - result.expected) <= 1
    assert "particles counted" in result.describe()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate-seconds", "5", "--soak-hours", "1"), "give one"),
        (("--data", "photos", "--soak-hours", "1"), "--data is for counts"),
        (("--max-latency", "1"), "needs --rate-seconds"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(bench, ["belt", *arguments])
    assert result.exit_code == 2
    assert said in result.output
