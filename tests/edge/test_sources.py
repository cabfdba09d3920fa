"""Sources: what they deliver, and the account of what they do not."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.frame import Frame, SkippedFrame
from edge.sources import open_source
from edge.sources.exif import file_orientation, upright
from edge.sources.images import read_image, to_uint8
from edge.sources.video import VideoSource


def grey(value: int, side: int = 24) -> NDArray[np.uint8]:
    return np.full((side, side, 3), value, np.uint8)


def delivered(source: object) -> list[tuple[int, str]]:
    """(index, file or status) of each frame."""
    found = []
    for frame in source:  # type: ignore[attr-defined]
        is_frame = isinstance(frame, Frame)
        found.append((frame.index, Path(frame.file).name if is_frame else frame.status))
    return found


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_files_of_any_sensor_look_the_same(bits: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(bits)
    image = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    image[0, 0] = 255
    path = tmp_path / "x.tif"
    cv2.imwrite(str(path), np.rint(image * ((2**bits - 1) / 255)).astype(np.uint16))
    assert np.abs(read_image(path).astype(int) - image[..., ::-1]).max() <= 1
    source = open_source(str(path))
    assert len(list(source)) == 1
    expected = [f"{path}: values up to {2**bits - 1} of 65535, read as {bits}-bit"]
    assert source.problems == (expected if bits < 16 else [])


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_whole_numbers_and_fractions_of_more_bits(kind: type, tmp_path: Path) -> None:
    values = np.arange(0, 256, 5).reshape(4, 13)
    whole = np.issubdtype(kind, np.integer)
    path = tmp_path / "x.tif"
    cv2.imwrite(str(path), values.astype(kind) if whole else (values / 255).astype(kind))
    assert (read_image(path) == values[..., None]).all()


def test_grey_of_16_bits_whose_zero_is_white(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    values = np.arange(0, 65536, 1366, np.uint16).reshape(4, 12)
    cv2.imwrite(str(path), values, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    data = bytearray(path.read_bytes())
    black_is_zero = struct.pack("<HHIHH", 0x106, 3, 1, 1, 0)
    assert data.count(black_is_zero) == 1
    path.write_bytes(data.replace(black_is_zero, struct.pack("<HHIHH", 0x106, 3, 1, 0, 0)))
    assert (
        np.abs(read_image(path)[..., 0].astype(int) - (65535 - values.astype(int)) / 257).max() < 1
    )


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pixels_turned_by_the_orientation_are_what_opencv_shows(
    suffix: str, turn: int, tmp_path: Path
) -> None:
    pillow = pytest.importorskip("PIL.Image")
    stored = np.kron(np.arange(12).reshape(3, 4) * 20, np.ones((8, 8))).astype(np.uint8)
    path = tmp_path / f"x{suffix}"
    exif = pillow.Exif()
    exif[0x112] = turn
    pillow.fromarray(stored).convert("RGB").save(path, exif=exif, quality=95)
    assert file_orientation(path) == turn
    expected = upright(stored, turn).astype(int)
    assert np.abs(read_image(path)[..., 0] - expected).max() < 9


def test_heic_is_read_or_its_extra_named(tmp_path: Path) -> None:
    """The file was written by pillow-heif: red left, blue right."""
    path = Path(__file__).with_name("red_blue.heic")
    try:
        import pillow_heif  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(EdgeError, match=r"needs pillow_heif.*pip install '\.\[heic\]'"):
            read_image(path)
        return
    image = read_image(path)
    assert image.shape == (32, 64, 3)
    left, right = image[16, 8].astype(int), image[16, 56].astype(int)
    assert np.abs(left - (200, 30, 30)).max() < 12
    assert np.abs(right - (30, 30, 200)).max() < 12


def test_float_files_hold_fractions(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    cv2.imwrite(str(path), np.full((9, 9, 3), 0.5, np.float32))
    assert (read_image(path) == 128).all()
    cv2.imwrite(str(path), np.full((9, 9, 3), 90, np.float32))
    with pytest.raises(EdgeError, match="float32 values from 90 to 90; save it with 8 or 16 bits"):
        read_image(path)
    with pytest.raises(EdgeError, match="x: holds int32 values from -1 to -1"):
        to_uint8(np.full((2, 2), -1, np.int32), "x")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_every_page_is_a_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"stack{suffix}"
    pages = [grey(value) for value in (10, 100, 200)]
    if suffix == ".tif":
        cv2.imwritemulti(str(path), pages)
    elif not hasattr(cv2, "Animation"):
        pytest.skip("this OpenCV writes no animations")
    else:
        animation = cv2.Animation()
        animation.frames, animation.durations = pages, np.full(3, 100)
        cv2.imwriteanimation(str(path), animation)
    (tmp_path / "zebra.bmp").write_bytes(cv2.imencode(".bmp", grey(50))[1].tobytes())
    source = open_source(str(tmp_path))
    frames = [frame for frame in source if isinstance(frame, Frame)]
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [10, 100, 200, 50]
    assert [Path(frame.file).name for frame in frames] == [
        path.name, f"{path.name}#2", f"{path.name}#3", "zebra.bmp",
    ]  # fmt: skip
    assert source.expected == 4
    with pytest.raises(EdgeError, match="holds several images"):
        read_image(path)


def test_a_folder_says_what_it_does_not_read(tmp_path: Path) -> None:
    for name in ("a.DNG", "b.cr2", "c.dng", "d.mp4", "notes", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "z.png"), grey(9))
    cv2.imwrite(str(tmp_path / "._z.png"), grey(9))
    source = open_source(str(tmp_path))
    assert delivered(source) == [(0, "z.png")]
    assert len(source.problems) == 1
    assert source.problems[0].startswith(
        "not read: 1 .DNG, 1 .cr2, 1 .dng, 1 .mp4, 1 folder, 1 other (kinds read: .bmp, "
    )
    assert delivered(open_source(f"glob:{tmp_path}/*.png")) == [(0, "z.png")]
    assert delivered(open_source(f"{tmp_path}/**/z*")) == [(0, "z.png")]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp"])
def test_a_cut_off_image_is_no_image(suffix: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    data = cv2.imencode(suffix, image)[1].tobytes()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    assert read_image(path).shape == (60, 60, 3)
    for keep in (len(data) * 2 // 3, 20, 1, 0):
        path.write_bytes(data[:keep])
        with pytest.raises(EdgeError, match="not a readable image"):
            read_image(path)


def test_a_jpeg_with_more_behind_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "motion.jpg"
    path.write_bytes(cv2.imencode(".jpg", grey(77))[1].tobytes() + b"\xff\xd8\xffmore" * 9)
    assert abs(int(read_image(path)[0, 0, 0]) - 77) < 3


def test_a_huge_header_is_one_bad_file(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (tmp_path / "b.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    for name in ("a", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), grey(9))
    source = open_source(str(tmp_path))
    assert delivered(source) == [(0, "a.png"), (1, "failed"), (2, "c.png")]
    assert source.problems == [
        f"{tmp_path}/b.png: not a readable image (more pixels than OpenCV reads)"
    ]


def test_a_file_that_vanishes_is_one_bad_file(tmp_path: Path) -> None:
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), grey(9))
    source = open_source(str(tmp_path))
    frames = iter(source)
    next(frames)
    (tmp_path / "b.png").unlink()
    assert [type(frame) for frame in frames] == [SkippedFrame, Frame]
    assert source.problems == [f"{tmp_path}/b.png: is not a file"]


class Capture:
    """cv2.VideoCapture of `script`: a letter per read, "." a frame, "?" one that cannot be decoded
    and "x" a failure."""

    def __init__(self, script: str, count: int) -> None:
        self._script, self._count, self.reads = script, count, 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, key: int) -> float:
        return self._count if key == cv2.CAP_PROP_FRAME_COUNT else self.reads * 40

    def set(self, *_: object) -> bool:
        return True

    def grab(self) -> bool:
        self.reads += 1
        return self._script[self.reads - 1 : self.reads] in (".", "?")

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        good = self._script[self.reads - 1 : self.reads] == "."
        return good, grey(self.reads) if good else None

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.grab()
        return self.retrieve()

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("script", "count", "letters", "truncated"),
    [
        ("....", 4, "....", False),
        ("..x.", 4, "..f.", False),
        (".xx.x..", 7, ".ff.f..", False),
        ("....", 10, "....", True),
        (".x..", 10, ".f..", True),
        ("...x", 4, "...", False),  # one short: containers count by their duration
        ("..x..", -5, "..f..", False),
        (".." + "x" * 40 + ".", 0, "..", False),
        ("..", 10**12, "..", True),
    ],
)
def test_damaged_packets_do_not_end_a_video(
    script: str, count: int, letters: str, truncated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Capture(script, count))
    source = VideoSource("clip.avi")
    source.open()
    found = delivered(source)
    assert [index for index, _ in found] == list(range(len(letters)))
    assert "".join("f" if what == "failed" else "." for _, what in found) == letters
    assert source.truncated == truncated
    said = " ".join(source.problems)
    assert ("could not be decoded" in said) == ("f" in letters)
    assert ("cut off" in said) == truncated
    assert (f"{len(letters)} of {count} frames" in said) == (0 < len(letters) < count)


def test_missing_time_stamps_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Untimed(Capture):
        def get(self, key: int) -> float:
            return 0.0

    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Untimed("...", 0))
    source = VideoSource("clip.h264")
    source.open()
    assert [frame.time_s for frame in source] == [0.0, None, None]
    assert source.problems == ["clip.h264: has no time stamps"]
