from dataclasses import replace

import pytest

pytest.importorskip("openvino", reason="needs the extra 'peers'")
pytest.importorskip("sahi", reason="needs the extra 'peers'")

from bench.baselines import (
    CROPS,
    ONNX_RUNTIME,
    OPENVINO,
    OURS,
    SAHI,
    BaselineRow,
    BaselinesResult,
    measure,
)
from edge.errors import EdgeError
from tests.signals import interrupt_arrives


@pytest.fixture(scope="module")
def result() -> BaselinesResult:
    return measure("quarter_mrunet", 0.05, ["half_mrunet_lite"], side=256, tile=96)


def _by_name(rows: list[BaselineRow]) -> dict[str, BaselineRow]:
    return {row.name: row for row in rows}


def test_every_method_agrees_in_float32(result: BaselinesResult) -> None:
    rows = _by_name(result.frame)
    ours = rows[OURS]
    assert ours.objects > 30
    exact = [
        row
        for row in result.frame
        if row.max_abs_difference is not None
        and not row.name.endswith("bf16")
        and "lite" not in row.name
    ]
    assert [row.name for row in exact] == [
        OURS,
        ONNX_RUNTIME,
        CROPS,
        "crops, torch",
        "crops, OpenVINO f32",
        OPENVINO,
    ]
    for row in exact:
        assert row.max_abs_difference <= 1, row.name
        assert row.mask_iou >= 0.99, row.name
        assert abs(row.objects - ours.objects) <= 1, row.name
    # Slices cut particles in two, and not every half is merged again.
    assert abs(rows[SAHI].objects - ours.objects) <= 0.1 * ours.objects
    for row in result.frame:
        assert row.ms["runs"]
        assert row.ratio == pytest.approx(row.ms["p50"] / ours.ms["p50"], rel=0.01)


def test_tiling_alone_gives_the_same_output_as_with_the_network(result: BaselinesResult) -> None:
    frame, alone = _by_name(result.frame), _by_name(result.tiling)
    assert alone[OURS].objects == frame[OURS].objects
    assert alone["ours, on the crops"].objects == frame[CROPS].objects
    # All of ONNX Runtime, whereas ours may be OpenVINO in a frame.
    assert alone["ours, on the crops"].max_abs_difference == 0
    assert alone[SAHI].objects == frame[SAHI].objects
    assert alone["SAHI, and the objects of the maps"].objects == frame[SAHI].objects


def test_the_text_says_whether_targets_are_met(result: BaselinesResult) -> None:
    text = result.describe()
    assert "16 x 96x96" in text
    for row in (*result.frame, *result.tiling):
        assert f"| {row.name} " in text
    assert "in OpenVINO" in text
    lite = _by_name(result.frame)["half_mrunet_lite, as edge-run runs it"]
    part = lite.ratio / _by_name(result.frame)[ONNX_RUNTIME].ratio
    assert f"half_mrunet_lite: {part:.2f} of the time of the {ONNX_RUNTIME}" in text

    def verdicts(ratio: float, grey_levels: int) -> list[bool]:
        rows = [
            replace(row, ratio=ratio, max_abs_difference=grey_levels) if row.name == CROPS else row
            for row in result.frame
        ]
        ends = replace(result, frame=rows).describe().splitlines()
        verdicts = [line.endswith(": met.") for line in ends if line.endswith("met.")]
        assert len(verdicts) == 3
        return [verdicts[0], verdicts[2]]

    assert verdicts(1.6, 1) == [True, True]
    assert verdicts(1.59, 0) == [False, True]
    assert verdicts(2, 2) == [False, True]


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(EdgeError, match="absent: no such file"):
        measure("absent", 0.05)


def test_signals_arrive_after_openvino_ran(result: BaselinesResult) -> None:
    """Its networks are gone by now, and with them the stack that it gave a thread for signals."""
    assert interrupt_arrives()
