import time

import cv2
import numpy as np
import pytest

pytest.importorskip("av")

from bench import live
from bench.live import Loop, Processed
from bench.mjpeg_server import encoded, rendered
from bench.stamp import draw_stamp, read_stamp


@pytest.mark.parametrize("number", [0, 1, 12345, 2**24 - 1])
def test_a_stamp_survives_jpeg(number: int) -> None:
    picture = np.random.default_rng(number).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    now_s = time.time()
    stamped = draw_stamp(picture, number, now_s)
    assert (stamped[64:, 64:] == picture[64:, 64:]).all()
    for quality in (95, 50, 30):
        data = cv2.imencode(".jpg", stamped, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        stamp = read_stamp(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), now_s + 9)
        assert stamp
        assert stamp[0] == number
        assert stamp[1] == pytest.approx(now_s, abs=1e-3)


def test_what_has_no_stamp_is_known() -> None:
    for value in (0, 127, 255):
        assert read_stamp(np.full((96, 96, 3), value, np.uint8), time.time()) is None
    assert read_stamp(np.zeros((10, 10, 3), np.uint8), time.time()) is None
    damaged = draw_stamp(np.zeros((96, 96, 3), np.uint8), 5, time.time())
    damaged[:8, :8] = 255 - damaged[:8, :8]
    assert read_stamp(damaged, time.time()) is None


def test_latency_is_told_over_a_stretch() -> None:
    frames = [Processed(i, 1000 + i, 1000.1 + 1.5 * i) for i in range(101)]
    loop = Loop.of("plain", [(frames, 150.0, 75.0)] * 2)
    assert loop.latency_ms == {
        "p50": 25100.0, "p90": 45100.0, "p99": 49600.0, "max": 50100.0,
    }  # fmt: skip
    assert loop.latency_by_time_ms[0] == pytest.approx(2350, abs=500)
    assert loop.latency_by_time_ms[-1] == pytest.approx(47600, abs=500)
    assert loop.frames_per_second == [0.67, 0.67]
    assert loop.cpu_cores == [0.5, 0.5]
    assert loop.cpu_ms_per_frame == pytest.approx(742.6, abs=0.1)


def test_both_loops_run_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    # Smaller than the benchmark's, as the machine may be busy.
    for name, value in {"WIDTH": 160, "HEIGHT": 128, "COMPARED": 1}.items():
        monkeypatch.setattr(live, name, value)
    result = live.measure(1.0, 1)
    assert (result.equal, result.compared) == (1, 1)
    assert [loop.name for loop in result.loops] == ["edge.run", "plain loop"]
    for loop in result.loops:
        assert loop.frames > 1
        assert 0 < loop.latency_ms["p50"] <= loop.latency_ms["max"]
        assert f"| {loop.name}" in result.describe()


def test_rendered_pictures_differ() -> None:
    assert len({encoded(picture) for picture in rendered(96, 96)}) == 16
