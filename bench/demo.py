"""The demo: render a belt clip, run edge-run on it, compare with the ground truth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import ensure_empty_directory
from edge.particles import ParticleFilter
from train.data.synth import belt_clip
from train.metrics import ObjectCounts, object_counts

# Px. The paper's particles are 3-10 px wide; smaller ones count neither way, found or missed.
SMALLEST = 3.0


@dataclass(frozen=True)
class Clip:
    """A video file and the true masks (H,W) uint8 of its frames."""

    path: Path
    masks: list[NDArray[np.uint8]]


def render_clip(folder: Path, seed: int, frames: int) -> Clip:
    """Render a belt of 1440x1440 px frames into folder/belt.avi.

    Raises:
        BadArgumentError: the folder is not empty.
        EdgeError: OpenCV cannot write the video.
    """
    ensure_empty_directory(folder)
    path, masks = folder / "belt.avi", []
    writer: cv2.VideoWriter | None = None
    for frame in belt_clip(seed, frames):
        if writer is None:
            size = (frame.image.shape[1], frame.image.shape[0])
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 2.0, size)
            if not writer.isOpened():
                raise EdgeError(f"{path}: OpenCV cannot write this video")
        writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        masks.append(frame.mask)
    if writer is not None:
        writer.release()
    return Clip(path, masks)


def edge_arguments(clip: Clip, engine: str, out: Path) -> list[str]:
    """What edge-run is given."""
    return ["--source", str(clip.path), "--engine", engine, "--out", str(out)]


def run_edge(clip: Clip, engine: str, out: Path) -> Iterator[ObjectCounts]:
    """Run edge-run on the clip as a user would, then count frame by frame the particles of
    `SMALLEST` px and more.

    Raises:
        EdgeError: edge-run fails.
    """
    command = edge_arguments(clip, engine, out)
    if subprocess.run([sys.executable, "-m", "edge", *command], check=False).returncode:
        raise EdgeError("edge-run failed")
    for path, mask in zip(sorted((out / "masks").iterdir()), clip.masks, strict=True):
        found = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        particles = ParticleFilter(0.5, SMALLEST).mask(mask)
        yield object_counts(found, particles, doubtful=mask > particles)
