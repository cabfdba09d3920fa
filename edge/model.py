"""A network that is ready to run, called like a function."""

from __future__ import annotations

import contextlib
import math
import threading
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.engines import DEFAULT_MODEL, Backend, Device, Precision, engine_path, open_engine
from edge.engines.engine import Engine, Session, infer
from edge.engines.sessions import Sessions
from edge.errors import BadArgumentError
from edge.frame import Frame
from edge.particles import ParticleFilter
from edge.result import Result
from edge.sources.images import read_image
from edge.stage_timer import StageTimer

Image = str | PathLike[str] | NDArray[np.uint8]


class Model:
    """A network in an engine; see `load_model`.

    May be called from several threads, which then take turns.

    Attributes:
        engine: what runs it.
        path: of the engine's file.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine, self.path = engine, path
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()
        self._sessions = self._opened.enter_context(Sessions(self._session, capacity=1))

    @property
    def name(self) -> str:
        """Of the network, such as half_mrunet."""
        return self.engine.info.model

    @property
    def device(self) -> str:
        """Where it runs, in words."""
        return self.engine.device

    def particle_filter(
        self,
        threshold: float | None = None,
        min_diameter_px: float | None = None,
        max_diameter_px: float | None = None,
    ) -> ParticleFilter:
        """What is reported as a particle; the threshold and the smallest diameter are the engine's
        own when not given. A smallest diameter of 0 is no bound.

        Raises:
            BadArgumentError: a value is out of range, or the engine's threshold is not known.
        """
        info = self.engine.info
        if threshold is None and math.isnan(info.threshold):
            raise BadArgumentError(
                f"{self.path}: has no metadata, so its threshold is not known; give one above "
                f"0, at most 1"
            )
        return ParticleFilter.of(info, threshold, min_diameter_px, max_diameter_px)

    @overload
    def __call__(self, image: Image, **limits: float | None) -> Result: ...

    @overload
    def __call__(self, image: list[Image], **limits: float | None) -> list[Result]: ...

    def __call__(self, image: Image | list[Image], **limits: float | None) -> Result | list[Result]:
        """Find the particles of an image, or of each of a list.

        Args:
            image: path of an image file, or uint8 (H,W,3) RGB; grey (H,W) is taken too, and of
                RGBA the colours.
            limits: `threshold`, `min_diameter_px` and `max_diameter_px`, as in `particle_filter`.

        Raises:
            BadArgumentError: an array is of another kind; or as `particle_filter`.
            EdgeError: a file cannot be read, or the engine fails.
        """
        particle_filter = self.particle_filter(**limits)
        if isinstance(image, list):
            return [self._one(one, i, particle_filter) for i, one in enumerate(image)]
        return self._one(image, 0, particle_filter)

    def close(self) -> None:
        """Free what it holds; it cannot be called any more."""
        with self._lock:
            self._opened.close()
            self.engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, image: Any, index: int, particle_filter: ParticleFilter) -> Result:
        if isinstance(image, str | PathLike):
            path = Path(image)
            frame = Frame(read_image(path), index, str(path), path.stat().st_mtime)
        else:
            frame = Frame(as_rgb(image), index, "array", None)
        with self._lock:
            probability = infer(self._sessions.of(frame.size_hw), frame.image)
        return Result.of(frame, probability, particle_filter)

    def _session(self, frame_hw: tuple[int, int]) -> AbstractContextManager[Session]:
        return self.engine.session(frame_hw, 1, StageTimer())


def load_model(
    name: str | PathLike[str] = DEFAULT_MODEL,
    *,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision | None = None,
    trust: bool = False,
    cuda: str | None = None,
) -> Model:
    """A shipped model by name, or an engine file (.onnx, .trt).

    Args:
        backend, device: "auto" is the fastest that is there.
        precision: None is that of the file, which all but bf16 must agree with: OpenVINO computes
            an fp32 .onnx in bf16 where that is asked for.
        trust: load a .trt without a sidecar that verifies it; such a file can run code.
        cuda: the package with the CUDA bindings for a .trt; None is the first installed.

    Raises:
        BadArgumentError: there is no such name or file, or it does not run so.
        EdgeError: the file is damaged, its backend is not installed, it was built for another
            machine, or there is no such device.
    """
    engine = open_engine(
        str(name), backend=backend, device=device, precision=precision, trust=trust, cuda=cuda
    )
    return Model(engine, engine_path(str(name)))


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """An array as uint8 (H,W,3) RGB.

    Raises:
        BadArgumentError: it is not uint8, or of another shape.
    """
    if not isinstance(image, np.ndarray):
        raise BadArgumentError(f"an image is a path or an array, not {type(image).__name__}")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise BadArgumentError(
            f"an image is a uint8 array (H,W,3) in RGB, not {image.dtype} of shape {image.shape}"
        )
    if not image.size:
        raise BadArgumentError(f"an image of shape {image.shape} holds no pixels")
    if channels == 1:
        grey = image.reshape(image.shape[:2])
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB), np.uint8)
    return np.ascontiguousarray(image[..., :3])
