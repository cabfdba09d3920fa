"""The smaller network that would do: fewer levels, then fewer residual units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from train.ablation import stage_above
from train.models.spec import ModelSpec, MultiResSpec

# Recall-weighted F1 that all that goes may cost together.
TOLERANCE = 0.01

# Of r.w. F1, with stages and residual units of these names taken out.
Change = Callable[..., float]


@dataclass(frozen=True)
class Reduction:
    """A smaller network, and what it costs to take out of the trained one what it lacks.

    Attributes:
        without: stages and residual units that are taken out.
        change: of r.w. F1 without them all.
    """

    spec: ModelSpec
    without: tuple[str, ...]
    change: float


def units_from(spec: MultiResSpec, level: int, kept: int) -> tuple[str, ...]:
    """The residual units of a level but its first `kept`: residual.0.3 for example."""
    return tuple(f"residual.{level}.{unit}" for unit in range(kept, spec.units[level]))


def fewest_units(spec: MultiResSpec, level: int) -> int:
    """How many units of a level's path cannot be bypassed.

    The first one stays where it changes the number of channels.
    """
    return min(spec.units[level], int(spec.encoder[level] != spec.residual[level]))


def reduce(spec: ModelSpec, change: Change) -> Reduction | None:
    """The network without as many deepest levels, then with as few residual units, as may go.

    All that goes is taken out together, so that all of it costs at most `TOLERANCE`.

    Returns:
        None where nothing may go.
    """
    smaller, without = spec, tuple[str, ...]()
    for dropped in range(spec.levels - 1, 0, -1):
        stage = stage_above(spec, dropped)
        if change(stage) >= -TOLERANCE:
            smaller, without = spec.without_deepest(dropped), (stage,)
            break
    if isinstance(smaller, MultiResSpec):
        units = list(smaller.units)
        for level in range(smaller.levels):  # level 0 first: its units cost most
            for kept in range(fewest_units(smaller, level), units[level]):
                together = (*without, *units_from(smaller, level, kept))
                if change(*together) >= -TOLERANCE:
                    units[level], without = kept, together
                    break
        if tuple(units) != smaller.units:
            smaller = smaller.with_units(tuple(units))
    return Reduction(smaller, without, change(*without)) if without else None
