"""edge-run calibrate and --calibration, on boards rendered through a known camera."""

import csv
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from boards import POSES, Camera
from click.testing import CliRunner, Result

import edge
from edge.calibration.board import Board
from edge.calibration.board_pdf import PAPERS_MM
from edge.calibration.calibration import Calibration
from edge.calibration.fit import fit
from edge.cli import edge_run
from edge.errors import EdgeError
from edge.frame import Frame
from edge.particles import ParticleFilter
from edge.result import Result as EdgeResult
from train.data.synth import scene
from train.metrics import object_counts

CAMERA = Camera()
BOARDS = {pattern: Board(11, 8, 10.0, pattern) for pattern in ("charuco", "chessboard")}
FLAT = ((3, -2), 2, (5, 3))


def invoke(*words: object) -> Result:
    return CliRunner().invoke(edge_run, [str(word) for word in words])


def write_photos(folder: Path, board: Board, poses: list) -> Path:
    folder.mkdir()
    for number, pose in enumerate(poses):
        cv2.imwrite(str(folder / f"{number}.png"), CAMERA.photo(board, *CAMERA.pose(board, *pose)))
    flat = CAMERA.photo(board, *CAMERA.pose(board, *FLAT))
    cv2.imwrite(str(folder / "flat.png"), flat)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by pattern."""
    return {
        pattern: write_photos(tmp_path_factory.mktemp("photos") / pattern, board, POSES)
        for pattern, board in BOARDS.items()
    }


def truth(board: Board, calibration: Calibration) -> Calibration:
    """With the parameters that the photos were rendered with."""
    rotation, translation = CAMERA.pose(board, *FLAT)
    return replace(
        calibration,
        camera_matrix=tuple(map(tuple, CAMERA.matrix)),
        distortion=CAMERA.distortion,
        plane_normal=tuple(rotation[:, 2]),
        plane_distance_mm=float(rotation[:, 2] @ translation),
    )


def grid() -> np.ndarray:
    """Points all over a frame, px (N,2)."""
    x, y = np.meshgrid(np.linspace(0, CAMERA.width - 1, 9), np.linspace(0, CAMERA.height - 1, 7))
    return np.stack([x.ravel(), y.ravel()], axis=1)


@pytest.mark.parametrize("pattern", BOARDS)
def test_lens_and_scale_are_found(pattern: str, photos: dict[str, Path], tmp_path: Path) -> None:
    out, folder = tmp_path / "camera.json", photos[pattern]
    done = invoke(
        "calibrate", folder, "--flat", folder / "flat.png", "--pattern", pattern, "--out", out
    )
    assert done.exit_code == 0, done.output
    found = Calibration.read(out)
    true = truth(BOARDS[pattern], found)
    assert found.photos >= 9
    assert found.reprojection_rms_px < 0.15
    assert found.reprojection_rms_px < found.reprojection_max_px < 0.5
    assert f"re-projection error {found.reprojection_rms_px:.3f} px RMS" in done.output
    assert found.camera_matrix[0][0] == pytest.approx(CAMERA.focal_px, rel=0.005)
    assert found.distortion[0] == pytest.approx(CAMERA.distortion[0], abs=0.01)
    assert found.tilt_degrees() == pytest.approx(true.tilt_degrees(), abs=0.2)
    # A lens and its centre trade off; what counts is where points of the frame end up.
    assert found.scales(grid()) == pytest.approx(true.scales(grid()), rel=0.002)
    assert np.abs(found.positions_mm(grid()) - true.positions_mm(grid())).max() < 0.2  # of 160 mm
    middle = np.array([[319.5, 239.5]])
    assert found.mm_per_pixel == pytest.approx(float(true.scales(middle)[0]), rel=0.005)
    assert abs(found.length_error_mean_percent) < 0.3
    assert found.length_error_max_percent < 1.5
    assert "squares of flat.png, measured without them" in done.output
    assert "the scale varies by" in done.output
    stored = json.loads(out.read_text(encoding="utf-8"))
    assert stored["version"] == 1
    assert (stored["image_size"], stored["opencv"]) == ([640, 480], cv2.__version__)


@pytest.mark.slow
def test_a_known_lens_gives_known_lengths(photos: dict[str, Path]) -> None:
    """Without any fit: rows of the flat board's corners are as far apart as they were drawn."""
    board, folder = BOARDS["chessboard"], photos["chessboard"]
    any_fit = fit(sorted(folder.glob("?.png")), folder / "flat.png", board).calibration
    corners = board.find(cv2.imread(str(folder / "flat.png"), cv2.IMREAD_GRAYSCALE))
    places = truth(board, any_fit).positions_mm(corners.photo_px.astype(float))
    places = places.reshape(7, 10, 2)
    assert np.linalg.norm(np.diff(places, axis=1), axis=2) == pytest.approx(10, abs=0.05)
    across = np.linalg.norm(places[-1, -1] - places[0, 0])
    assert across == pytest.approx(10 * np.hypot(9, 6), abs=0.05)


def level(distance_mm: float = 200.0, distortion: tuple[float, ...] = (0.0,) * 5) -> Calibration:
    """Of a camera that looks straight down."""
    scale = distance_mm / 400
    return Calibration(
        (200, 160), ((400.0, 0, 99.5), (0, 400.0, 79.5), (0, 0, 1.0)), distortion, (0.0, 0.0, 1.0),
        distance_mm, scale, 0.1, 0.3, 0.0, 0.5, 9, 400, "board", "2026-01-01T00:00:00+00:00", "5",
    )  # fmt: skip


def result(mask: np.ndarray) -> EdgeResult:
    frame = Frame(np.zeros((*mask.shape, 3), np.uint8), 0, "a.png", None)
    return EdgeResult.of(frame, mask, ParticleFilter(0.5))


def test_without_distortion_records_are_those_of_a_scale() -> None:
    mask = np.zeros((160, 200), np.uint8)
    mask[20:23, 30:33] = mask[100:104, 150:152] = 255
    (calibrated,) = level()(result(mask))
    for row, plain in zip(calibrated.records(), result(mask).records(0.5), strict=True):
        assert list(row) == list(plain)
        numbers = [key for key in row if key not in ("file", "id", "time_s", "source")]
        assert [row[key] for key in numbers] == pytest.approx(
            [plain[key] for key in numbers], rel=1e-5
        )
    assert calibrated.records(7.0) == calibrated.records()  # the calibration takes its place
    (empty,) = level()(result(np.zeros((160, 200), np.uint8)))
    assert empty.records() == []


def test_a_particle_has_the_scale_of_its_place() -> None:
    mask = np.zeros((160, 200), np.uint8)
    mask[78:82, 98:102] = mask[2:6, 2:6] = 255
    barrel = level(distortion=(-1.0, 0, 0, 0, 0))
    corner, middle = next(iter(barrel(result(mask)))).records()
    assert middle["mm_per_pixel"] == pytest.approx(0.5, rel=1e-3)
    assert corner["mm_per_pixel"] > 1.1 * middle["mm_per_pixel"]
    assert corner["area_mm2"] == pytest.approx(16 * corner["mm_per_pixel"] ** 2, rel=1e-4)
    assert corner["diameter_mm"] == pytest.approx(
        corner["diameter_px"] * corner["mm_per_pixel"], rel=1e-4
    )


def test_a_run_takes_it(photo: Path, tmp_path: Path) -> None:
    camera, out = tmp_path / "camera.json", tmp_path / "out"
    level(distance_mm=20).write(camera)
    run = ("--source", photo, "--engine", "quarter_mrunet", "--calibration", camera)
    done = invoke(*run, "--out", out, "--min-diameter", "0.1mm")
    assert done.exit_code == 0, done.output
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["min_diameter_px"] == 2
    assert summary["calibration"]["plane_distance_mm"] == 20
    with (out / "particles.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert float(row["mm_per_pixel"]) == pytest.approx(0.05, rel=1e-4)
        assert float(row["x_mm"]) == pytest.approx(0.05 * float(row["x_px"]), rel=1e-3)
    assert invoke(*run, "--mm-per-pixel", 1).exit_code == 2
    assert invoke(*run[:-1], tmp_path / "none.json").exit_code == 2


def test_frames_of_another_size_are_refused(photo: Path, tmp_path: Path) -> None:
    camera = tmp_path / "camera.json"
    replace(level(), image_size=(1920, 1080)).write(camera)
    done = invoke("--source", photo, "--engine", "quarter_mrunet", "--calibration", camera)
    assert done.exit_code == 1
    assert "is 200x160 px, but the calibration is of frames of 1920x1080 px" in done.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: [], "not a calibration"),
        (lambda values: {"a": 1}, "not a calibration"),
        (lambda values: {**values, "version": 2}, "another version"),
        (lambda values: {**values, "more": 1}, "not a calibration"),
        (lambda values: {**values, "mm_per_pixel": "x"}, "not a calibration"),
        (lambda values: {**values, "mm_per_pixel": 0}, "not a calibration"),
        (lambda values: {**values, "distortion": [1, 2]}, "not a calibration"),
        (lambda values: {**values, "camera_matrix": [[1, 2], [3]]}, "not a calibration"),
        (lambda values: {**values, "plane_normal": [0, 0, float("nan")]}, "not a calibration"),
    ],
)
def test_another_file_is_no_calibration(change, words: str, photo: Path, tmp_path: Path) -> None:
    camera = tmp_path / "camera.json"
    level().write(camera)
    camera.write_text(json.dumps(change(json.loads(camera.read_text()))), encoding="utf-8")
    done = invoke("--source", photo, "--calibration", camera)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert f"{camera}: " in done.output
    assert words in done.output


def refused(*words: object) -> str:
    """What a refused calibration says, in one sentence."""
    done = invoke("calibrate", *words)
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.output


def test_photos_that_do_not_tell(photos: dict[str, Path], tmp_path: Path) -> None:
    folder, out = photos["charuco"], tmp_path / "camera.json"
    end = ("--flat", folder / "flat.png", "--out", out)
    some = [folder / f"{number}.png" for number in range(4)]
    assert "was found in 5 photos, and 8 are needed" in refused(*some, *end)
    assert "count its squares again" in refused(folder, *end, "--squares", "9x7")
    assert "check the number of squares" in refused(folder, *end, "--squares", "12x9")
    assert "no chessboard of 9x9 squares" in refused(
        folder, *end, "--pattern", "chessboard", "--squares", "9x9"
    )
    assert "at least 5x5 squares" in refused(folder, *end, "--squares", "4x9")
    assert "at most 500 squares" in refused(folder, *end, "--squares", "30x30")
    assert "is not COLUMNSxROWS" in refused(folder, *end, "--squares", "8")
    assert "no photo there" in refused(tmp_path / "nothing", *end)
    assert "give photos of the board" in refused(folder)
    assert "leave out photos" in refused(folder, "--board", tmp_path / "board.pdf")
    assert "none.png: is not a file" in refused(folder, "--flat", tmp_path / "none.png")
    assert "no such folder" in refused(folder, *end[:2], "--out", tmp_path / "a" / "b.json")
    out.write_text("mine", encoding="utf-8")
    assert "exists; name a new file" in refused(folder, *end)
    assert out.read_text(encoding="utf-8") == "mine"


def test_unreadable_photos_are_left_out(photos: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos["charuco"], folder)
    (folder / "damaged.png").write_bytes(b"no image")
    cv2.imwrite(str(folder / "empty.png"), np.full((480, 640), 200, np.uint8))
    done = invoke(
        "calibrate", folder, "--flat", folder / "flat.png", "--out", tmp_path / "camera.json"
    )
    assert done.exit_code == 0, done.output
    assert "not used: " in done.output
    assert "damaged.png: not a readable image" in done.output
    assert "empty.png: no ChArUco board" in done.output
    # Another size is another setting of the camera, which no photo can be left out for.
    image = cv2.imread(str(folder / "8.png"))
    cv2.imwrite(str(folder / "8.png"), cv2.resize(image, (800, 600)))
    assert "8.png: is 800x600 px, but " in refused(folder, "--flat", folder / "flat.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("poses", "words"),
    [
        ([((0, 0), 5 * turn, (turn, -turn)) for turn in range(8)], "differ by"),
        ([(pose[0], pose[1], (0, 0)) for pose in POSES[:8]], "of the way from the middle"),
    ],
    ids=["tilt", "reach"],
)
def test_a_set_that_cannot_determine_the_lens(poses: list, words: str, tmp_path: Path) -> None:
    board = Board(7, 5, 10.0, "chessboard")
    folder = write_photos(tmp_path / "photos", board, poses)
    with pytest.raises(EdgeError, match=words):
        fit(sorted(folder.glob("?.png")), folder / "flat.png", board)


def rasterised(pdf: Path, dpi: int) -> np.ndarray:
    """The page as a printer draws it, uint8 (H,W)."""
    tools = {
        "pdftoppm": ["-gray", "-r", str(dpi), "-png", "-singlefile", pdf, pdf.with_suffix("")],
        "mutool": ["draw", "-q", "-c", "gray", "-r", str(dpi), "-o", pdf.with_suffix(".png"), pdf],
        "gs": ["-q", "-dNOPAUSE", "-dBATCH", "-sDEVICE=pnggray", f"-r{dpi}", "-o",
               pdf.with_suffix(".png"), pdf],
    }  # fmt: skip
    for tool, words in tools.items():
        if shutil.which(tool):
            subprocess.run([tool, *words], check=True, capture_output=True)
            return cv2.imread(str(pdf.with_suffix(".png")), cv2.IMREAD_GRAYSCALE)
    pytest.skip("no pdftoppm, mutool or gs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "size", "square_mm", "paper"),
    [
        ("charuco", (11, 8), 10.0, "a4"),
        ("charuco", (12, 9), 15.5, "letter"),
        ("chessboard", (10, 7), 20.0, "a4"),
    ],
)
def test_the_printed_board_has_its_size(
    pattern: str, size: tuple[int, int], square_mm: float, paper: str, tmp_path: Path
) -> None:
    pdf = tmp_path / "board.pdf"
    done = invoke(
        "calibrate", "--board", pdf, "--pattern", pattern, "--squares", f"{size[0]}x{size[1]}",
        "--square-mm", square_mm, "--paper", paper,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    dpi = 300
    px_per_mm = dpi / 25.4
    page = rasterised(pdf, dpi)
    assert page.shape[::-1] == pytest.approx(np.array(PAPERS_MM[paper]) * px_per_mm, abs=2)
    corners = Board(*size, square_mm, pattern).find(page)
    assert len(corners.photo_px) == (size[0] - 1) * (size[1] - 1)
    measured = corners.photo_px / px_per_mm
    expected = corners.board_mm[:, :2]
    a, b = np.triu_indices(len(measured), 1)
    lengths = np.linalg.norm(measured[a] - measured[b], axis=1)
    assert lengths == pytest.approx(np.linalg.norm(expected[a] - expected[b], axis=1), abs=0.2)
    # The ruler: the longest dark row below the board.
    below = page[int(measured[:, 1].max() * px_per_mm + 2 * square_mm * px_per_mm) :] < 128
    dark = below.sum(axis=1).max()
    assert dark / px_per_mm == pytest.approx(100, abs=0.5)


def test_a_board_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    pdf = tmp_path / "board.pdf"
    done = invoke("calibrate", "--board", pdf, "--square-mm", 30)
    assert done.exit_code == 2
    assert "do not fit on a4 paper; there they are at most" in done.output
    assert not pdf.exists()


@pytest.mark.slow
def test_undistorted_frames_show_no_more_particles() -> None:
    """Why frames are not undistorted; docs/calibration.md has the table."""
    matrix, distortion = np.array([[500.0, 0, 239.5], [0, 500, 239.5], [0, 0, 1]]), np.zeros(5)
    distortion[0] = -0.25
    size = (480, 480)
    inside, _ = cv2.getOptimalNewCameraMatrix(matrix, distortion, size, 0)
    x, y = cv2.initUndistortRectifyMap(matrix, distortion, None, inside, size, cv2.CV_32FC1)
    model, rng = edge.load_model("half_mrunet"), np.random.default_rng(7)
    as_it_is, undistorted = [], []
    for _ in range(16):
        sand = scene(rng, *size, particles=40)
        image = cv2.remap(sand.image, x, y, cv2.INTER_LINEAR)
        mask = cv2.remap(sand.mask, x, y, cv2.INTER_NEAREST)
        as_it_is.append(object_counts(model(sand.image).mask, sand.mask))
        undistorted.append(object_counts(model(image).mask, mask))
    before, after = (
        sum(c.tp for c in counts) / sum(c.true for c in counts)
        for counts in (as_it_is, undistorted)
    )
    assert after < before + 0.05
