"""How a belt is read."""

from __future__ import annotations

from dataclasses import dataclass

from edge.belt.direction import Direction
from edge.errors import BadArgumentError

# Of a segment where the scale is not known.
SEGMENT_PX = 1000.0


@dataclass(frozen=True)
class BeltSettings:
    """Of a run over a belt.

    Attributes:
        direction: where the belt moves in the picture; None finds out from the first frames.
        scan_row: row of the frames (column, where the belt moves sideways) at which the strip is
            taken, px; None is the middle.
        speed_px_s: of the belt, where the frames do not tell it; None is the last one measured.
        encoder_px: way of the belt in a count of `Frame.encoder`, px; where the frames do not tell
            how far it moved, it goes before the speed.
        max_latency_s: rows wait at most so long for their chunk to fill up; None is no limit.
        eject_px: distance from the scan row to the eject line, downstream, px; None is no line.
        segment_px: length of the segments whose particles are counted, px.
        chunk_rows: of a chunk with its halo; None chooses.

    Raises:
        BadArgumentError: a value is out of range.
    """

    direction: Direction | None = None
    scan_row: int | None = None
    speed_px_s: float | None = None
    encoder_px: float | None = None
    max_latency_s: float | None = None
    eject_px: float | None = None
    segment_px: float = SEGMENT_PX
    chunk_rows: int | None = None

    def __post_init__(self) -> None:
        if self.scan_row is not None and self.scan_row < 0:
            raise BadArgumentError(f"a scan row of {self.scan_row} is in no frame")
        for name, value in (
            ("belt speed", self.speed_px_s),
            ("step of the encoder", self.encoder_px),
            ("maximum latency", self.max_latency_s),
            ("distance of the eject line", self.eject_px),
            ("length of segments", self.segment_px),
            ("number of rows of a chunk", self.chunk_rows),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise BadArgumentError(f"a {name} of {value} is not above 0")
