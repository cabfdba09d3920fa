"""A run as a systemd service: what it tells over a real socket, and the unit itself."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.systemd import notify

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "edge-run.service"
PROGRAM = Path(__file__).with_name("service_program.py")
TIMEOUT_S = 60.0


class Manager:
    """In systemd's place: a socket, and what came through it."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(TIMEOUT_S)

    def message(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def messages(self) -> Iterator[dict[str, str]]:
        while True:
            yield self.message()

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def service(tmp_path: Path, source: str, engine: str = "good", *more: str) -> Iterator[tuple]:
    """A manager and the run that it started, with a watchdog of 0.8 s."""
    address = str(tmp_path / "notify")
    manager = Manager(address)
    (tmp_path / f"{engine}.fake").touch()
    environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "800000"}
    words = ["--source", f"{source}:x", "--engine", tmp_path / f"{engine}.fake", *more]
    run = subprocess.Popen(
        [sys.executable, PROGRAM, *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield manager, run
    finally:
        run.kill()
        run.communicate()
        manager.close()


def is_hung(manager: Manager) -> bool:
    """Whether the run stops to tell the watchdog; False where it never does."""
    silent = 0
    for count, message in enumerate(manager.messages()):
        silent = 0 if "WATCHDOG" in message else silent + 1
        if silent == 10 or count == 200:
            return silent == 10
    raise AssertionError


def test_a_run_that_lives(tmp_path: Path) -> None:
    with service(tmp_path, "steady") as (manager, run):
        first = manager.message()
        assert first["READY"] == "1"
        assert re.fullmatch(r"\d+ frames, 0 dropped, .* 0 particles, .* FPS; x live",
                            first["STATUS"])  # fmt: skip
        told = [manager.message() for _ in range(12)]
        # A busy machine may let a tick go by without a frame.
        assert sum(message.get("WATCHDOG") == "1" for message in told) > 6
        frames = [int(message["STATUS"].split()[0]) for message in told]
        assert frames == sorted(frames)
        assert frames[-1] > 0
        run.send_signal(signal.SIGTERM)
        assert any(message == {"STOPPING": "1"} for message in manager.messages())
        assert run.wait(TIMEOUT_S) == 128 + signal.SIGTERM


def test_a_run_that_waits_for_its_camera_lives(tmp_path: Path) -> None:
    with service(tmp_path, "waiting") as (manager, _):
        assert manager.message()["READY"] == "1"
        told = [manager.message() for _ in range(10)]
        assert all(message["WATCHDOG"] == "1" for message in told)
        assert told[-1]["STATUS"].startswith("0 frames")
        assert told[-1]["STATUS"].endswith("x connecting")


def test_a_camera_that_hangs_is_not_alive(tmp_path: Path) -> None:
    with service(tmp_path, "hanging") as (manager, run):
        assert is_hung(manager)
        assert run.poll() is None  # to be ended by systemd


def test_an_engine_that_hangs_is_not_alive(tmp_path: Path) -> None:
    with service(tmp_path, "steady", "hanging") as (manager, run):
        assert is_hung(manager)
        assert run.poll() is None


def test_the_end_of_a_run_is_told(tmp_path: Path) -> None:
    with service(tmp_path, "steady", "good", "--frames", "3") as (manager, run):
        assert any(message == {"STOPPING": "1"} for message in manager.messages())
        assert run.wait(TIMEOUT_S) == 0


def test_the_watchdog_of_another_process_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with service(tmp_path, "waiting") as (manager, run):
        assert manager.message()["READY"] == "1"
        run.send_signal(signal.SIGTERM)
        for message in manager.messages():
            assert "WATCHDOG" not in message
            if "STOPPING" in message:
                break


def test_abstract_sockets_and_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"@edge-test-{os.getpid()}"
    manager = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1", "STATUS=ä")
    assert manager.message() == {"READY": "1", "STATUS": "ä"}
    manager.close()
    notify("READY=1")  # nobody listens any more
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_agrees_with_the_run() -> None:
    unit = settings()
    assert unit["Type"] == ["notify"]
    # The shell replaces itself, or systemd would not take the messages of its child.
    assert unit["NotifyAccess"] == ["main"]
    assert unit["ExecStart"][0].startswith("/bin/sh -c 'exec /opt/edge-run/bin/edge-run ")
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert set(unit["SuccessExitStatus"][0].split()) == {"130", "143"}
    assert int(unit["WatchdogSec"][0]) >= 60
    assert unit["EnvironmentFile"] == ["/etc/edge-run/options"]
    options = (ROOT / "deploy" / "options").read_text(encoding="utf-8")
    assert re.search(r"^EDGE_RUN_OPTIONS=--", options, re.MULTILINE)


def systemd_analyze(*words: object) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_systemd_finds_no_fault_with_the_unit() -> None:
    done = systemd_analyze("verify", "--man=no", UNIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_is_hardened() -> None:
    done = systemd_analyze("security", "--offline=true", "--no-pager", "--threshold=30", UNIT)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze judges no files before version 250")
    assert done.returncode == 0, done.stdout
