"""Sinks: rotation, SQLite, video, crops, and what is left of a run that was killed."""

import contextlib
import csv
import errno
import itertools
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import endless
import numpy as np
import pytest

import edge
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame, SkippedFrame
from edge.particles import ParticleFilter
from edge.result import Result
from edge.sinks.crops import CropSink, Limit
from edge.sinks.records import CsvSink, JsonLinesSink
from edge.sinks.rotation import Rotation
from edge.sinks.sink import Sink
from edge.sinks.sqlite import SqliteSink
from edge.sinks.video import VideoSink
from train.data.samples import find_samples


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def result(index: int, time_s: float | None = None, height: int = 96, source: str = "") -> Result:
    """Of a frame with two square particles."""
    probability = np.zeros((height, 129), np.uint8)
    probability[10:14, 20:24] = probability[60:70, 100:110] = 200
    image = np.repeat(probability[..., np.newaxis], 3, axis=2)
    frame = Frame(image, index, "belt.png", time_s, source)
    return Result.of(frame, probability, ParticleFilter(0.5))


def frames_of(path: Path) -> list[int]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv" or ".csv" in path.name:
        return [int(row["frame"]) for row in csv.DictReader(text.splitlines())]
    return [json.loads(line)["frame"] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("jsonl:", "is no sink; give one of jsonl:FILE"),
        ("tape:x", "is no sink"),
        ("jsonl:x.jsonl?", "'' is no parameter; write ?NAME=VALUE"),
        ("jsonl:x.jsonl?every", "'every' is no parameter"),
        ("jsonl:x.jsonl?every=1h&every=2h", "every is there twice"),
        ("jsonl:x.jsonl?every=1", "every=1 is not a time such as 30s"),
        ("jsonl:x.jsonl?every=0h", "every=0h is not a time"),
        ("csv:x.csv?max_mb=-1", "max_mb=-1 is not a number above 0"),
        ("csv:x.csv?max_mb=nan", "max_mb=nan is not a number above 0"),
        ("csv:x.csv?size=1", "csv has no parameter size; there are max_mb, every, on_error"),
        ("csv:x.csv?on_error=stop", "on_error is neither 'fail' nor 'drop'"),
        ("masks:m?every=1h", "masks has no parameter every"),
        ("crops:c?limit=many", "limit=many is not a number of crops such as 1000 or 20/min"),
        ("csv:absent/x.csv", "absent: no such folder"),
        ("csv:.", ".: is a folder; name a file"),
        ("csv:there.csv", "there.csv: exists; name a new file"),
        ("crops:there.csv", "there.csv: exists and is no folder"),
        ("sqlite:there.csv", "there.csv: exists and is no SQLite file"),
        ("sqlite:other.db", "other.db: exists and is no database of particles of this program"),
        ("sqlite:later.db", "later.db: is a database of particles of version 3"),
        ("prometheus:9090", "write it as prometheus://HOST:PORT"),
        ("prometheus://host", "write it as prometheus://:9090"),
        ("prometheus://:99999", "the port is no number"),
        ("mqtt://host", "write it as mqtt://HOST:PORT/TOPIC"),
        ("mqtt://host/a/#", "write it as mqtt://HOST:PORT/TOPIC"),
        ("mqtt://me:secret@host/a", "mqtt: credentials do not belong in the URI"),
        ("mqtt://host/a?ca=x.pem", "mqtt has no parameter ca"),
        ("mqtts://host/a?ca=absent.pem", "absent.pem: No such file"),
        ("mqtts://host/a?ca=there.csv", "there.csv: holds no certificates"),
        ("mqtt://host/a?buffer=other.db", "is no buffer of MQTT messages of this program"),
    ],
)
def test_a_bad_uri_is_told_in_a_sentence(uri: str, words: str) -> None:
    Path("there.csv").write_text("frame\n" * 100)
    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE frames (id)")
    if "later" in uri:
        endless.run(1, "sqlite:later.db")
        with sqlite3.connect("later.db") as later:
            later.execute("PRAGMA user_version = 3")
    before = sorted(os.listdir())
    with pytest.raises(BadArgumentError) as raised:
        edge.open_sink(uri)
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)
    assert sorted(os.listdir()) == before, "nothing is made"


def test_records_rotate_by_size() -> None:
    endless.run(30, "jsonl:p.jsonl?max_mb=0.01", "csv:p.csv?max_mb=0.003")
    for kind, limit in (("jsonl", 10_000), ("csv", 3_000)):
        files = sorted(Path().glob(f"*.{kind}"), key=lambda path: path.stat().st_mtime_ns)
        assert len(files) > 2
        assert all(path.stat().st_size <= limit for path in files)
        frames = [frame for path in files for frame in frames_of(path)]
        assert frames == sorted(frames)
        assert set(frames) == set(range(30))
    assert not list(Path().glob("*.part"))


def test_records_rotate_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_769_868_000.0  # 14:00 UTC
    monkeypatch.setattr(time, "time", lambda: now)
    sink = CsvSink(Path("p.csv"), Rotation(every=3600))
    for minutes in (59, 59.5, 60, 119, 500):
        now = 1_769_868_000.0 + minutes * 60
        sink.write(result(int(minutes)))
        assert len(list(Path().glob("*.part"))) == 1
    sink.close()
    files = sorted(Path().glob("*"))
    assert [path.name for path in files] == [
        "p_20260131T145900Z.csv", "p_20260131T150000Z.csv", "p_20260131T222000Z.csv",
    ]  # fmt: skip
    assert [sorted(set(frames_of(path))) for path in files] == [[59], [60, 119], [500]]


def test_rotated_files_of_one_second_have_names_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_769_868_000.0)
    for _ in range(2):  # as after a restart
        sink = JsonLinesSink(Path("p.jsonl"), Rotation(max_mb=1e-6))
        sink.write(result(0))
        sink.write(result(1))
        sink.close()
    assert len(list(Path().glob("p_20260131T140000Z*.jsonl"))) == 4


def test_a_run_without_particles_leaves_a_file() -> None:
    sinks: list[Sink] = [JsonLinesSink(Path("p.jsonl")), CsvSink(Path("p.csv"))]
    for sink in sinks:
        sink.close()
    assert Path("p.jsonl").read_text() == ""
    assert Path("p.csv").read_text().startswith("frame,file,")


class FullDisk(JsonLinesSink):
    """Fails from its third result to its fifth."""

    def write(self, result: Result) -> None:
        if 2 <= result.frame.index < 5:
            raise OSError(errno.ENOSPC, "No space left on device", "p.jsonl")
        super().write(result)


def test_a_full_disk_ends_a_run_or_costs_results() -> None:
    def run(sink: Sink) -> edge.Run:
        return edge.run(endless.EndlessSource(8), "quarter_mrunet", sinks=[sink])

    with pytest.raises(OSError, match="No space left"):
        list(run(FullDisk(Path("a.jsonl"))))
    assert set(frames_of(Path("a.jsonl"))) == {0, 1}

    lossy = FullDisk(Path("b.jsonl"))
    lossy.on_error = "drop"
    done = run(lossy)
    assert len(list(done)) == 8
    assert set(frames_of(Path("b.jsonl"))) == {0, 1, 5, 6, 7}
    report = done.report()
    assert report.ended == "complete"
    assert report.problems == ["b.jsonl: No space left on device (3 times)"]
    (status,) = done.statistics().sinks
    assert (status.written, status.failed, status.lost) == (5, 3, 0)
    assert edge.open_sink("csv:c.csv").on_error == "fail"
    assert edge.open_sink("csv:c.csv?every=1h&on_error=drop").on_error == "drop"


def test_problems_do_not_fill_the_memory() -> None:
    class Failing(Sink):
        name, on_error = "failing", "drop"

        def write(self, result: Result) -> None:
            raise EdgeError(f"number {result.frame.index}")

    done = edge.run(endless.EndlessSource(150), "quarter_mrunet", sinks=[Failing()])
    list(done)
    problems = done.report().problems
    assert len(problems) == 101
    assert problems[-1] == "failing: other problems (50 times)"


def test_a_sink_that_cannot_be_attached_ends_the_others() -> None:
    class Unwilling(Sink):
        name = "unwilling"

        def attach(self, pipeline: object) -> None:
            raise OSError(errno.EIO, "no")

        def write(self, result: Result) -> None:
            raise NotImplementedError

    with pytest.raises(OSError, match="no"):
        edge.run(
            endless.EndlessSource(1),
            "quarter_mrunet",
            sinks=[edge.open_sink("sqlite:x.db"), Unwilling()],
        )
    with sqlite3.connect("x.db") as database:
        assert database.execute("SELECT finished IS NOT NULL FROM runs").fetchall() == [(1,)]


# SQLite


def test_sqlite_holds_runs_frames_and_particles() -> None:
    _, results = endless.run(3, "sqlite:x.db", mm_per_pixel=0.05)
    database = sqlite3.connect("x.db")
    database.row_factory = sqlite3.Row
    (run,) = database.execute("SELECT * FROM runs")
    assert (run["sources"], run["model"], run["mm_per_pixel"]) == (
        "endless",
        "quarter_mrunet",
        0.05,
    )
    assert run["started"] <= run["finished"]
    rows = database.execute(
        "SELECT f.frame, f.file, f.time_s, f.source, p.* FROM frames f JOIN particles p "
        "ON p.frame_id = f.id ORDER BY f.id, p.rowid"
    ).fetchall()
    records = [record for one in results for record in one.records(0.05)]
    assert len(rows) == len(records) > 3
    for row, record in zip(rows, records, strict=True):
        assert {key: row[key] for key in record if key != "mm_per_pixel"} == {
            key: value for key, value in record.items() if key != "mm_per_pixel"
        }
    assert [tuple(row) for row in database.execute("SELECT particles, status FROM frames")] == [
        (len(one.particles), "processed") for one in results
    ]
    used = "EXPLAIN QUERY PLAN SELECT * FROM frames WHERE "
    for where, index in (("time_s > 5", "by_time"), ("run_id = 1 AND frame = 2", "by_run")):
        assert f"frames_{index}" in database.execute(used + where).fetchone()["detail"]
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("DELETE FROM runs")
    assert database.execute("SELECT count(*) FROM particles").fetchone()[0] == 0
    database.close()


def test_sqlite_takes_several_runs_and_what_was_skipped() -> None:
    class Damaged(endless.EndlessSource):
        def __iter__(self) -> Iterator[Frame | SkippedFrame]:
            for i, frame in enumerate(super().__iter__()):
                assert isinstance(frame, Frame)
                if i == 1:
                    yield SkippedFrame(i, "x\x1b", None, "failed", "bad", "left")
                else:
                    yield Frame(frame.image, i, frame.file, None, "left")

    for _ in range(2):
        list(edge.run(Damaged(3), "quarter_mrunet", sinks=[edge.open_sink("sqlite:x.db")]))
    with sqlite3.connect("x.db") as database:
        rows = database.execute("SELECT run_id, frame, source, status, reason, file FROM frames")
        assert rows.fetchall() == [
            row
            for run in (1, 2)
            for row in (
                (run, 0, "left", "processed", "", "belt.png"),
                (run, 1, "left", "failed", "bad", "x\\x1b"),
                (run, 2, "left", "processed", "", "belt.png"),
            )
        ]


def test_sqlite_can_be_read_while_it_is_written() -> None:
    with edge.run(
        endless.EndlessSource(9), "quarter_mrunet", sinks=[edge.open_sink("sqlite:x.db")]
    ) as run:
        next(run)
        deadline = time.monotonic() + 20
        with sqlite3.connect("x.db") as reader:
            while not reader.execute("SELECT count(*) FROM frames").fetchone()[0]:
                assert time.monotonic() < deadline
        assert len(list(run)) == 8


def test_a_locked_database_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sinks.database.LOCK_TIMEOUT_S", 0.1)
    endless.run(1, "sqlite:x.db")
    with sqlite3.connect("x.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="another program holds it"):
            endless.run(1, "sqlite:x.db")
        other.execute("ROLLBACK")
    other.close()


def test_sqlite_goes_on_where_there_is_room_again() -> None:
    endless.run(1, "sqlite:x.db")

    class Filling(SqliteSink):
        def write(self, result: Result) -> None:
            if 5 <= result.frame.index < 9:
                with files_of_at_most(1_000):
                    super().write(result)
            else:
                super().write(result)

    sink = Filling(Path("x.db"))
    sink.on_error = "drop"
    run = edge.run(endless.EndlessSource(12), "quarter_mrunet", sinks=[sink])
    assert len(list(run)) == 12
    assert run.statistics().sinks[0].failed == 4
    with sqlite3.connect("x.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        frames = database.execute("SELECT frame FROM frames WHERE run_id = 2 ORDER BY id")
        assert [row[0] for row in frames] == [0, 1, 2, 3, 4, 9, 10, 11]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, which is much like a full disk."""
    earlier = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, earlier[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, earlier)


# Killed


def test_a_killed_run_leaves_what_it_wrote() -> None:
    program = Path(endless.__file__)
    uris = ["jsonl:p.jsonl", "csv:p.csv", "frames:f.csv?every=1d", "sqlite:x.db", "video:v.mp4"]
    with subprocess.Popen(
        [sys.executable, program, "0.02", *uris], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        last = [int(line) for line in itertools.islice(process.stdout, 40)][-1]
        process.kill()
    # A sink may have two frames in its queue and one in its hands.
    least = last - 3
    for path in (Path("p.jsonl.part"), Path("p.csv.part"), *Path().glob("f_*.csv.part")):
        frames = frames_of(path)
        assert frames == sorted(frames)
        assert set(range(least)) <= set(frames), path
    database = sqlite3.connect("x.db")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    frames = [row[0] for row in database.execute("SELECT frame FROM frames ORDER BY id")]
    assert frames == list(range(len(frames)))
    assert len(frames) >= least
    counted = "SELECT count(*) FROM particles WHERE frame_id = frames.id"
    wrong = f"SELECT count(*) FROM frames WHERE particles != ({counted})"
    assert database.execute(wrong).fetchone() == (0,)
    assert database.execute("SELECT finished FROM runs").fetchall() == [(None,)]
    database.close()
    # A second between key frames is five frames here.
    assert len(times_of(Path("v.mp4.part"))) >= least - 10
    endless.run(1, "sqlite:x.db")
    with sqlite3.connect("x.db") as again:
        assert again.execute("SELECT count(*) FROM runs").fetchone() == (2,)


# Video


def times_of(path: Path) -> list[float]:
    """Of the frames of a video, which are of 96x130 px or one row less."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [float(frame.time) for frame in container.decode(video=0)]


def test_video_has_the_times_of_the_frames() -> None:
    endless.run(4, "video:v.mp4")
    assert times_of(Path("v.mp4")) == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-3)
    sink = VideoSink(Path("w.mp4"))
    for i, time_s in enumerate((None, None, 100.0, 99.0, 103.0, 7200.0, 7200.0)):
        sink.write(result(i, time_s))
    sink.close()
    # Unknown, back in time, a pause too long and none at all: a step.
    assert times_of(Path("w.mp4")) == pytest.approx(
        [0, 0.04, 0.08, 0.12, 4.12, 4.16, 4.20], abs=1e-3
    )


def test_video_shows_the_particles_circled() -> None:
    av = pytest.importorskip("av")
    (one,) = endless.run(1, "video:v.mp4")[1]
    with av.open("v.mp4") as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert shown.shape == (96, 130, 3)
    difference = np.abs(shown[:, :129].astype(int) - one.plot())
    assert difference.mean() < 12


def test_video_begins_a_new_file_for_a_new_size_and_source() -> None:
    Path("v_2.mp4").touch()
    sink = VideoSink(Path("v.mp4"))
    for i, height in enumerate((96, 96, 95, 96)):
        sink.write(result(i, float(i), height))
        sink.write(result(i, float(i), source="rtsp://left/1"))
    sink.close()
    assert {path.name: len(times_of(path)) for path in Path().glob("v*.mp4")
            if path.stat().st_size} == {
        "v.mp4": 2, "v_3.mp4": 1, "v_4.mp4": 1, "v_rtsp_left_1.mp4": 4,
    }  # fmt: skip


def test_video_rotates(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_769_868_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    sink = VideoSink(Path("v.mp4"), Rotation(every=3600))
    for i in range(5):
        sink.write(result(i, i * 900.0))
        now += 1800
    sink.close()
    assert [(path.name, len(times_of(path))) for path in sorted(Path().glob("*"))] == [
        ("v_20260131T140000Z.mp4", 2), ("v_20260131T150000Z.mp4", 2), ("v_20260131T160000Z.mp4", 1),
    ]  # fmt: skip


def test_video_on_a_full_disk_goes_on_in_the_next_file() -> None:
    sink = VideoSink(Path("v.mp4"))
    with files_of_at_most(30_000):
        failed = next(i for i in range(1000) if not written(sink, i))
    assert written(sink, failed + 1)
    sink.close()
    assert failed > 10
    # The first file may lack the fragment that found no room; that is counted.
    assert sink.lost < 10
    assert len(times_of(Path("v.mp4"))) == failed - sink.lost
    assert len(times_of(Path("v_2.mp4"))) == 1
    assert not list(Path().glob("*.part"))


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_video_on_a_disk_that_stays_full_leaves_no_file_open() -> None:
    sink = VideoSink(Path("v.mp4"))
    before = len(os.listdir("/proc/self/fd"))
    with files_of_at_most(100):
        assert not any(written(sink, i) for i in range(10))
    assert len(os.listdir("/proc/self/fd")) <= before
    assert sink.lost == 0
    assert not list(Path().iterdir())


def written(sink: Sink, index: int) -> bool:
    try:
        sink.write(result(index, index / 2))
    except OSError as error:
        if error.errno != errno.EFBIG or "v.mp4" not in str(error):
            raise
        return False
    return True


# Crops


def test_crops_are_training_samples() -> None:
    sink = CropSink(Path("c"))
    sink.write(result(7))
    sink.write(result(8))
    samples = [paths.load() for paths in find_samples(Path("c"))]
    assert [sample.name.split("_", 1)[1] for sample in samples] == [
        "000007_belt_0001", "000007_belt_0002", "000008_belt_0001", "000008_belt_0002",
    ]  # fmt: skip
    for sample in samples:
        assert sample.image.shape == (64, 64, 3)
        assert (sample.image[..., 0] > 0).tolist() == (sample.mask > 0).tolist()
    # The first touches the frame's corner region, the second lies in the middle of its crop.
    assert [int(sample.mask.sum()) for sample in samples] == [16, 100, 16, 100]


def test_crops_of_small_frames_and_large_particles() -> None:
    probability = np.zeros((40, 200), np.uint8)
    probability[5:35, 20:170] = 255
    frame = Frame(np.zeros((40, 200, 3), np.uint8), 0, "x", None)
    CropSink(Path("c")).write(Result.of(frame, probability, ParticleFilter(0.5)))
    (paths,) = find_samples(Path("c"))
    assert paths.load().size_hw == (40, 108)


def test_crops_on_a_full_disk_are_pairs() -> None:
    sink = CropSink(Path("c"))
    sink.write(result(0))
    # Stands in the way of the image.
    obstacle = Path(f"c/images/{sink._stamp}_000001_belt_0001.png")
    obstacle.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        sink.write(result(1))
    obstacle.rmdir()
    assert len(find_samples(Path("c"))) == 2


def test_crops_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    total = CropSink(Path("total"), Limit(5, per_minute=False))
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rate = CropSink(Path("rate"), Limit(20, per_minute=True))
    for second in range(61):
        now = float(second)
        total.write(result(second))
        rate.write(result(second))
    assert len(find_samples(Path("total"))) == 5
    assert len(find_samples(Path("rate"))) == 21
    now += 86_400
    for second in range(40):
        rate.write(result(100 + second))
    assert len(find_samples(Path("rate"))) == 41
