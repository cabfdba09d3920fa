"""What edge-run wrote in a soak, read back."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from pathlib import Path


def frames_csv(path: Path) -> list[tuple[int, str]]:
    """Index and status of each row."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(int(row["frame"]), row["status"]) for row in csv.DictReader(file)]


def sqlite_frames(path: Path) -> list[tuple[int, str, int, float]]:
    """Index, status, particles and time of each frame, in the order they were written; of those
    processed the particles are counted in their own table."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            "SELECT frame, status, (SELECT count(*) FROM particles WHERE frame_id = frames.id), "
            "time_s FROM frames ORDER BY id"
        ).fetchall()
    return [(int(frame), str(status), int(count), float(at)) for frame, status, count, at in rows]


def jsonl_frames(folder: Path, stem: str) -> list[int]:
    """The frame of each row of all files of one rotated sink."""
    return [
        int(json.loads(line)["frame"])
        for path in sorted(folder.glob(f"{stem}*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def video_frames(folder: Path) -> int:
    """Frames that can be decoded of all movies in a folder."""
    import av

    count = 0
    for path in folder.glob("*.mp4"):
        with av.open(str(path)) as movie:
            count += sum(1 for _ in movie.decode(video=0))
    return count
