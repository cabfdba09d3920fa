"""The public interface: `import edge`."""

import doctest
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import edge
from edge.model import Model, as_rgb
from edge.particles import Particle
from train.data.synth import Scene


@pytest.fixture(scope="module")
def model() -> Model:
    return edge.load_model("quarter_mrunet")


def test_the_examples_hold(sand: Scene, photo: Path) -> None:
    (photo.parent / "photo2.png").write_bytes(photo.read_bytes())
    names = {"sand": sand.image, "folder": photo.parent}
    assert doctest.testmod(edge, extraglobs=names).failed == 0


def test_every_public_name_is_there() -> None:
    assert all(getattr(edge, name) is not None for name in edge.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edge.nothing  # noqa: B018


def test_paths_arrays_and_lists_give_the_same(model: Model, sand: Scene, photo: Path) -> None:
    from_array, from_path = model([sand.image, photo], threshold=0.3)
    assert (from_array.probability == from_path.probability).all()
    assert from_array.particles == from_path.particles == model(str(photo), threshold=0.3).particles
    assert (from_path.frame.file, from_array.frame.file) == (str(photo), "array")
    assert len(model(sand.image, threshold=0.3, min_diameter_px=5).particles) < len(
        from_array.particles
    )


def test_grey_and_rgba_are_taken() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rgb = np.stack([grey] * 3, axis=-1)
    for image in (grey, grey[..., None], rgb, np.dstack([rgb, grey])):
        assert (as_rgb(image) == rgb).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3)), r"not float64 of shape \(4, 4, 3\)"),
        (np.zeros((3, 8, 8), np.uint8), r"not uint8 of shape \(3, 8, 8\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "a uint8 array"),
        (np.zeros((0, 4, 3), np.uint8), "holds no pixels"),
        (None, "not NoneType"),
    ],
)
def test_other_arrays_are_refused(image: object, words: str, model: Model) -> None:
    with pytest.raises(edge.BadArgumentError, match=words):
        model(image)  # type: ignore[call-overload]


def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(edge.EdgeError, match="has none of TensorrtExecutionProvider"):
        edge.load_model("quarter_mrunet", device="gpu")
    with pytest.raises(edge.BadArgumentError, match="tpu: no such device"):
        edge.load_model("quarter_mrunet", device="tpu")  # type: ignore[arg-type]


def test_coco_holds_the_mask(model: Model, sand: Scene) -> None:
    result = model(sand.image, threshold=0.3)
    coco = result.to_coco(image_id=7)
    together = np.zeros(result.mask.shape, np.uint8)
    for annotation, particle in zip(coco["annotations"], result.particles, strict=True):
        encoded = coco_mask.frPyObjects(annotation["segmentation"], *result.mask.shape)
        mask = coco_mask.decode(encoded)
        assert mask.sum() == particle.area_px == annotation["area"]
        assert coco_mask.toBbox(encoded).tolist() == annotation["bbox"]
        together += mask
    assert (together * 255 == result.mask).all()
    assert coco["images"] == [{"id": 7, "file_name": "array", "height": 160, "width": 200}]


def test_supervision_gets_the_masks(model: Model, sand: Scene) -> None:
    result = model(sand.image, threshold=0.3)
    found = result.to_supervision()
    assert len(found) == len(result.particles)
    assert (found.mask.any(axis=0) * 255 == result.mask).all()
    assert [box[0] <= p.x < box[2] for box, p in zip(found.xyxy, result.particles, strict=True)]


def test_a_missing_supervision_is_said(
    model: Model, sand: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(edge.EdgeError, match="pip install supervision"):
        model(sand.image).to_supervision()


def test_records_keep_six_digits_in_mm(model: Model, sand: Scene) -> None:
    result = model(sand.image, threshold=0.3)
    for row, particle in zip(result.records(0.000123), result.particles, strict=True):
        assert row["x_mm"] == pytest.approx(particle.x * 0.000123, rel=1e-5)
        assert row["area_mm2"] == pytest.approx(particle.area_px * 0.000123**2, rel=1e-5)
        assert row["id"] == f"000000-{particle.id:04d}"


def test_plot_circles_particles(model: Model, sand: Scene) -> None:
    result = model(sand.image, threshold=0.3)
    plot = result.plot()
    assert plot.shape == sand.image.shape
    changed = (plot != sand.image).any(axis=2).astype(np.uint8)

    def near(particle: Particle) -> bool:
        disc = np.zeros_like(changed)
        cv2.circle(disc, (round(particle.x), round(particle.y)), 9, 1, 6)
        return bool((changed & disc).any())

    assert all(map(near, result.particles))
