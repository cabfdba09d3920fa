"""Masks and label images beside photos, as ImageJ, QuPath, cellpose and StarDist leave them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from edge.sources.images import nested_image_files
from train.data.formats.labels import PhotoLabels, Skipped
from train.data.photo_names import photo_of_mask, place_in

NAME = "masks and label images"
PHOTO_FOLDERS = ("images", "image", "photos", "img", "imgs", "raw")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "label_images", "gt", "ground_truth", "annotations",
    "segmentations",
)  # fmt: skip


def find(source: Path) -> list[Path]:
    """The folder itself, where it has masks in a folder beside the photos, or among them with a
    name of their own."""
    return [source] if source.is_dir() and _pairs(source) else []


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The photo of each mask."""
    pairs = _pairs(files[0])
    masks = defaultdict[Path, list[Path]](list)
    for photo, mask in pairs:
        masks[photo].append(mask)
    for photo, (mask, *others) in masks.items():
        if others:
            skipped.add(f"has several masks, {mask.name} and {others[0].name}", photo.name)
        else:
            yield PhotoLabels((str(photo),), mask=mask)


def _pairs(source: Path) -> list[tuple[Path, Path]]:
    """(photo, mask)."""
    inside = {path.name.lower(): path for path in source.iterdir() if path.is_dir()}
    photo_folder = next((inside[name] for name in PHOTO_FOLDERS if name in inside), source)
    mask_folder = next((inside[name] for name in MASK_FOLDERS if name in inside), source)
    photos, masks = (
        {place_in(folder, path): path for path in nested_image_files(folder)}
        for folder in (photo_folder, mask_folder)
    )
    apart = photo_folder != mask_folder
    if apart and photo_folder == source:
        photos = {name: path for name, path in photos.items() if mask_folder not in path.parents}
    found = []
    for name, mask in masks.items():
        of = photo_of_mask(name, photos, beside=not apart)
        if of is not None:
            found.append((photos[of], mask))
    return found
