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
from train.data.check import check
from train.data.samples import IGNORED, Sample, find_samples, scan
from train.data.store import Store, keep_samples
from train.metrics import object_counts

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


def touching() -> NDArray[np.uint8]:
    """Three objects (20,30), numbered from 1, of which two touch."""
    objects = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects[5:8, 10:12], objects[5:8, 12:14], objects[15:17, 20:22] = 1, 2, 3
    return objects


def coloured(colours: dict[int, tuple[int, ...]]) -> NDArray[np.uint8]:
    """`touching` in a colour for each number, blue first."""
    table = np.zeros((4, len(next(iter(colours.values())))), np.uint8)
    for number, colour in colours.items():
        table[number] = colour
    return table[touching()]


WHITE, RED, GREEN = (255, 255, 255), (0, 0, 200), (0, 160, 0)
SOME = touching() > 0


@pytest.mark.parametrize(
    ("mask", "objects"),
    [
        (SOME * np.uint8(1), 2),
        (SOME * np.uint8(76), 2),  # a palette whose colours were lost
        (coloured({1: RED, 2: RED, 3: RED}), 2),
        (coloured({1: RED, 2: GREEN, 3: RED}), 3),  # a colour for a class
        (coloured({1: RED, 2: GREEN, 3: WHITE}), 3),  # or for an object
        (np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), SOME * np.uint8(255)]), 2),
        (np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), SOME * np.uint8(128)]), 2),
        (coloured({0: (0, 0, 0, 0), **dict.fromkeys((1, 2, 3), (*GREEN, 255))}), 2),
        (touching(), 3),
        (touching().astype(np.uint16) * 300, 3),
        (touching().astype(np.float32), 3),
        (touching().astype(np.int32) + 70000 * SOME, 3),
    ],
)
def test_a_mask_is_whatever_is_not_black(tmp_path: Path, mask: NDArray[Any], objects: int) -> None:
    write_photo(tmp_path / "images/a.png")
    write_mask(tmp_path / f"masks/a.{'png' if mask.dtype.itemsize < 4 else 'tif'}", mask)
    sample = find_samples(tmp_path)[0].load()
    assert np.array_equal(sample.mask == 1, SOME)
    # One detection that covers both of those that touch finds both.
    found = object_counts(SOME.astype(np.uint8), sample.labels)
    assert (found.tp, found.fp, found.fn) == (objects, 0, 0)
    assert object_counts(np.zeros_like(sample.mask), sample.labels).fn == objects
    report = check(*scan(tmp_path))
    assert len(report.diameters_px) == objects
    assert sorted(report.lengths_px) == ([2, 3, 3] if objects == 3 else [2, 4])


@pytest.mark.parametrize("one_bit", [False, True])
def test_palettes_and_one_bit(tmp_path: Path, one_bit: bool) -> None:
    """As Pascal VOC has it, void in its colour; OpenCV writes neither."""
    pillow = pytest.importorskip("PIL.Image")
    write_photo(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    if one_bit:
        image = pillow.fromarray(SOME)
    else:
        indices = touching()
        indices[0, 0] = 255
        image = pillow.fromarray(indices)
        colours = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * 753 + [224, 224, 192]
        image.putpalette(colours)
    image.save(tmp_path / "masks/a.png")
    sample = find_samples(tmp_path)[0].load()
    assert np.array_equal(sample.mask == 1, SOME)
    assert (sample.mask[0, 0] == IGNORED) != one_bit


def test_classes_by_number_leave_255_out(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    classes = np.where(touching() > 2, 1, touching())
    classes[0] = 255
    write_mask(tmp_path / "masks/a.png", classes)
    sample = find_samples(tmp_path)[0].load()
    assert (sample.mask[0] == IGNORED).all()
    assert np.array_equal(sample.mask == 1, SOME)
    assert any("void" in note for note in sample.notes)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (cv2.GaussianBlur(particles(), (0, 0), 1), "others on soft edges; .*anti-aliasing"),
        (np.full((HEIGHT, WIDTH), 7, np.uint8), "holds grey value 7 and nowhere 0"),
        (coloured({0: WHITE, 1: RED, 2: RED, 3: RED}), "holds colour #c80000 and nowhere 0"),
        (SOME.astype(np.float32) / 2, "fractions, as a map of probabilities"),
        (
            np.dstack([coloured({1: RED, 2: RED, 3: (0, 0, 0)}), np.uint8(255) * ~SOME]),
            "alpha channel and its colours are different masks; .*Remove Alpha",
        ),
    ],
)
def test_a_mask_that_is_not_plain_says_what_to_change(
    tmp_path: Path, mask: NDArray[Any], words: str
) -> None:
    write_photo(tmp_path / "images/a.png")
    write_mask(tmp_path / f"masks/a.{'tif' if mask.dtype == np.float32 else 'png'}", mask)
    with pytest.raises(EdgeError, match=words):
        find_samples(tmp_path)[0].load()


def test_numbers_of_many_touching_objects_are_told_from_soft_edges(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png", (200, 200, 3))
    rng = np.random.default_rng(0)
    numbers = np.zeros((200, 200), np.uint8)
    for number, at in enumerate(rng.integers(6, 194, (150, 2)).tolist(), 1):
        cv2.circle(numbers, at, int(rng.integers(1, 6)), number, -1)
    write_mask(tmp_path / "masks/a.png", numbers)
    (paths,) = find_samples(tmp_path)
    sample = paths.load()
    assert len(np.unique(sample.labels)) == len(np.unique(numbers)) > 130
    white = (numbers > 0).astype(np.uint8) * 255
    small = cv2.resize(white, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", white)[1], cv2.IMREAD_GRAYSCALE)
    for soft in (cv2.GaussianBlur(white, (0, 0), 3), cv2.resize(small, (200, 200)), jpeg):
        write_mask(tmp_path / "masks/a.png", np.asarray(soft))
        with pytest.raises(EdgeError, match="others on soft edges"):
            paths.load()


def test_an_inverted_mask_is_said(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.png", 255 - particles())
    assert "INVERTED?" in check(*scan(tmp_path)).notes[0]


def test_suffixes_of_masks_nested_folders_and_system_files(tmp_path: Path) -> None:
    names = {"day1/p": "day1/p_mask", "day2/p": "day2/p-labels", "q": "q.jpg", "r": "r_cp_masks"}
    for photo, mask in names.items():
        for path in (tmp_path / f"images/{photo}.jpg", tmp_path / f"masks/{mask}.png"):
            path.parent.mkdir(exist_ok=True, parents=True)
            write_photo(path) if "images" in path.parts else write_mask(path, particles())
    for name in ("images/._q.jpg", "images/__MACOSX/q.jpg", "masks/Thumbs.db", "masks/.x/q.png",
                 "images/@eaDir/q.jpg", "._annotations.json"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    pairs, unpaired = scan(tmp_path)
    assert unpaired == []
    assert [pair.name for pair in pairs] == sorted(names)
    assert all(pair.load().mask.any() for pair in pairs)


def test_photos_of_one_name_in_coco_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for day in ("day1", "day2"):
        (tmp_path / f"images/{day}").mkdir(parents=True)
        write_photo(tmp_path / f"images/{day}/p.png")
    write_coco(
        tmp_path / "annotations.json", [annotation([BOX])], "C:\\x\\day1\\p.png", "day2/p.png"
    )
    samples = {paths.name: paths.load() for paths in find_samples(tmp_path)}
    assert {name: bool(s.mask.any()) for name, s in samples.items()} == {
        "day1/p": True, "day2/p": False
    }  # fmt: skip


def test_classes_of_coco_are_chosen_or_said(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    path = tmp_path / "annotations.json"
    small = [[0, 0, 1, 0, 1, 1, 0, 1]]
    write_coco(path, [annotation([BOX], category_id=1), annotation(small, category_id=2)])
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 1, "name": "plastic"}, {"id": 2, "name": "stone"}]
    path.write_text(json.dumps(content))
    both = find_samples(tmp_path)[0].load()
    assert both.notes == ("all classes count as particle: plastic, stone; --classes chooses",)
    (chosen,) = (paths.load() for paths in find_samples(tmp_path, ["plastic"]))
    assert (both.mask.sum(), chosen.mask.sum(), chosen.notes) == (13, 12, ())
    with pytest.raises(EdgeError, match="has no class glass; its classes are plastic, stone"):
        find_samples(tmp_path, ["glass"])


def test_a_ring_inside_another_is_a_hole(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    inner, beside = [11, 6, 13, 6, 13, 7, 11, 7], [13, 5, 16, 5, 16, 8, 13, 8]
    write_coco(tmp_path / "annotations.json", [annotation([BOX, inner, beside])])
    mask = find_samples(tmp_path)[0].load().mask
    assert (mask.sum(), mask[6, 11:13].sum()) == (12 + 6 - 2, 0)


def test_objects_of_coco_that_touch_stay_apart(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    beside = [14, 5, 16, 5, 16, 8, 14, 8]
    write_coco(tmp_path / "annotations.json", [annotation([BOX]), annotation([beside])])
    sample = find_samples(tmp_path)[0].load()
    assert object_counts(np.zeros_like(sample.mask), sample.labels).fn == 2


def test_photos_beyond_memory_are_the_same_in_a_file(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.png", touching())
    (paths,) = find_samples(tmp_path)
    loaded = paths.load()
    (held,) = keep_samples([loaded])
    assert held.image is loaded.image
    (kept,) = keep_samples([loaded], Store(limit=0))
    assert isinstance(kept.image.base, np.memmap) or isinstance(kept.image.base.base, np.memmap)
    for part in ("image", "mask", "objects"):
        found, expected = getattr(kept, part), getattr(loaded, part)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    (again,) = keep_samples([kept], Store(limit=0))
    assert np.shares_memory(again.image, kept.image)


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
    (tmp_path / "points.csv").write_text("file,x,y\n")
    with pytest.raises(EdgeError, match=r"its labels are points, .* --points .*points\.csv"):
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
