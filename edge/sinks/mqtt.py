"""Results to an MQTT broker, kept on disk until it has them.

TOPIC/frames    a JSON object per frame, QoS 1, in order
TOPIC/segments  a JSON object per segment of a belt, likewise
TOPIC/stats     the run so far, retained, every `STATS_S` seconds
TOPIC/status    "online", or "offline" after the end or where the connection is lost; retained
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge.belt.result import BeltResult
from edge.errors import BadArgumentError, describe, printable, require_extra
from edge.result import Result
from edge.sinks.mqtt_buffer import MqttBuffer
from edge.sinks.sink import Sink
from edge.sinks.uri import SinkUri, positive

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from edge.pipeline import Pipeline

PORT, TLS_PORT = 1883, 8883
USERNAME, PASSWORD = "MQTT_USERNAME", "MQTT_PASSWORD"
STATS_S = 10.0
KEEPALIVE_S = 30
# How long it waits before it tries to connect again, at least and at most.
RETRY_S = 1, 30
# How long the end of a run waits for a reachable broker to take what waits.
CLOSE_TIMEOUT_S = 5.0
# How long a wait lasts before it looks at the clock.
WAIT_S = 0.5
# Messages in flight. The next ones follow when all of these are acknowledged, which keeps them in
# order over a lost connection.
BATCH = 50
BUFFER_MB = 100.0

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_log = logging.getLogger(__name__)


class MqttSink(Sink):
    """Publishes each result; see the top of this file.

    While the broker is away, messages wait in an SQLite file, also over a restart, and the oldest
    are dropped where it would grow over `buffer_mb`. One is removed when the broker has
    acknowledged it, so after a crash one may come twice. User name and password are those of the
    environment variables MQTT_USERNAME and MQTT_PASSWORD.

    Args:
        topic: what all topics begin with; one for each run.
        tls: whether to use TLS; the broker's certificate is always verified.
        ca: a file with the certificates to verify it by, in place of the system's.
        buffer: the SQLite file; without it, TOPIC.mqtt in the current folder.
        buffer_mb: its limit, in MB (10^6 bytes) of messages.
        discovery: topic prefix for Home Assistant's discovery, mostly "homeassistant".

    Raises:
        BadArgumentError: `ca` holds no certificates, or `buffer` is no buffer.
        MissingExtraError: paho-mqtt is not installed.
        OSError: `buffer` cannot be written, or another run uses it.
    """

    on_error: Literal["fail", "drop"] = "drop"

    def __init__(
        self,
        host: str,
        port: int,
        topic: str,
        mm_per_pixel: float | None = None,
        *,
        tls: bool = False,
        ca: Path | None = None,
        buffer: Path | None = None,
        buffer_mb: float = BUFFER_MB,
        discovery: str | None = None,
    ) -> None:
        with require_extra("live"):
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        self.name = f"mqtt {topic}"
        self._address, self._topic, self._discovery = (host, port), topic, discovery
        self._mm_per_pixel = mm_per_pixel
        self._run = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        # The same after a restart, so that the broker ends the connection before, which may still
        # seem alive, and its last will does not come after the new "online".
        self._id = _slug(f"{platform.node()}-{topic}")
        self._client = Client(CallbackAPIVersion.VERSION2, self._id)
        self._client.max_inflight_messages_set(BATCH + 1)  # and the status at the end
        self._client.reconnect_delay_set(*RETRY_S)
        self._client.will_set(f"{topic}/status", "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._not_connected
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._acknowledged
        if username := os.environ.get(USERNAME):
            self._client.username_pw_set(username, os.environ.get(PASSWORD))
            if not tls and host not in _LOOPBACK:
                _log.warning("%s: sends the password in clear text; mqtts:// does not", self.name)
        if tls:
            self._client.tls_set_context(_tls(ca))
        self._path = buffer or Path(f"{_slug(topic)}.mqtt")
        self._buffer = MqttBuffer(self._path, buffer_mb)
        self.waiting = self._buffer.count
        self._changed = threading.Condition()
        self._acks: set[int] = set()
        self._online, self._reachable = False, True
        self._closing_s = 0.0
        self._problem = ""
        self._sender = threading.Thread(target=self._send, name=self.name, daemon=True)

    @classmethod
    def from_uri(cls, uri: SinkUri) -> MqttSink:
        """Of mqtt://HOST:PORT/TOPIC or mqtts://HOST:PORT/TOPIC.

        Raises:
            BadArgumentError: it is not of this form; or as the class.
        """
        host, port, topic = uri.address()
        if not host or not re.fullmatch(r"[^/#+\0]+(/[^/#+\0]+)*", topic):
            raise BadArgumentError(
                f"{uri.text}: write it as {uri.scheme}://HOST:PORT/TOPIC, the topic without # and +"
            )
        tls = uri.scheme == "mqtts"
        kinds: dict[str, Callable[[str], Any]] = {
            "buffer": Path,
            "buffer_mb": positive,
            "discovery": _prefix,
        }
        if tls:
            kinds["ca"] = Path
        options = uri.options(**kinds)
        port = port or (TLS_PORT if tls else PORT)
        return cls(host, port, topic, uri.mm_per_pixel, tls=tls, **options)

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`; connects, without waiting for the broker."""
        self._pipeline = pipeline
        self._rate = _Rate()
        self._client.connect_async(*self._address, keepalive=KEEPALIVE_S)
        self._client.loop_start()
        self._sender.start()

    def write(self, result: Result) -> None:
        """As `Sink.write`; returns when the message is on disk."""
        frame = result.frame
        payload = {
            "run": self._run,
            "frame": frame.index,
            "source": frame.source,
            "file": printable(frame.file),
            "time_s": None if frame.time_s is None else round(frame.time_s, 6),
            "count": len(result.particles),
            "particles": [
                {key: value for key, value in row.items() if key not in ("frame", "file", "time_s")}
                for row in result.records(self._mm_per_pixel)
            ],
        }
        messages = [("frames", payload)]
        if isinstance(result, BeltResult):
            messages += [
                ("segments", {"run": self._run} | segment.record(self._mm_per_pixel))
                for segment in result.segments
            ]
        with self._changed:
            for name, message in messages:
                self.lost += self._buffer.append(f"{self._topic}/{name}", json.dumps(message))
            self.waiting = self._buffer.count
            self._changed.notify_all()

    def close(self) -> None:
        """As `Sink.close`; waits for a reachable broker to take what waits."""
        with self._changed:
            self._closing_s = time.monotonic() + CLOSE_TIMEOUT_S
            self._changed.notify_all()
        if self._sender.is_alive():
            self._sender.join()
        if self._online:
            # A disconnect without error does not publish the last will.
            status = self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
            with self._changed:
                self._changed.wait_for(lambda: status.mid in self._acks, CLOSE_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()
        self._buffer.close()
        if not self.waiting:
            self._path.unlink(missing_ok=True)

    def _send(self) -> None:
        """The sender's thread: everything in the buffer, batch by batch, and the statistics."""
        stats_s = 0.0
        while self._wait_for_work(stats_s):
            if time.monotonic() >= stats_s:
                self._publish_stats()
                stats_s = time.monotonic() + STATS_S
            try:
                if self.waiting:
                    self._send_batch()
            except OSError as error:
                # What could not be read or removed is there still, and sent again.
                _log.warning("%s: %s", self.name, describe(error))
                with self._changed:
                    self._changed.wait_for(lambda: self._closing_s, RETRY_S[1])

    def _wait_for_work(self, stats_s: float) -> bool:
        """Wait until there is something to send and a connection; False where all is over."""
        with self._changed:
            while True:
                now_s = time.monotonic()
                if self._closing_s and (not self.waiting or self._over(now_s)):
                    return False
                if self._online and (self.waiting or now_s >= stats_s):
                    return True
                self._changed.wait(WAIT_S)

    def _over(self, now_s: float) -> bool:
        """Whether the end of the run waits no longer."""
        return bool(self._closing_s) and (now_s >= self._closing_s or not self._reachable)

    def _send_batch(self) -> None:
        """Publish the oldest messages, and wait until the broker has them, or the run ends."""
        with self._changed:
            messages = self._buffer.take(BATCH)
            self._acks.clear()
        sent = {self._client.publish(topic, text, qos=1).mid for _, topic, text in messages}
        with self._changed:
            # A connection that is lost meanwhile is made again by paho, which sends them again.
            while not sent <= self._acks:
                if self._over(time.monotonic()):
                    return
                self._changed.wait(WAIT_S)
            self._buffer.remove_taken()
            self.waiting = self._buffer.count

    def _publish_stats(self) -> None:
        statistics = self._pipeline.statistics()
        counts = statistics.counts
        stats = {
            "frames_processed": counts.processed,
            "frames_dropped": counts.dropped,
            "frames_failed": counts.failed,
            "fps": statistics.fps,
            "particles": counts.particles,
            "particles_per_minute": self._rate.per_minute(counts.particles, time.monotonic()),
            "sources": [
                {"name": printable(source.name), "state": source.state.value}
                for source in statistics.sources
            ],
        }
        self._client.publish(f"{self._topic}/stats", json.dumps(stats), retain=True)

    def _publish_discovery(self) -> None:
        """A sensor in Home Assistant for each of what is named here."""
        topic = self._topic
        sensors: dict[str, dict[str, Any]] = {
            "particles": {
                "name": "Particles in frame",
                "state_topic": f"{topic}/frames",
                "value_template": "{{ value_json.count }}",
                "unit_of_measurement": "particles",
                "state_class": "measurement",
            },
            "particles_per_minute": {
                "name": "Particles per minute",
                "state_topic": f"{topic}/stats",
                "value_template": "{{ value_json.particles_per_minute }}",
                "unit_of_measurement": "particles/min",
                "state_class": "measurement",
            },
        }
        for i, source in enumerate(self._pipeline.source.statuses()):
            sensors[f"source_{i}"] = {
                "name": f"Source {printable(source.name)}",
                "state_topic": f"{topic}/stats",
                "value_template": f"{{{{ value_json.sources[{i}].state }}}}",
                "entity_category": "diagnostic",
            }
        version = metadata.version("microplastic-edge")
        for key, sensor in sensors.items():
            config = sensor | {
                "unique_id": f"{self._id}_{key}",
                "availability_topic": f"{topic}/status",
                "device": {"identifiers": [self._id], "name": topic, "sw_version": version},
                "origin": {"name": "microplastic-edge", "sw_version": version},
            }
            self._client.publish(
                f"{self._discovery}/sensor/{self._id}/{key}/config", json.dumps(config), retain=True
            )

    def _connected(
        self, client: Client, _: object, flags: ConnectFlags, code: ReasonCode, more: Any
    ) -> None:
        if code.is_failure:
            self._tell(f"the broker refuses the connection: {code}")
            return
        # QoS 0 is enough for these: where they are lost, so is the connection, and they come again.
        client.publish(f"{self._topic}/status", "online", retain=True)
        if self._discovery:
            self._publish_discovery()
        self._tell("")
        with self._changed:
            self._online = self._reachable = True
            self._changed.notify_all()

    def _not_connected(self, *_: object) -> None:
        # paho does not say why, but calls this where it handles the error.
        error = sys.exc_info()[1]
        self._tell(f"no connection to the broker: {describe(error) if error else 'unknown error'}")

    def _disconnected(
        self, client: Client, _: object, flags: DisconnectFlags, code: ReasonCode, more: Any
    ) -> None:
        with self._changed:
            lost, self._online = self._online and code.is_failure, False
            self._changed.notify_all()
        if lost:
            self._tell(f"the connection to the broker is lost: {code}")

    def _acknowledged(
        self, client: Client, _: object, mid: int, code: ReasonCode, more: Properties
    ) -> None:
        with self._changed:
            self._acks.add(mid)
            self._changed.notify_all()

    def _tell(self, problem: str) -> None:
        """Log a change of the connection, once; empty: there is one."""
        if problem:
            with self._changed:
                self._reachable = False
                self._changed.notify_all()
        if problem != self._problem:
            self._problem = problem
            _log.warning("%s: %s", self.name, problem or "connected again")


class _Rate:
    """Of a count that grows, over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def per_minute(self, count: int, now_s: float) -> float:
        """Now that it is `count`, `STATS_S` seconds or more after the last time."""
        self._samples.append((now_s, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - 60:
            self._samples.popleft()
        then_s, then = self._samples[0]
        return round((count - then) * 60 / (now_s - then_s), 2) if now_s > then_s else 0.0


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise BadArgumentError(f"{ca}: holds no certificates in PEM") from None
    except OSError as error:
        raise BadArgumentError(f"{ca}: {error.strerror}") from None


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[^#+\0]+", text) or text.startswith("/") or text.endswith("/"):
        raise ValueError("the beginning of a topic, such as homeassistant")
    return text
