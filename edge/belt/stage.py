"""Particles of a strip, each once, when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.belt.density import Density
from edge.belt.frame import BeltFrame
from edge.belt.result import BeltResult
from edge.belt.settings import SEGMENT_PX
from edge.particles import ParticleFilter, find_particles, particle_mask
from edge.result import Result

# Longer components, such as the edge of the belt, are cut: memory must not grow with the belt.
MAX_COMPONENT_ROWS = 1024


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of a strip whose components may go on below them.

    Attributes:
        frame: of these rows only.
        probability: uint8 (H,W).
        unreported: the same, 0 where a component has been reported.
    """

    frame: BeltFrame
    probability: NDArray[np.uint8]
    unreported: NDArray[np.uint8]

    def rows(self, begin: int, unreported: NDArray[np.uint8]) -> _Part:
        """Those from number `begin` on."""
        at, part = begin - self.frame.first_row, self.frame.cut(begin, self.frame.valid[1])
        # Copies, so that the other rows are freed.
        part = replace(part, image=part.image.copy())
        return _Part(part, self.probability[at:].copy(), unreported[at:].copy())

    def followed_by(self, other: _Part) -> _Part:
        """Both, where `other` has the rows after these."""
        frame = replace(
            other.frame,
            image=np.concatenate([self.frame.image, other.frame.image]),
            first_row=self.frame.first_row,
            valid=(self.frame.first_row, other.frame.valid[1]),
            passed_s=np.concatenate([self.frame.passed_s, other.frame.passed_s]),
            measured=np.concatenate([self.frame.measured, other.frame.measured]),
            crossweb=np.concatenate([self.frame.crossweb, other.frame.crossweb]),
        )
        return _Part(
            frame,
            np.concatenate([self.probability, other.probability]),
            np.concatenate([self.unreported, other.unreported]),
        )


class BeltStage:
    """As a stage of a run it takes results of chunks in order, and gives results of their valid
    rows, with the particles that are complete.

    A component that reaches the last row is not: it is kept, with the rows that it is in, for the
    next chunk, whose result then begins with these rows. So each particle lies whole in one result,
    in its mask and image as in its records.

    Args:
        eject_px, segment_px: as in `BeltSettings`.
    """

    def __init__(
        self,
        eject_px: float | None = None,
        segment_px: float = SEGMENT_PX,
        max_component_rows: int = MAX_COMPONENT_ROWS,
    ) -> None:
        self._eject_px, self._max_component_rows = eject_px, max_component_rows
        self._density = Density(segment_px)
        self._open: _Part | None = None

    def __call__(self, result: Result) -> Iterator[BeltResult]:
        """One result for a chunk, and one before where the strip is interrupted before it."""
        frame = result.frame
        assert isinstance(frame, BeltFrame)
        particle_filter = result.particle_filter
        part = _valid(frame, result.probability)
        if self._open:
            if self._open.frame.valid[1] == part.frame.first_row:
                part = self._open.followed_by(part)
            else:
                ended = replace(self._open, frame=replace(self._open.frame, ends=True))
                yield self._result(ended, ended.unreported, particle_filter)
            self._open = None
        complete = part.unreported
        if not frame.ends:
            begin, incomplete = self._incomplete(part, particle_filter.threshold_u8)
            if incomplete.any():
                self._open = part.rows(begin, np.where(incomplete, part.unreported, 0))
                complete = np.where(incomplete, 0, part.unreported)
        yield self._result(part, complete, particle_filter)

    def _incomplete(self, part: _Part, level: int) -> tuple[int, NDArray[np.bool_]]:
        """The first row of the components that reach the last one, and their pixels."""
        mask = particle_mask(part.unreported, level)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        heights = stats[:, cv2.CC_STAT_HEIGHT]
        reaching = [
            label for label in np.unique(labels[-1]) if label and
            heights[label] < self._max_component_rows
        ]  # fmt: skip
        chosen = np.zeros(len(stats), bool)
        chosen[reaching] = True
        top = min((int(stats[label, cv2.CC_STAT_TOP]) for label in reaching), default=0)
        return part.frame.first_row + top, chosen[labels]

    def _result(
        self, part: _Part, complete: NDArray[np.uint8], particle_filter: ParticleFilter
    ) -> BeltResult:
        mask = particle_filter.mask(complete)
        particles = find_particles(complete, mask)
        complete_to = self._open.frame.first_row if self._open else part.frame.valid[1]
        return BeltResult(
            part.frame,
            part.probability,
            particle_filter,
            mask,
            particles,
            eject_px=self._eject_px,
            segments=self._density.add(part.frame, particles, complete_to),
        )


def _valid(frame: BeltFrame, probability: NDArray[np.uint8]) -> _Part:
    """The valid rows of a chunk."""
    begin, end = (row - frame.first_row for row in frame.valid)
    rows = probability[begin:end]
    return _Part(frame.cut(*frame.valid), rows, rows)
