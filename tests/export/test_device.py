"""An export on a machine with a GPU: the engine itself is run, too. On the driver for the CPU."""

import sys
from pathlib import Path

import pytest

import export.calibration_data
import export.write
from edge.engines import shipped
from edge.engines.sidecar import read_sidecar
from edge.engines.variant import TensorRtVariant
from export.build import Built
from export.inspection import inspection
from tests.driver import succeeds
from tests.edge import stand_in, test_tensorrt


def the_engine_has_a_row_of_its_own(folder: str) -> None:
    test_tensorrt.use_stand_in()
    export.calibration_data.CROPS = 8
    graph = Path(folder) / "graph.onnx"

    def build(model, variant, profile, capabilities) -> Built:
        graph.write_bytes(model.SerializeToString())
        return Built(stand_in.plan(graph, profile.tile_hw, profile.batch), 0.1, "CPU 0", ("8.7",))

    export.write.build_engine = build
    export.write.targets_of = lambda *_: ("8.7",)
    out = Path(folder) / "quarter.trt"
    done = export.write.export(
        shipped()["quarter_mrunet"],
        out,
        precision="fp16",
        photos=None,
        max_drop=None,
        target=export.write.Target(
            TensorRtVariant("rtx", sys.modules[stand_in.__name__]), (), (300, 400), None, None
        ),
        on_progress=lambda _: None,
    )
    names = [comparison.name for comparison in done.verification.comparisons]
    assert len(names) == 3
    assert names[2].startswith("fp16, TensorRT-RTX 1.0, cuda-bindings")
    device = done.verification.comparisons[2]
    assert device.max_abs_difference <= 2
    assert device.mask_iou > 0.98
    assert not any("was not run" in note for note in done.notes)
    assert read_sidecar(out).verification["comparisons"][2]["name"] == names[2]
    assert sorted(path.name for path in Path(folder).iterdir()) == [
        "graph.onnx", "quarter.trt", "quarter.trt.json", "quarter.trt.md",
    ]  # fmt: skip
    assert "runs here:    yes" in inspection(out)


def test_on_the_driver(fake_driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    succeeds(the_engine_has_a_row_of_its_own, str(tmp_path), fake_driver)
