"""The MQTT sink with a real broker: TLS, credentials, and a broker that goes away."""

import json
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import endless
import pytest

import edge
from edge.errors import BadArgumentError
from edge.sinks.mqtt import MqttSink
from edge.sources.source import State

mqtt = pytest.importorskip("paho.mqtt.client")
BROKER = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.skipif(not BROKER, reason="needs mosquitto")

DEADLINE_S = 30.0


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


class Broker:
    """Mosquitto on a free port of this machine; what it knows outlives its process."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.mkdir()
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(
            f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {folder}/\n"
            "autosave_on_changes true\nautosave_interval 1\nuser root\n" + "\n".join(lines) + "\n"
        )
        self.start()

    def start(self) -> None:
        command = [str(BROKER), "-c", str(self._configuration)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        eventually(self._listens)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return not probe.connect_ex(("127.0.0.1", self.port))


class Listener:
    """Keeps all messages of a broker; its session outlives connections."""

    def __init__(self, broker: Broker, ca: Path | None = None) -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self._subscribed = threading.Event()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, "listener", clean_session=False
        )
        if ca:
            self._client.username_pw_set("belt", "secret")
            self._client.tls_set_context(ssl.create_default_context(cafile=ca))
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _, __, message: self.messages.append(
            (message.topic, message.payload.decode(), message.retain)
        )
        self._client.connect("localhost" if ca else "127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S)

    def of(self, topic: str) -> list[str]:
        return [text for where, text, _ in list(self.messages) if where == topic]

    @property
    def frames(self) -> list[int]:
        """Numbers of the frames in the order they came first, since one may come twice."""
        found = [json.loads(text)["frame"] for text in self.of("belt/1/frames")]
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MQTT_USERNAME", raising=False)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", "allow_anonymous true")
    yield broker
    broker.kill()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    listener = Listener(broker)
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem and, signed by that, localhost.pem and localhost.key."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
    openssl("req", "-x509", *key, "-subj", "/CN=Test", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-x509", *key, "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-keyout", "localhost.key", "-out", "localhost.pem")  # fmt: skip
    return folder


@pytest.fixture
def tls_broker(tmp_path: Path, certificates: Path) -> Iterator[Broker]:
    """With TLS, for the user belt with the password secret."""
    passwords = tmp_path / "passwords"
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("needs mosquitto_passwd")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "belt", "secret"], check=True)
    broker = Broker(
        tmp_path / "broker",
        f"certfile {certificates}/localhost.pem",
        f"keyfile {certificates}/localhost.key",
        "allow_anonymous false",
        f"password_file {passwords}",
    )
    yield broker
    broker.kill()


def test_nothing_is_lost_where_the_broker_is_killed_in_mid_run(
    tls_broker: Broker, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_USERNAME", "belt")
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    ca = certificates / "ca.pem"
    listener = Listener(tls_broker, ca)
    uri = f"mqtts://localhost:{tls_broker.port}/belt/1?ca={ca}"
    sink = edge.open_sink(uri, 0.05)
    results = []
    with edge.run(endless.EndlessSource(period_s=0.02), "quarter_mrunet", sinks=[sink]) as run:
        for result in run:
            results.append(result)
            index = result.frame.index
            if index == 30:
                eventually(lambda: len(listener.frames) > 10)
                # What is known of sessions is saved once a second.
                time.sleep(1.5)
                tls_broker.kill()
            elif index == 60:
                eventually(lambda: sink.waiting >= 20)
                tls_broker.start()
            elif index == 90:
                eventually(lambda: len(listener.frames) > 60)
                run.stop()
    assert run.report().problems == []
    eventually(lambda: len(listener.frames) == len(results))
    assert listener.frames == list(range(len(results)))
    assert not Path("belt_1.mqtt").exists(), "nothing is left to be sent"
    message = json.loads(listener.of("belt/1/frames")[0])
    assert message["run"].endswith("+00:00")
    records = results[0].records(0.05)
    assert message["count"] == len(records) == len(message["particles"])
    assert message["time_s"] == 1e9
    assert message["particles"][0] | {"frame": 0, "file": "belt.png", "time_s": 1e9} == records[0]
    eventually(lambda: listener.of("belt/1/status")[-1:] == ["offline"])
    assert "online" in listener.of("belt/1/status")
    listener.close()


def test_what_a_run_could_not_send_is_sent_by_the_next(broker: Broker) -> None:
    uri = f"mqtt://127.0.0.1:{broker.port}/belt/1?buffer=b.sqlite"
    broker.kill()
    run, results = endless.run(9, uri)
    assert len(results) == 9
    assert run.report().problems == ["mqtt belt/1: 9 results are still to be delivered"]
    assert Path("b.sqlite").exists()
    broker.start()
    listener = Listener(broker)
    run, _ = endless.run(3, uri)
    assert run.report().problems == []
    eventually(lambda: len(listener.of("belt/1/frames")) >= 12)
    frames = [json.loads(text)["frame"] for text in listener.of("belt/1/frames")]
    assert frames == [*range(9), *range(3)]
    assert not Path("b.sqlite").exists()
    listener.close()


def test_a_killed_run_goes_offline_and_its_messages_are_sent_later(
    broker: Broker, listener: Listener
) -> None:
    uri = f"mqtt://127.0.0.1:{broker.port}/belt/1"
    command = [sys.executable, endless.__file__, "0.02", uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        eventually(lambda: listener.frames)
        broker.kill()
        while int(process.stdout.readline()) < 60:
            pass
        process.kill()
        # It had up to three frames that it had not written yet.
        least = 60 - 3
    with sqlite3.connect("belt_1.mqtt") as buffer:
        assert buffer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    buffer.close()
    broker.start()
    endless.run(1, uri)
    eventually(lambda: least <= len(listener.frames))
    assert listener.frames == list(range(len(listener.frames)))

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: listener.of("belt/1/status")[-1:] == ["online"])
        process.kill()
    eventually(lambda: listener.of("belt/1/status")[-1:] == ["offline"])


def test_home_assistant_finds_the_sensors(broker: Broker) -> None:
    uri = f"mqtt://127.0.0.1:{broker.port}/belt/1?discovery=homeassistant"
    endless.run(1, uri)
    late = Listener(broker)  # everything it reads is retained
    eventually(lambda: sum(topic.endswith("/config") for topic, *_ in late.messages) == 3)
    eventually(lambda: late.of("belt/1/stats"))
    configs = {
        topic.split("/")[3]: json.loads(text)
        for topic, text, retained in late.messages
        if topic.startswith("homeassistant/sensor/") and retained
    }
    assert set(configs) == {"particles", "particles_per_minute", "source_0"}
    stats = json.loads(late.of("belt/1/stats")[-1])
    for config in configs.values():
        assert config["availability_topic"] == "belt/1/status"
        assert config["unique_id"].startswith(config["device"]["identifiers"][0])
    assert configs["particles"]["state_topic"] == "belt/1/frames"
    assert configs["source_0"]["value_template"] == "{{ value_json.sources[0].state }}"
    assert stats["sources"] == [{"name": "endless", "state": State.LIVE.value}]
    assert stats["particles_per_minute"] >= 0
    late.close()


def test_no_discovery_where_none_is_asked_for(broker: Broker, listener: Listener) -> None:
    endless.run(2, f"mqtt://127.0.0.1:{broker.port}/belt/1")
    eventually(lambda: listener.of("belt/1/status")[-1:] == ["offline"])
    assert {topic.split("/")[0] for topic, *_ in listener.messages} == {"belt"}
    assert not any(retained for topic, _, retained in listener.messages if "frames" in topic)


@pytest.mark.parametrize("wrong", ["password", "certificate", "name"])
def test_a_broker_that_refuses_does_not_end_a_run(
    wrong: str,
    tls_broker: Broker,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MQTT_USERNAME", "belt")
    monkeypatch.setenv("MQTT_PASSWORD", "wrong" if wrong == "password" else "secret")
    host = "127.0.0.1" if wrong == "name" else "localhost"
    uri = f"mqtts://{host}:{tls_broker.port}/belt/1"
    if wrong != "certificate":
        uri += f"?ca={certificates / 'ca.pem'}"
    sink = edge.open_sink(uri)
    words = "Not authorized" if wrong == "password" else "certificate verify failed"
    with edge.run(endless.EndlessSource(period_s=0.01), "quarter_mrunet", sinks=[sink]) as run:
        for _ in run:
            if words in caplog.text:
                run.stop()
    assert run.report().problems[-1].endswith("results are still to be delivered")
    assert "secret" not in caplog.text


def test_the_buffer_is_bounded(broker: Broker) -> None:
    broker.kill()
    uri = f"mqtt://127.0.0.1:{broker.port}/belt/1?buffer_mb=0.01&buffer=b.sqlite"
    run, _ = endless.run(40, uri)
    (status,) = run.statistics().sinks
    assert status.waiting + status.lost == 40
    assert 0 < status.waiting < 20
    assert f"mqtt belt/1: {status.lost} results could not be delivered" in run.report().problems
    with sqlite3.connect("b.sqlite") as buffer:
        texts = [row[0] for row in buffer.execute("SELECT payload FROM messages ORDER BY id")]
    buffer.close()
    assert [json.loads(text)["frame"] for text in texts] == list(range(40 - len(texts), 40))
    assert sum(map(len, texts)) <= 10_000
    broker.start()
    listener = Listener(broker)
    endless.run(0, uri)
    eventually(lambda: len(listener.frames) == status.waiting)
    listener.close()


def test_a_buffer_belongs_to_one_run() -> None:
    first = edge.open_sink("mqtt://127.0.0.1:1/belt/1")
    with pytest.raises(OSError, match="another program holds it"):
        edge.open_sink("mqtt://127.0.0.1:1/belt/1")
    first.close()


def test_the_end_does_not_wait_for_a_broker_that_is_away() -> None:
    sink = edge.open_sink("mqtt://127.0.0.1:1/belt/1")
    with edge.run(endless.EndlessSource(40, 0.02), "quarter_mrunet", sinks=[sink]) as run:
        list(run)
        start = time.monotonic()
    assert time.monotonic() - start < 4


def test_topics_and_prefixes_are_checked() -> None:
    for uri in ("mqtt:///belt", "mqtt://host/belt/", "mqtt://host//belt"):
        with pytest.raises(BadArgumentError, match="write it as mqtt://HOST:PORT/TOPIC"):
            edge.open_sink(uri)
    with pytest.raises(BadArgumentError, match="discovery=/x is not the beginning of a topic"):
        edge.open_sink("mqtt://host/belt?discovery=/x")
    assert MqttSink.on_error == "drop"
    assert not list(Path().iterdir())
