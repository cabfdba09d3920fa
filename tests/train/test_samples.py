import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from edge.errors import EdgeError
from train.data.samples import Sample, find_samples, scan

HEIGHT, WIDTH = 20, 30


def particles() -> NDArray[np.uint8]:
    """A mask (20,30) of 255 where two particles of 3x4 and 1x2 px are."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:8, 10:14] = 255
    mask[15, 20:22] = 255
    return mask


def write_photo(path: Path, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> None:
    path.parent.mkdir(exist_ok=True)
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    cv2.imwrite(str(path), image)


def write_mask(path: Path, mask: NDArray[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), mask)


def annotation(segmentation: object, image_id: int = 1, **more: object) -> dict[str, object]:
    return {"id": 7, "image_id": image_id, "segmentation": segmentation, **more}


def write_coco(path: Path, annotations: list[dict[str, object]], *names: str) -> None:
    """Photos count from 1 in the order of `names`; without names there is a.png."""
    images = [
        {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for number, name in enumerate(names or ("a.png",), 1)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))


@pytest.mark.parametrize("white", [255, 65535])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_is_0_or_1_whatever_its_file(tmp_path: Path, suffix: str, white: int) -> None:
    write_photo(tmp_path / "images/a.jpg")
    mask = particles()
    deep = (mask > 0) * np.array(white, np.uint8 if white == 255 else np.uint16)
    write_mask(tmp_path / f"masks/a{suffix}", deep)
    (pair,) = find_samples(tmp_path)
    photo = pair.load()
    assert (pair.name, photo.name) == ("a", "a")
    assert photo.image.shape == (HEIGHT, WIDTH, 3)
    assert photo.mask.dtype == np.uint8
    assert np.array_equal(photo.mask, mask // 255)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_photos_of_any_depth_and_channels(
    tmp_path: Path, channels: tuple[int, ...], depth: type[np.unsignedinteger[Any]]
) -> None:
    (tmp_path / "images").mkdir()
    image = np.full((HEIGHT, WIDTH, *channels), np.iinfo(depth).max, depth)
    cv2.imwrite(str(tmp_path / "images/a.tif"), image)
    write_mask(tmp_path / "masks/a.png", particles())
    loaded = find_samples(tmp_path)[0].load().image
    assert loaded.shape == (HEIGHT, WIDTH, 3)
    assert loaded.dtype == np.uint8
    assert (loaded == 255).all()


def test_object_numbers_in_16_bits_are_no_mask(tmp_path: Path) -> None:
    """Read as 8 bits they would be an empty mask."""
    write_photo(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.tif", (particles() // 255).astype(np.uint16) * 3)
    with pytest.raises(EdgeError, match=r"a\.tif: holds grey value 3; a mask is 0 for background"):
        find_samples(tmp_path)[0].load()


def test_a_jpeg_mask_is_told_to_become_png(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.jpg", particles())
    with pytest.raises(EdgeError, match="which JPEG blurs: save masks as PNG"):
        find_samples(tmp_path)[0].load()


def test_names_are_unique(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        write_photo(tmp_path / "images" / name)
    for name in ("a.png", "b.png", "b.tif", "c.png"):
        write_mask(tmp_path / "masks" / name, particles())
    pairs, unpaired = scan(tmp_path)
    assert pairs == []
    images, masks = tmp_path / "images", tmp_path / "masks"
    assert unpaired == [
        f"{images / 'a.jpg'} and {images / 'a.png'}: 2 photos of one name; keep one",
        f"{masks / 'b.png'} and {masks / 'b.tif'}: 2 masks of one name; keep one",
        f"{masks / 'c.png'}: has no photo of the same name",
    ]
    with pytest.raises(EdgeError, match=r"a\.jpg and .*a\.png: .* \(and 2 more\)$"):
        find_samples(tmp_path)


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="images: no such folder; photos go to images/"):
        find_samples(tmp_path)
    write_photo(tmp_path / "images/a.png")
    with pytest.raises(EdgeError, match=r"masks: no such folder; .*annotations\.json"):
        find_samples(tmp_path)
    (tmp_path / "images/a.png").unlink()
    (tmp_path / "masks").mkdir()
    with pytest.raises(EdgeError, match="images: holds no images"):
        find_samples(tmp_path)


# --- COCO -----------------------------------------------------------------------------------------

# Covers the pixels 10..13 x 5..7.
BOX = [10, 5, 14, 5, 14, 8, 10, 8]


def test_polygons_of_every_category_become_one_mask(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / "images" / name)
    pair_of_boxes = [[20, 15, 22, 15, 22, 16, 20, 16], [0, 0, 1, 0, 1, 1, 0, 1]]
    write_coco(
        tmp_path / "anything.json",
        [annotation([BOX], category_id=0), annotation(pair_of_boxes, category_id=4, iscrowd=1)],
        "images\\a.png",
        "data/b.png",
    )
    first, second = (pair.load() for pair in find_samples(tmp_path))
    expected = particles() // 255
    expected[0, 0] = 1
    assert np.array_equal(first.mask, expected)
    assert first.mask.dtype == np.uint8
    assert first.mask.flags.c_contiguous
    # Listed without annotations: a clean photo.
    assert second.mask.shape == (HEIGHT, WIDTH)
    assert not second.mask.any()


@pytest.mark.parametrize("compressed", [False, True])
def test_run_length_codes_become_the_mask_they_encode(tmp_path: Path, compressed: bool) -> None:
    mask = particles() // 255
    mask[:, 25:] = np.random.default_rng(5).integers(0, 2, (HEIGHT, 5))
    if compressed:
        code = coco.encode(np.asfortranarray(mask))
        segmentation = {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode()}
    else:
        runs = np.diff(np.flatnonzero(np.diff(np.r_[2, mask.T.ravel(), 2])))
        segmentation = {"size": [HEIGHT, WIDTH], "counts": runs.tolist()}
    write_photo(tmp_path / "a.png")
    # A polygon beside it: both count.
    write_coco(
        tmp_path / "_annotations.coco.json",
        [annotation(segmentation), annotation([[0, 0, 1, 0, 1, 1, 0, 1]])],
    )
    loaded = find_samples(tmp_path)[0].load().mask
    mask[0, 0] = 1
    assert np.array_equal(loaded, mask)


def test_what_a_coco_file_and_its_folder_do_not_share_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / "images" / name)
    annotations = tmp_path / "annotations.json"
    write_coco(annotations, [annotation([BOX])], "a.png", "c.png")
    (tmp_path / "other.json").write_text("{}")
    pairs, unpaired = scan(tmp_path)
    assert [pair.name for pair in pairs] == ["a"]
    assert unpaired == [
        f"{tmp_path / 'images/b.png'}: has no entry in {annotations}",
        f"{annotations}: c.png is not in {tmp_path / 'images'}",
    ]


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.pop(key)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("images"), "not COCO annotations; these have 'images'"),
        (without("annotations"), "not COCO annotations"),
        (lambda content: content["images"][0].pop("file_name"), "not COCO annotations"),
        (lambda content: content["images"][0].update(width=None), "not COCO annotations"),
        (lambda content: content["annotations"][0].pop("image_id"), "not COCO annotations"),
        (lambda content: content["images"].append(content["images"][0]), "lists a.png twice"),
        (
            lambda content: content["annotations"][0].update(image_id="1"),
            "annotation 7 is of image '1', which is not in 'images'",
        ),
    ],
)
def test_a_file_that_is_not_coco_is_one_sentence(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], words: str
) -> None:
    write_photo(tmp_path / "images/a.png")
    path = tmp_path / "annotations.json"
    write_coco(path, [annotation([BOX])])
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(EdgeError) as raised:
        find_samples(tmp_path)
    assert str(raised.value).startswith(f"{path}: ")
    assert words in str(raised.value)


def test_json_files_that_leave_the_choice_open(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    (tmp_path / "x.json").write_text('{"images": [')
    with pytest.raises(EdgeError, match=r"x\.json: not JSON"):
        find_samples(tmp_path)
    write_coco(tmp_path / "y.json", [])
    with pytest.raises(EdgeError, match=r"holds x\.json and y\.json; keep the one"):
        find_samples(tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "has no segmentation"),
        ([], "has no segmentation"),
        ([[1, 1, 5, 5]], "has a polygon"),  # pycocotools would take it for a box
        ([[1, 1, 5, 5, 3]], "has a polygon"),
        ([1, 1, 5, 1, 5, 5], "has a polygon"),
        ([["x"] * 6], "has a polygon"),
        ([[1, 1, 5, 1, 5, float("nan")]], "has a polygon"),
        ([[1, 1, 5, 1, 5, 1e12]], "has a polygon"),
        ("polygon", "has a polygon"),
        ({"size": [HEIGHT, WIDTH]}, "has a run-length code"),
        ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, "has a run-length code"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "has a run-length code"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "has a run-length code"),
        ({"size": [HEIGHT, WIDTH], "counts": "zzzz"}, "has a run-length code"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "has a run-length code"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, "has a run-length code"),
    ],
)
def test_an_annotation_that_cannot_be_drawn_is_named(
    tmp_path: Path, segmentation: object, words: str
) -> None:
    write_photo(tmp_path / "images/a.png")
    write_coco(tmp_path / "annotations.json", [annotation(segmentation)])
    (pair,) = find_samples(tmp_path)
    with pytest.raises(EdgeError, match=rf"annotations\.json: a\.png, annotation 7 {words}"):
        pair.load()


def test_a_photo_of_another_size_than_its_entry_is_named(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png", (WIDTH, HEIGHT, 3))
    write_coco(tmp_path / "annotations.json", [])
    with pytest.raises(EdgeError, match=r"a\.png is 30x20 px, its photo 20x30"):
        find_samples(tmp_path)[0].load()


def test_photos_are_compared_by_identity() -> None:
    photo = Sample("a", np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8))
    assert photo != replace(photo)
    assert photo in {photo, replace(photo)}


def test_a_mask_is_read_under_any_name(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/a.png"), particles())
    for kind in ("images", "masks"):
        file = tmp_path / kind / "a.png"
        file.rename(file.with_name(os.fsdecode(b"not utf-8 \xff.png")))
    (sample,) = (paths.load() for paths in find_samples(tmp_path))
    assert np.array_equal(sample.mask, particles() // 255)


def test_a_mask_that_claims_billions_of_pixels_is_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    encoded = bytearray(cv2.imencode(".png", particles())[1].tobytes())
    encoded[16:24] = struct.pack(">II", 60_000, 60_000)
    encoded[29:33] = struct.pack(">I", zlib.crc32(encoded[12:29]))
    (tmp_path / "masks/a.png").write_bytes(encoded)
    (paths,) = find_samples(tmp_path)
    with pytest.raises(EdgeError, match=r"a\.png: not a readable image"):
        paths.load()
