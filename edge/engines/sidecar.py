"""`X.trt.json`, beside an engine `X.trt`: what the engine itself cannot say.

The engine file stays as TensorRT wrote it, so that other loaders can read it. An .onnx has a
sidecar too, but carries what the runtime must know itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.engines.engine import EngineInfo
from edge.engines.profile import Profile
from edge.errors import EdgeError
from edge.files import read_json, write_json

SCHEMA = 2


@dataclass(frozen=True)
class Sidecar:
    """What `export-trt` knows about a file that it wrote.

    Attributes:
        info: what the runtime must know.
        precision: fp32, fp16, bf16 (of an .onnx, whose graph is in FP32) or int8.
        engine_sha256: of the file beside which this one lies.
        onnx_sha256: of the graph that an engine was built from.
        checkpoint_sha256: of the .pt it came from; None for one that came from an .onnx.
        profile: tile and batches that a .trt takes; None for an .onnx, which takes any.
        variant: "native" (TensorRT), "rtx" (TensorRT-RTX) or "onnx" (ONNX Runtime).
        version: of that software, as it wrote or checked the file.
        device: where that was, in words.
        compute_capabilities: of the GPUs that a .trt can run on, such as "8.6".
        verification: what was compared, and how far apart it was.
    """

    info: EngineInfo
    precision: str
    engine_sha256: str
    onnx_sha256: str
    checkpoint_sha256: str | None
    profile: Profile | None
    variant: str
    version: str
    device: str
    compute_capabilities: tuple[str, ...]
    verification: dict[str, Any]

    def write(self, path: Path) -> None:
        """As JSON; an earlier file stays whole until the new one is."""
        write_json(path, {"schema": SCHEMA, **asdict(self)})


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine file lies."""
    return engine.with_name(f"{engine.name}.json")


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_sidecar(engine: Path, *, trust: bool = False) -> Sidecar:
    """The sidecar of an engine file, checked; with `trust`, of a file that has changed since.

    Raises:
        EdgeError: it is missing or damaged, of a newer schema, or of another engine file.
    """
    path = sidecar_path(engine)
    if not path.is_file():
        raise EdgeError(
            f"{engine}: its sidecar {path.name} is missing; copy it along, write the engine again "
            f"with export-trt, or, since such a file can run code when loaded, only if you trust "
            f"it: --trust-engine"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise EdgeError(
            f"{path}: is not a sidecar of schema {SCHEMA}; write the engine again with this "
            f"version's export-trt"
        )
    sidecar = _parse(content, path)
    if not trust and sha256(engine) != sidecar.engine_sha256:
        raise EdgeError(
            f"{engine}: is not the file that {path.name} describes (another SHA-256): it was "
            f"changed, or the two were mixed up; write the engine again with export-trt, or, since "
            f"such a file can run code when loaded, only if you trust it: --trust-engine"
        )
    return sidecar


def _parse(content: Mapping[str, Any], path: Path) -> Sidecar:
    try:
        profile = content["profile"]
        if profile is not None:
            height, width = profile["tile_hw"]
            smallest, optimum, largest = profile["batch"]
            profile = Profile((height, width), (smallest, optimum, largest))
        texts = {
            name: content[name]
            for name in (
                "precision",
                "engine_sha256",
                "onnx_sha256",
                "variant",
                "version",
                "device",
            )
        }
        checkpoint, capabilities = content["checkpoint_sha256"], content["compute_capabilities"]
        verification = content["verification"]
        for value in (*texts.values(), *capabilities, checkpoint or ""):
            if not isinstance(value, str):
                raise TypeError
        if not isinstance(verification, dict):
            raise TypeError
        info = EngineInfo.from_values(content["info"], str(path))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EdgeError(
            f"{path}: lacks an entry or holds one of the wrong kind; write the engine again with "
            f"export-trt"
        ) from None
    return Sidecar(
        info=info,
        **texts,
        checkpoint_sha256=checkpoint,
        profile=profile,
        compute_capabilities=tuple(capabilities),
        verification=verification,
    )
