"""Find microplastic particles in images, folders, videos and cameras.

    >>> import edge
    >>> model = edge.load_model("quarter_mrunet")
    >>> result = model(sand, threshold=0.3)  # a path, or an array (H,W,3) uint8 RGB
    >>> len(result.particles) > 0
    True
    >>> result.mask.shape == result.probability.shape == sand.shape[:2]
    True
    >>> sorted(result.records()[0])[:3]
    ['area_px', 'diameter_px', 'file']

Every frame of a source, one after the other:

    >>> with edge.run(folder, model) as run:
    ...     for result in run:
    ...         print(result.frame.index, len(result.particles) > 0)
    0 True
    1 True
    >>> run.report().ended
    'complete'

What runs on the device: NumPy, OpenCV and click; never torch.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.belt.settings import BeltSettings
    from edge.calibration.calibration import Calibration
    from edge.errors import BadArgumentError, EdgeError
    from edge.model import Model, load_model
    from edge.particles import Particle, ParticleFilter
    from edge.pipeline import Policy
    from edge.report import Report
    from edge.result import Result
    from edge.runner import Run, run
    from edge.sinks import open_sink
    from edge.sources import open_source

__version__ = metadata.version("microplastic-edge")

# Imported when asked for: OpenCV is heavy, and may be missing.
_PLACES = {
    "BadArgumentError": "edge.errors",
    "BeltSettings": "edge.belt.settings",
    "Calibration": "edge.calibration.calibration",
    "Model": "edge.model",
    "Particle": "edge.particles",
    "ParticleFilter": "edge.particles",
    "Policy": "edge.pipeline",
    "Report": "edge.report",
    "Result": "edge.result",
    "Run": "edge.runner",
    "EdgeError": "edge.errors",
    "load_model": "edge.model",
    "open_sink": "edge.sinks",
    "open_source": "edge.sources",
    "run": "edge.runner",
}
__all__ = [
    "BadArgumentError",
    "BeltSettings",
    "Calibration",
    "EdgeError",
    "Model",
    "Particle",
    "ParticleFilter",
    "Policy",
    "Report",
    "Result",
    "Run",
    "__version__",
    "load_model",
    "open_sink",
    "open_source",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
