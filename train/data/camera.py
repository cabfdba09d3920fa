"""What a camera adds to a scene: lens, sensor, the phone's processing, and JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from train.data.shapes import Floats, Image

# Of the photos: zoomed digitally, or sent by a messenger and enlarged again.
ZOOMED = 0.4


def zoom(rng: np.random.Generator) -> float:
    """How much smaller than its photo a scene was when the sensor saw it, at random; 1 mostly."""
    return rng.uniform(0.4, 0.75) if rng.random() < ZOOMED else 1.0


def photograph(rng: np.random.Generator, canvas: Floats, scale: float = 1.0) -> Image:
    """A scene float32 (H,W,3) RGB 0..1 as a camera would store it, uint8, same geometry.

    Args:
        scale: of `zoom`.
    """
    seen = canvas * _white_balance(rng)
    if rng.random() < 0.3:
        seen *= _vignette(rng, *canvas.shape[:2])
    height, width = canvas.shape[:2]
    if scale < 1:
        size = max(8, round(width * scale)), max(8, round(height * scale))
        seen = np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), np.float32)
    image = _developed(rng, _exposed(rng, seen))
    if scale < 1:
        kind = cv2.INTER_CUBIC if rng.random() < 0.6 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)
        image = _developed(rng, image)
    return image


def _exposed(rng: np.random.Generator, seen: Floats) -> Image:
    """Through the lens onto a sensor, which adds noise."""
    seen = _lens(rng, seen)
    # Photos are stored smaller than the sensor: resample and come back.
    if rng.random() < 0.3:
        seen = _resampled(seen, rng.uniform(0.45, 0.95))
    noise = rng.uniform(0.002, 0.02) if rng.random() < 0.85 else rng.uniform(0.02, 0.05)
    image = _stored(seen + rng.standard_normal(seen.shape, np.float32) * np.float32(noise))
    return _demosaiced(image) if rng.random() < 0.15 else image


def _developed(rng: np.random.Generator, image: Image) -> Image:
    """What software makes of it: noise removed, edges sharpened, stored as JPEG."""
    if rng.random() < 0.45:
        image = _denoised(rng, image)
    if rng.random() < 0.5:
        image = _sharpened(rng, image)
    if rng.random() < 0.6:
        image = _jpeg(image, int(rng.integers(35, 96)))
    return image


def blurred(image: Floats, sigma: float) -> Floats:
    """Gaussian blur of `sigma` px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _stored(seen: Floats) -> Image:
    return np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8)


def _white_balance(rng: np.random.Generator) -> Floats:
    return (rng.uniform(0.88, 1.12, 3) * rng.uniform(0.75, 1.12)).astype(np.float32)


def _vignette(rng: np.random.Generator, height: int, width: int) -> Floats:
    # Of a crop somewhere in the frame: darker towards one side as a rule.
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] + np.float32(rng.uniform(-1, 1))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] + np.float32(rng.uniform(-1, 1))
    return np.asarray(1 - rng.uniform(0.03, 0.12) * (x * x + y * y), np.float32)[..., None]


def _lens(rng: np.random.Generator, seen: Floats) -> Floats:
    kind = rng.random()
    if kind < 0.12:  # motion
        length = int(rng.integers(2, 6))
        kernel = np.zeros((length, length), np.float32)
        end, middle = length - 1, length // 2
        ends = [(0, middle, end, middle), (middle, 0, middle, end), (0, 0, end, end),
                (0, end, end, 0)]  # fmt: skip
        x0, y0, x1, y1 = ends[rng.integers(4)]
        cv2.line(kernel, (x0, y0), (x1, y1), 1.0)
        return np.asarray(cv2.filter2D(seen, -1, kernel / kernel.sum()), np.float32)
    if kind < 0.2:  # defocus: a disc
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)).astype(np.float32)
        return np.asarray(cv2.filter2D(seen, -1, kernel / kernel.sum()), np.float32)
    return blurred(seen, rng.uniform(0.35, 1.1))


def _resampled(seen: Floats, scale: float) -> Floats:
    height, width = seen.shape[:2]
    small = cv2.resize(
        seen, (max(8, round(width * scale)), max(8, round(height * scale))),
        interpolation=cv2.INTER_AREA,
    )  # fmt: skip
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _demosaiced(image: Image) -> Image:
    """Through a Bayer pattern and back."""
    height, width = image.shape[:2]
    raw = np.empty((height, width), np.uint8)
    raw[0::2, 0::2] = image[0::2, 0::2, 2]
    raw[0::2, 1::2] = image[0::2, 1::2, 1]
    raw[1::2, 0::2] = image[1::2, 0::2, 1]
    raw[1::2, 1::2] = image[1::2, 1::2, 0]
    # OpenCV names the pattern by its second row and column, and has BGR in mind.
    return np.asarray(cv2.cvtColor(raw, cv2.COLOR_BayerRG2BGR), np.uint8)


def _denoised(rng: np.random.Generator, image: Image) -> Image:
    """Fine texture wiped away, edges kept, as phones do in dim light."""
    if rng.random() < 0.5:
        return np.asarray(cv2.medianBlur(image, 3), np.uint8)
    return np.asarray(cv2.bilateralFilter(image, 5, rng.uniform(12, 60), 2.0), np.uint8)


def _sharpened(rng: np.random.Generator, image: Image) -> Image:
    seen = image.astype(np.float32)
    soft = blurred(seen, rng.uniform(0.8, 2.0))
    return np.clip(np.rint(seen + rng.uniform(0.3, 1.3) * (seen - soft)), 0, 255).astype(np.uint8)


def _jpeg(image: Image, quality: int) -> Image:
    # Colours in the order that OpenCV has them make no difference worth a conversion.
    coded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
