"""Counts on belts: the strip's against the truth, the whole mosaic's and a tracker's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.belt.belts import Belt, marked, of_photos, rendered, unmarked
from bench.belt.camera import FPS, MARGIN, BeltCamera, Condition
from bench.belt.oracle import ORACLE, Oracle
from bench.belt.ways import Places, at_once, on_frames, on_mosaic, on_strip
from bench.tables import table
from edge.engines import open_engine
from edge.engines.engine import Engine

# Steps that are no whole px, so that rows of the belt lie between those of the frames.
CONDITIONS = (
    Condition("1 px a frame", 0.97),
    Condition("5 px", 4.83),
    Condition("20 px", 19.6),
    Condition("40 px", 40.3),
    Condition("100 px", 99.7),
    Condition("200 px", 200.4),
    Condition("400 px of 1080", 399.6, height=1080),
    Condition("few particles", 40.3, per_megapixel=30),
    Condition("noise of 8 grey levels", 40.3, noise=8),
    Condition("vibration of 1.5 px", 40.3, vibration_px=1.5),
    Condition("exposure +-30%", 40.3, gain=0.3),
    Condition("10% of frames dropped", 40.3, dropped=0.1),
    Condition("10% repeated", 40.3, repeated=0.1),
    Condition("stop and go", 40.3, stops=True),
    Condition("belt moves left", 40.3, direction="left"),
    Condition(
        "all of these",
        40.3,
        noise=6,
        vibration_px=1,
        gain=0.2,
        dropped=0.05,
        repeated=0.05,
        stops=True,
        direction="down",
    ),
)
# Those that the network does too; each frame costs it a third of a second.
WITH_NETWORK = ("5 px", "40 px", "100 px", "400 px of 1080", "few particles",
                "vibration of 1.5 px", "10% of frames dropped", "all of these")  # fmt: skip
WIDTH = 512
# Rows of belt that pass, and frames that show them, at most: of the oracle, and of a network.
ROWS, FRAMES, NETWORK_FRAMES = 6000, 600, 60
# From the scan row to the eject line, px.
EJECT_PX = 600.0
# Px from the ends of what passes, where a particle may or may not have crossed the scan row, and
# from the sides of the frame, where it may not be whole.
END = 16
# Of all that is random.
SEED = 7
# Px between a particle and the one of the truth that it is.
SAME_PX = 5.0


@dataclass(frozen=True)
class CountRow:
    """One condition. All counts are of the same rows of the belt.

    Attributes:
        surface: "rendered" or "photos", with rendered particles on both.
        detector: "oracle", or the network.
        frames: that arrived.
        truth: particles that were put on the belt; of the oracle's, marked ones.
        mosaic: that the detector finds on the whole belt at once, as noisy as the frames.
        mosaic_again: the same with other noise: how well a count repeats.
        strip_at_once: that the detector finds on the picture of the strip at once.
        strip: that the belt run gives.
        missed, extra: of these, against those of the strip at once, by their place.
        bytetrack: that cross the line, of a tracker as it comes.
        bytetrack_padded: the same given the belt's step.
        strip_pixels, frame_pixels: that the detector computes per pixel of belt, on the strip and
            on every frame.
        strip_fps, frame_fps: frames per second of both ways, from frames in memory.
        eject_px: largest error of a particle's place across the belt at the eject line, px.
        eject_frames: largest error of the time at which it is there, in frames.
        eject_within: fraction of the particles whose time is within the error bound told.
    """

    surface: str
    detector: str
    condition: str
    frames: int
    truth: int
    mosaic: int
    mosaic_again: int
    strip_at_once: int
    strip: int
    missed: int
    extra: int
    bytetrack: int
    bytetrack_padded: int
    strip_pixels: float
    frame_pixels: float
    strip_fps: float
    frame_fps: float
    eject_px: float | None
    eject_frames: float | None
    eject_within: float | None


@dataclass(frozen=True)
class CountsResult:
    """All conditions.

    Attributes:
        frame: its width and height, px, but where a condition says otherwise.
        eject_line_px: from the scan row to the eject line.
    """

    engine: str
    device: str
    frame: str
    fps: float
    eject_line_px: float
    rows: Sequence[CountRow]

    def describe(self) -> str:
        """Markdown tables, one of each surface and detector."""
        parts = [
            f"Frames of {self.frame} px, {self.fps:g} a second; eject line {self.eject_line_px:g} "
            f"px behind the scan row; {self.engine} on {self.device}",
        ]
        for surface, detector in dict.fromkeys((row.surface, row.detector) for row in self.rows):
            chosen = [r for r in self.rows if (r.surface, r.detector) == (surface, detector)]
            parts += [f"{surface}, {detector}:", counts_table(chosen), costs_table(chosen)]
        return "\n\n".join(parts)


def counts_table(rows: Sequence[CountRow]) -> str:
    """What was counted, and how well the eject line was met."""
    head = (
        *("condition", "truth", "whole mosaic", "other noise", "strip at once", "belt"),
        *("ByteTrack", "ByteTrack, told the step", "eject error, px", "frames", "within bound"),
    )
    return table(
        head,
        [
            (
                row.condition,
                *(row.truth, row.mosaic, row.mosaic_again, row.strip_at_once, row.strip),
                *(row.bytetrack, row.bytetrack_padded),
                *(_rounded(row.eject_px), _rounded(row.eject_frames)),
                "" if row.eject_within is None else f"{row.eject_within:.0%}",
            )
            for row in rows
        ],
    )


def costs_table(rows: Sequence[CountRow]) -> str:
    """What both ways cost."""
    head = (
        *("condition", "frames", "network px per belt px", "of every frame"),
        *("FPS", "of every frame and ByteTrack"),
    )
    return table(
        head,
        [
            (
                row.condition,
                row.frames,
                f"{row.strip_pixels:.2f}",
                f"{row.frame_pixels:.1f}",
                f"{row.strip_fps:.1f}",
                f"{row.frame_fps:.1f}",
            )
            for row in rows
        ],
    )


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def measure(
    engine_name: str,
    photos: Sequence[str],
    on_progress: Callable[[str], None],
    conditions: Sequence[Condition] = CONDITIONS,
    with_network: Sequence[str] = WITH_NETWORK,
    width: int = WIDTH,
    rows: int = ROWS,
) -> CountsResult:
    """Every condition with the oracle, and those `with_network` with the network too, on rendered
    belts and, where there are `photos` (folders or globs), on belts of these.

    Raises:
        EdgeError: the engine fails, or there are no such photos.
    """
    found: list[CountRow] = []
    with contextlib.closing(open_engine(engine_name)) as network:
        detectors: list[tuple[Engine, int]] = [(Oracle(network.info), FRAMES)]
        detectors.append((network, NETWORK_FRAMES))
        for surface in ("rendered", *(["photos"] if photos else [])):
            for detector, frames in detectors:
                for condition in conditions:
                    if detector is network and condition.name not in with_network:
                        continue
                    name = detector.info.model
                    on_progress(f"{surface}, {name}, {condition.name}")
                    case = replace(condition, frames=_frames(condition, rows, frames))
                    belt = _belt(case, width, photos if surface == "photos" else (), name)
                    found.append(_row(surface, detector, case, belt))
        return CountsResult(
            engine=engine_name,
            device=network.device,
            frame=f"{width}x{Condition.height}",
            fps=FPS,
            eject_line_px=EJECT_PX,
            rows=found,
        )


def _frames(condition: Condition, rows: int, most: int) -> int:
    return max(12, min(most, round(rows / condition.step_px)))


def _belt(condition: Condition, width: int, photos: Sequence[str], detector: str) -> Belt:
    size = condition.length(), width + 2 * MARGIN
    dense = condition.per_megapixel
    scene = of_photos(SEED, *size, dense, photos) if photos else rendered(SEED, *size, dense)
    return marked(scene) if detector == ORACLE else unmarked(scene)


def _row(surface: str, detector: Engine, condition: Condition, belt: Belt) -> CountRow:
    camera = BeltCamera(belt, condition, SEED)
    frames = list(camera)
    travel, width = float(condition.travel()[-1]), belt.image.shape[1] - 2 * MARGIN
    end = width, travel
    # As in a strip, y counts from the row that is in the scan row of the first frame.
    truth = _inside(belt.particles - (MARGIN, MARGIN + condition.scan_row), end)
    mosaic = _inside(on_mosaic(detector, camera, SEED), end)
    strip = on_strip(detector, frames, EJECT_PX)
    usual = on_frames(detector, camera, frames)
    first = camera.shots[0]
    moved = np.array([first.left, first.top]) - MARGIN
    places = strip.places + moved
    found = _inside(places, end)
    whole = _inside(at_once(detector, strip.picture) + moved, end)
    missed, extra = _unmatched(whole, found)
    is_oracle = detector.info.model == ORACLE
    eject = _ejection(condition, truth if is_oracle else mosaic, places, strip.records)
    return CountRow(
        surface=surface,
        detector=detector.info.model,
        condition=condition.name,
        frames=len(frames),
        truth=len(truth),
        mosaic=len(mosaic),
        mosaic_again=len(_inside(on_mosaic(detector, camera, SEED + 1), end)),
        strip_at_once=len(whole),
        strip=len(found),
        missed=missed,
        extra=extra,
        bytetrack=len(_inside(usual.as_it_comes, end)),
        bytetrack_padded=len(_inside(usual.padded, end)),
        strip_pixels=round(strip.pixels / (travel * width), 3),
        frame_pixels=round(usual.pixels / (travel * width), 3),
        strip_fps=round(len(frames) / strip.seconds, 2),
        frame_fps=round(len(frames) / usual.seconds, 2),
        **eject,
    )


def _inside(places: Places, end: tuple[float, float]) -> Places:
    """Those that lie before (x, y) and farther than `END` from all four sides."""
    return places[((places >= END) & (places < np.array(end) - END)).all(axis=1)]


def _nearest(places: Places, others: Places) -> Iterator[tuple[int, int]]:
    """Pairs of each other's nearest, not farther apart than `SAME_PX`."""
    if not (len(places) and len(others)):
        return
    distances = np.linalg.norm(places[:, None] - others[None], axis=2)
    there, back = distances.argmin(axis=1), distances.argmin(axis=0)
    for number, other in enumerate(there.tolist()):
        if back[other] == number and distances[number, other] <= SAME_PX:
            yield number, other


def _unmatched(expected: Places, found: Places) -> tuple[int, int]:
    pairs = len(list(_nearest(expected, found)))
    return len(expected) - pairs, len(found) - pairs


def _ejection(
    condition: Condition,
    truth: Places,
    places: Places,
    records: Sequence[dict[str, Any]],
) -> dict[str, float | None]:
    """How well it was told when and where particles cross the eject line."""
    # The belt goes on as before until the last of them is there.
    beyond = int(2 * (EJECT_PX + condition.height) / condition.step_px) + 100
    travel = replace(condition, frames=condition.frames + beyond).travel()
    across, along, within = [], [], []
    for number, other in _nearest(truth, places):
        record = records[other]
        if record["eject_s"] is None:
            continue
        x, y = truth[number]
        true_s = float(np.interp(y + EJECT_PX, travel, np.arange(len(travel)))) / FPS
        across.append(abs(record["eject_crossweb_px"] - x))
        along.append(abs(record["eject_s"] - true_s))
        within.append(along[-1] <= record["eject_error_s"])
    if not within:
        return {"eject_px": None, "eject_frames": None, "eject_within": None}
    return {
        "eject_px": round(float(max(across)), 3),
        "eject_frames": round(max(along) * FPS, 3),
        "eject_within": round(sum(within) / len(within), 4),
    }
