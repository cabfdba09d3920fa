"""The page over HTTP: who is let in, what is refused, and that no viewer slows a run."""

import contextlib
import csv
import io
import json
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import edge
from edge.cli import edge_run
from edge.errors import BadArgumentError, EdgeError
from edge.model import Model
from edge.server import auth, history, live, server, viewers
from edge.server.address import Address
from edge.server.folder import FRAMES_PER_PAGE, Folder
from edge.server.history import History
from edge.server.server import Server
from edge.sinks import open_sinks
from tests.edge.serving import Served, serve_folder, serve_run
from train.data.synth import Scene, scene

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    return [scene(rng, 96, 128, particles=8).image for _ in range(3)]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with edge.load_model("quarter_mrunet") as model:
        yield model


@pytest.fixture
def live_run(model: Model, images: list[NDArray[np.uint8]]) -> Iterator[Served]:
    with serve_run(model, images, threshold=0.3) as served:
        wait_for(lambda: served.get("/api/state").json["shown"])
        yield served


@pytest.fixture(scope="module")
def results(
    model: Model, images: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of results of three frames."""
    folder = tmp_path_factory.mktemp("results")
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"photo{i}.png"), image[..., ::-1])
    out = folder / "out"
    run = edge.run(f"{folder}/photo*.png", model, sinks=open_sinks(out, 0.05), threshold=0.3)
    list(run)
    run.report().write(out / "summary.json")
    return out


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


# A run


def test_the_page_and_its_files_are_served_with_strict_headers(live_run: Served) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/live.js", "text/javascript"),
        ("/charts.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/nothing", "text/plain"),
    ):
        answer = live_run.get(path)
        assert answer.status == (404 if path == "/nothing" else 200)
        headers = {name.lower(): text for name, text in answer.headers.items()}
        assert headers["content-type"].startswith(kind) or path == "/nothing"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    page = live_run.get("/").body.decode()
    # Nothing inline, nothing from elsewhere.
    assert not re.search(r"<style|style=|onclick|https?://", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


def test_a_run_is_shown(live_run: Served) -> None:
    first = live_run.get("/api/state").json
    later = live_run.get(f"/api/state?after={first['changes']}").json
    assert later["changes"] > first["changes"]
    assert later["shown"]["frame"] > first["shown"]["frame"]
    assert (later["shown"]["width"], later["shown"]["height"]) == (128, 96)
    assert [source["name"] for source in later["sources"]] == ["belt"]
    assert later["sources"][0]["state"] == "live"

    picture = live_run.get("/frame.jpg")
    assert picture.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(picture.body, np.uint8), 1).shape == (96, 128, 3)

    statistics = live_run.get("/api/statistics").json
    wait_for(lambda: live_run.get("/api/statistics").json["fps"] > 0)
    assert statistics["counts"]["processed"] > 0
    assert sum(statistics["history"]["particles"]) == sum(statistics["sizes"])


def test_a_paused_run_shows_new_limits_at_once_and_records_what_was_found(
    live_run: Served,
) -> None:
    assert live_run.run
    assert live_run.post("/api/pause", {"paused": True}).status == 204

    def processed() -> int:
        assert live_run.run
        return live_run.run.statistics().counts.processed

    def is_still() -> bool:
        before = processed()
        time.sleep(0.3)
        return processed() == before

    wait_for(is_still)
    before = live_run.get("/api/state").json
    assert before["paused"]
    limits = {"threshold": 0.9, "min_diameter_px": None, "max_diameter_px": None}
    assert live_run.post("/api/limits", limits).status == 204
    after = live_run.get("/api/state").json
    assert after["limits"] == limits
    assert after["shown"]["frame"] == before["shown"]["frame"]
    assert after["shown"]["particles"] < before["shown"]["particles"]
    assert sum(after["shown"]["sizes"]) == after["shown"]["particles"]
    assert live_run.run.particle_filter.threshold == 0.9

    plain = live_run.get("/snapshot.png?circles=0")
    assert "attachment" in plain.headers["content-disposition"]
    circled = live_run.get("/snapshot.png")
    assert plain.body != circled.body
    # Frames that came meanwhile are dropped, and counted.
    dropped = live_run.run.statistics().counts.dropped
    wait_for(lambda: live_run.run and live_run.run.statistics().counts.dropped > dropped)

    rows = list(csv.DictReader(io.StringIO(live_run.get("/records.csv").body.decode())))
    lines = live_run.get("/records.jsonl").body.decode().splitlines()
    assert [row["id"] for row in rows] == [json.loads(line)["id"] for line in lines]
    assert len(rows) == live_run.run.statistics().counts.particles
    assert float(rows[0]["mm_per_pixel"]) == 0.05

    last = processed()
    assert live_run.post("/api/pause", {"paused": False}).status == 204
    wait_for(lambda: processed() > last)


def test_a_paused_file_waits(model: Model, sand: Scene, tmp_path: Path) -> None:
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), sand.image)
    run = edge.run(f"{tmp_path}/*.png", model)
    next(run)
    run._pipeline.paused = True
    time.sleep(0.5)
    assert run.statistics().counts.captured < 6
    run._pipeline.paused = False
    assert len(list(run)) == 5
    assert run.report().frames_dropped == 0


def test_a_paused_run_can_be_stopped(model: Model, sand: Scene, tmp_path: Path) -> None:
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), sand.image)
    run = edge.run(f"{tmp_path}/*.png", model)
    next(run)
    run._pipeline.paused = True
    run.stop()
    assert len(list(run)) < 5
    assert run.report().ended == "interrupted"


@pytest.mark.parametrize(
    ("path", "values", "words"),
    [
        ("/api/limits", {"threshold": 0.5}, "give an object with threshold, min_diameter_px"),
        ("/api/limits", [1, 2, 3], "give an object"),
        ("/api/pause", {"paused": 1}, "neither true nor false"),
        *(
            ("/api/limits", {"threshold": t, "min_diameter_px": a, "max_diameter_px": b}, words)
            for t, a, b, words in (
                (0, None, None, "not above 0"),
                (1.5, None, None, "at most 1"),
                (None, None, None, "threshold: is not a number"),
                (float("nan"), None, None, "threshold: is not a number"),
                (True, None, None, "threshold: is not a number"),
                (0.5, "3", None, "min_diameter_px: is not a number"),
                (0.5, 9, 3, "no particle has a diameter from 9 to 3 px"),
                (0.5, -1, None, "no particle"),
            )
        ),
    ],
)
def test_changes_out_of_range_are_refused(
    shared: Served, path: str, values: object, words: str
) -> None:
    answer = shared.post(path, values)
    assert answer.status == 400
    assert words in answer.json["error"]


@pytest.fixture(scope="module")
def shared(model: Model, images: list[NDArray[np.uint8]]) -> Iterator[Served]:
    """A run that no test changes."""
    with serve_run(model, images) as served:
        yield served


def test_changes_from_other_pages_are_refused(shared: Served) -> None:
    body = json.dumps({"paused": True}).encode()
    for headers in (
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{shared.port + 1}"},
        {"Origin": shared.url.rstrip("/"), "Sec-Fetch-Site": "cross-site"},
        {"Origin": shared.url.rstrip("/"), "Sec-Fetch-Site": "same-site"},
    ):
        assert shared.send("POST", "/api/pause", body, **headers).status == 403
    # Nor may they take the places of viewers; a link to the page is followed.
    assert shared.get("/frame.jpg", Sec_Fetch_Site="cross-site").status == 403
    assert shared.get("/", Sec_Fetch_Site="cross-site").status == 200
    assert not shared.get("/api/state").json["paused"]


def test_other_names_and_methods_are_refused(shared: Served) -> None:
    for host in ("evil.example", f"evil.example:{shared.port}", "127.0.0.1.evil.example", "["):
        assert shared.get("/", Host=host).status == 421
    for host in ("localhost:9000", "127.0.0.1", "[::1]:80", "192.168.1.7"):
        assert shared.get("/", Host=host).status == 200
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"):
        assert shared.send(method, "/").status == 405
    assert shared.post("/api/state", {}).status == 405
    assert shared.get("/../pyproject.toml").status == 404


def test_large_requests_are_refused(shared: Served) -> None:
    assert shared.post("/api/limits", "x" * 5000).status == 413
    with socket.create_connection(("127.0.0.1", shared.port), 20) as client:
        head = "POST /api/pause HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        client.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n" + b"10\r\n" + b"x" * 16 + b"\r\n")
        assert b" 413 " in client.recv(100)
    with socket.create_connection(("127.0.0.1", shared.port), 20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n")
        assert b" 400 " in client.recv(100)


def test_viewers_are_bounded_and_forgotten(
    model: Model, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewers, "VIEWER_TIMEOUT_S", 2.0)
    with serve_run(model, images) as served:
        for number in range(viewers.MAX_VIEWERS):
            assert served.get(f"/api/state?viewer=v{number}").status == 200
        refused = served.get("/frame.jpg?viewer=one-more")
        assert (refused.status, refused.json["error"]) == (503, "too many viewers")
        assert served.get("/api/state?viewer=v0").status == 200
        wait_for(lambda: served.get("/api/state?viewer=one-more").status == 200)


@pytest.mark.slow
def test_stalled_viewers_are_dropped_and_slow_nothing(
    model: Model, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLIENT_TIMEOUT_S", 1.0)
    with serve_run(model, images, 0.05) as served:
        assert served.run
        wait_for(lambda: served.get("/api/state").json["shown"])
        stalled = []
        for number in range(viewers.MAX_VIEWERS):
            ask = f"GET /snapshot.png?viewer={number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            stalled.append(connect(served))
            # More than the server takes, and none of the answers is read.
            with contextlib.suppress(BlockingIOError):
                while True:
                    stalled[-1].send(ask.encode() * 100)
        for begun in ("GET / HTTP/1.1\r\n", "POST /login HTTP/1.1\r\nContent-Length: 9\r\n\r\n"):
            stalled.append(connect(served))
            stalled[-1].send(begun.encode())
        before = served.run.statistics().counts.processed
        wait_for(lambda: served.run and served.run.statistics().counts.processed > before + 10)
        assert served.run.statistics().latency_ms["queue"]["p50"] < 100
        for client in stalled:
            ended = select.poll()
            ended.register(client, select.POLLRDHUP)
            assert ended.poll(30_000), "the server holds on to it"
            client.close()
        wait_for(lambda: served.get("/api/state").status == 200)  # they have left


def connect(served: Served) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", served.port), 20)
    client.setblocking(False)
    return client


def test_the_end_of_a_run_is_told(model: Model, images: list[NDArray[np.uint8]]) -> None:
    with serve_run(model, images) as served:
        assert served.run
        wait_for(lambda: served.get("/api/state").json["shown"])
        served.run.stop()
        wait_for(lambda: served.get("/api/state").json["ended"])
    with pytest.raises(OSError, match="refused"):
        served.get("/")


# The token


@pytest.fixture
def with_token(
    model: Model, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setenv("EDGE_RUN_TOKEN", TOKEN)
    with serve_run(model, images) as served:
        yield served


def login(served: Served, token: str) -> tuple[int, str]:
    answer = served.send("POST", "/login", f"token={token}".encode(), Origin=served.url[:-1])
    return answer.status, answer.headers.get("set-cookie", "")


def test_only_the_token_lets_in(with_token: Served) -> None:
    paths = ("/api/state", "/api/statistics", "/frame.jpg", "/snapshot.png", "/records.csv",
             "/records.jsonl", "/live.js", f"/api/state?token={TOKEN}")  # fmt: skip
    for path in paths:
        assert with_token.get(path).status == 401
    assert with_token.post("/api/pause", {"paused": True}).status == 401
    home = with_token.get("/")
    assert (home.status, home.headers["location"]) == (303, "/login")
    assert with_token.get("/login").status == 200

    assert with_token.get("/api/state", Authorization=f"Bearer {TOKEN}").status == 200
    assert with_token.get("/api/state", Authorization=f"Bearer {TOKEN}x").status == 401
    program = {"Authorization": f"Bearer {TOKEN}"}
    body = json.dumps({"paused": False}).encode()
    assert with_token.send("POST", "/api/pause", body, **program).status == 204

    status, cookie = login(with_token, TOKEN)
    assert status == 303
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    mine = cookie.partition(";")[0]
    assert with_token.get("/", Cookie=mine).status == 200
    assert with_token.post("/api/pause", {"paused": False}, Cookie=mine).status == 204
    # A cookie lets no other page change anything.
    assert with_token.send("POST", "/api/pause", body, Cookie=mine).status == 403
    assert with_token.get("/", Cookie=mine[:-1] + "x").status == 303


def test_wrong_tokens_wear_out(with_token: Served) -> None:
    for _ in range(auth.MAX_WRONG):
        status, cookie = login(with_token, "wrong")
        assert (status, cookie) == (401, "")
    refused = with_token.get("/api/state", Authorization=f"Bearer {TOKEN}")
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= auth.WRONG_WINDOW_S


def test_wrong_tries_are_kept_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "WRONG_WINDOW_S", 0.2)
    tries = auth.WrongTries()
    for number in range(auth.MAX_ADDRESSES + 10):
        for _ in range(auth.MAX_WRONG):
            tries.add(str(number))
    assert len(tries._times_s) == auth.MAX_ADDRESSES
    assert not tries.wait_s("0")
    wait_for(lambda: not tries.wait_s(str(number)))


def test_other_addresses_need_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_RUN_TOKEN", raising=False)
    made = Server(Address("0.0.0.0", 0))
    made.close()
    assert made.token
    assert made.token.made
    assert len(made.token.text) == 24
    here = Server(Address("127.0.0.1", 0))
    here.close()
    assert here.token is None
    for text in ("short", "x" * 15, "with a space in the middle", "ä" * 20):
        monkeypatch.setenv("EDGE_RUN_TOKEN", text)
        with pytest.raises(BadArgumentError, match="EDGE_RUN_TOKEN: give at least 16"):
            Server(Address("0.0.0.0", 0))
    monkeypatch.setenv("EDGE_RUN_TOKEN", TOKEN)
    given = Server(Address("127.0.0.1", 0))
    given.close()
    assert given.token
    assert not given.token.made


def test_an_address_that_cannot_be_served_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EdgeError, match=f"127.0.0.1:{port}: cannot be listened on"):
            Server(Address("127.0.0.1", port))
    with pytest.raises(BadArgumentError, match="no such host"):
        Server(Address("no-such-host.invalid", 0))


@pytest.mark.parametrize("text", ["", "http", "1:2:3", "host:", ":80", "70000", "a b:80", "/:80"])
def test_a_bad_address_is_a_usage_error(text: str) -> None:
    done = CliRunner().invoke(edge_run, ["--source", "x.png", "--serve", text])
    assert done.exit_code == 2
    assert "[HOST:]PORT" in done.output


# Memory


def test_the_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(history.time, "monotonic", lambda: now_s)
    kept = History()
    for second in range(5000):
        now_s = second + 0.5
        kept.add(frames=1, particles=2, latency_s=0.01)
    shown = kept.as_json()
    assert shown["span_s"] == 32
    assert len(shown["frames"]) == 5000 // 32 + 1
    assert sum(shown["frames"]) == 5000
    assert sum(shown["particles"]) == 10_000
    assert shown["latency_ms"][0] == 10.0


def test_records_are_bounded(
    model: Model, sand: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_RECORDS", 40)
    cv2.imwrite(str(tmp_path / "a.png"), sand.image)
    sink = live.LiveSink()
    run = edge.run(f"{tmp_path}/*.png", model, sinks=[sink], threshold=0.3, min_diameter_px=0)
    (result,) = run
    count = len(result.particles)
    assert 4 < count <= 40
    for _ in range(20):
        sink.write(result)
    records = sink.statistics("")["records"]
    assert records["all"] == 21 * count
    assert 40 - count < records["kept"] <= 40
    assert len("".join(sink.records_jsonl()).splitlines()) == records["kept"]


# A folder


def test_results_are_shown(results: Path) -> None:
    with serve_folder(results) as served:
        summary = served.get("/api/summary").json
        assert summary["report"]["ended"] == "complete"
        assert (summary["frames"], summary["pages"], summary["mm_per_pixel"]) == (3, 1, 0.05)
        assert summary["particles"] == sum(summary["sizes"]) == summary["report"]["particles"]
        frames = served.get("/api/frames/0").json
        assert [frame["frame"] for frame in frames] == ["0", "1", "2"]
        assert frames[0]["pictures"] == ["overlay", "mask"]
        assert served.get("/api/frames/1").json == []
        for frame in frames:
            particles = served.get(f"/api/particles/{frame['frame']}").json
            assert len(particles) == int(frame["particles"])
        assert served.get("/api/particles/99999999999999999999").json == []
        picture = served.get("/pictures/overlay/1")
        assert picture.headers["content-type"] == "image/jpeg"
        assert served.get("/pictures/mask/2").headers["content-type"] == "image/png"
        assert served.get("/pictures/overlay/3").status == 404
        assert served.get("/pictures/weights/0").status == 404
        for name in ("frames.csv", "particles.csv", "particles.jsonl", "summary.json"):
            assert served.get(f"/files/{name}").body == (results / name).read_bytes()


def test_nothing_outside_of_the_folder_is_served(results: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    out = tmp_path / "out"
    (out / "overlays").mkdir(parents=True)
    (out / "frames.csv").write_bytes((results / "frames.csv").read_bytes())
    (out / "particles.csv").symlink_to(secret)
    (out / "summary.json").symlink_to("/etc/hostname")
    (out / "overlays" / "000000_a.jpg").symlink_to(secret)
    (out / "masks").symlink_to(results / "masks")
    with serve_folder(out) as served:
        summary = served.get("/api/summary").json
        assert (summary["report"], summary["particles"]) == (None, 0)
        assert summary["files"] == ["frames.csv"]
        for path in ("/files/particles.csv", "/files/summary.json", "/pictures/overlay/0",
                     "/pictures/mask/0", "/files/..%2Fsecret", "/files/../secret", "/../secret",
                     "/files/%2e%2e%2fsecret", "//etc/hostname"):  # fmt: skip
            answer = served.get(path)
            assert answer.status == 404, path
            assert b"secret" not in answer.body


def test_results_that_grow_are_shown(tmp_path: Path) -> None:
    """Of a run that goes on, without overlays, with two sources and a frame that failed."""
    frames, particles = tmp_path / "frames.csv.part", tmp_path / "particles.csv.part"
    head = "frame,file,time_s,width,height,particles,status,reason,source\n"
    frames.write_text(
        f'{head}0,a.png,,64,48,2,processed,,left\n0,"b,c.png",,64,48,1,processed,,right\n'
        "1,a.png,,,,,failed,it is damaged,left\n2,a.p"
    )
    particles.write_text(
        "frame,file,id,x_px,y_px,area_px,diameter_px,mean_probability,source\n"
        "0,a.png,left-000000-0001,1,2,3,2.5,0.5,left\n"
        "0,a.png,left-000000-0002,1,2,3,99,0.5,left\n"
        "0,b.png,right-000000-0001,5,6,3,2.5,0.5,right\n0,b"
    )
    with serve_folder(tmp_path) as served:
        summary = served.get("/api/summary").json
        assert (summary["report"], summary["frames"], summary["particles"]) == (None, 3, 3)
        assert (summary["sizes"][2], summary["sizes"][-1]) == (2, 1)
        rows = served.get("/api/frames/0").json
        assert [(row["file"], row["source"]) for row in rows][1] == ("b,c.png", "right")
        assert (rows[2]["reason"], rows[2]["pictures"]) == ("it is damaged", [])
        found = served.get("/api/particles/0?source=left").json
        assert [row["x_px"] for row in found] == ["1", "1"]
        (one,) = served.get("/api/particles/0?source=right").json
        assert one["x_px"] == "5"
        assert served.get("/files/frames.csv").body.endswith(b"damaged,left\n")
        with frames.open("a") as file:
            file.write("ng,,64,48,0,processed,,left\n")
        assert served.get("/api/summary").json["frames"] == 4
        frames.rename(tmp_path / "frames.csv")
        assert served.get("/api/summary").json["frames"] == 4


def test_thousands_of_frames_are_paged(tmp_path: Path) -> None:
    count = 20 * FRAMES_PER_PAGE + 1
    rows = (f"{i},a.png,,64,48,0,processed,\n" for i in range(count))
    head = "frame,file,time_s,width,height,particles,status,reason\n"
    (tmp_path / "frames.csv").write_text(head + "".join(rows))
    folder = Folder(tmp_path)
    assert folder.summary()["pages"] == 21
    assert [row["frame"] for row in folder.frames(20)] == [str(count - 1)]
    assert [row["frame"] for row in folder.frames(7)][:2] == ["700", "701"]


def test_damaged_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_bytes(b"\x00\xff\xfe,,\n" * 3)
    (tmp_path / "summary.json").write_text("{")
    with serve_folder(tmp_path) as served:
        answer = served.get("/api/summary")
        assert answer.status == 500
        assert "frames.csv: its first line" in answer.json["error"]
        (tmp_path / "frames.csv").write_bytes(b"frame,file,particles,status\n")
        assert "summary.json: not JSON" in served.get("/api/summary").json["error"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(edge_run, ["view", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no results of edge-run" in done.output


# The command line


def test_the_commands_serve_and_end_with_a_signal(results: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge", "view", str(results), "--serve", "0.0.0.0:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as viewing:
        assert viewing.stdout
        url, token = (viewing.stdout.readline() for _ in range(2))
        port = re.fullmatch(r"page: http://.+:(\d+)/\n", url)
        found = re.match(r"token: (\w{24}) ", token)
        assert port
        assert found
        with socket.create_connection(("127.0.0.1", int(port[1])), 20) as client:
            bearer = f"Authorization: Bearer {found[1]}"
            client.sendall(f"GET / HTTP/1.0\r\nHost: localhost\r\n{bearer}\r\n\r\n".encode())
            assert b" 200 " in client.recv(100)
        viewing.send_signal(2)
        assert viewing.wait(30) == 0


def test_a_run_serves_its_page_and_ends_as_ever(photo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge", "--source", str(photo), "--engine", "quarter_mrunet",
               "--out", str(tmp_path / "out"), "--serve", "0"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "page: http://127.0.0.1:" in done.stdout
    assert "token" not in done.stdout
    assert (tmp_path / "out/summary.json").exists()
