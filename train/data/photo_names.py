"""Photos by the names that masks, tables and labelling tools give them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath

# What tools put behind a photo's name to name its mask.
MASK_SUFFIXES = tuple(
    f"{mark}{word}"
    for word in (
        "cp_masks", "instance_mask", "mask", "masks", "label", "labels", "labelled", "labeled",
        "label_img", "segmentation", "seg", "gt", "bin",
    )
    for mark in "_-. "
)  # fmt: skip


def place_in(folder: Path, path: Path) -> str:
    """A file's place in a folder, without its ending: its name, unique in the folder."""
    return path.relative_to(folder).with_suffix("").as_posix()


def photo_of_mask(mask: str, photos: Container[str], *, beside: bool = False) -> str | None:
    """Which of `photos`, places in a folder, a mask at such a place is of: that of the same place,
    or of the place without what tools append.

    Args:
        beside: whether masks lie among the photos, where each has a name of its own.
    """
    if mask in photos and not beside:
        return mask
    lower = mask.lower()
    for suffix in MASK_SUFFIXES:
        if lower.endswith(suffix) and mask[: -len(suffix)] in photos:
            return mask[: -len(suffix)]
    return None


class PhotoFiles:
    """Files of photos, found by names that say more or less of where they are.

    A name is of the file that shares the most trailing parts with it, so `C:/x/day1/a.png` is
    `day1/a.png` even where there is a `day2/a.png`.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            self._by_name[path.name].append(path)

    def find(self, name: str) -> Path | None:
        """The file of that name; None where there is none, or more than one is as near."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        same = self._by_name.get(parts[-1], []) if parts else []
        if len(same) < 2:
            return same[0] if same else None
        shared = {path: _shared(path.parts, parts) for path in same}
        best = [path for path in same if shared[path] == max(shared.values())]
        return best[0] if len(best) == 1 else None


def _shared(path: Sequence[str], name: Sequence[str]) -> int:
    """How many parts at the end are equal."""
    count = 0
    for a, b in zip(reversed(path), reversed(name), strict=False):
        if a != b:
            break
        count += 1
    return count
