"""A headless Chromium, driven through its DevTools protocol over a pipe; needs no package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
TIMEOUT_S = 30.0
# It reads commands from descriptor 3 and writes answers to 4.
LAUNCHER = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """A browser with one page.

    Attributes:
        requests: URLs that the page asked for.
        problems: what the page wrote to the console as an error or warning, and its exceptions.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 800) -> None:
        assert PROGRAM
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._number, self._received = 0, b""
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        command = [
            *(sys.executable, "-c", LAUNCHER, str(commands), str(answers)),
            *(PROGRAM, "--headless=new", "--no-sandbox", "--remote-debugging-pipe"),
            *("--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update"),
            *(f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"),
        ]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, pass_fds=(commands, answers), stdout=quiet, stderr=quiet
        )
        os.close(commands)
        os.close(answers)
        target = self._call("Target.getTargets")["targetInfos"]
        page = next(one for one in target if one["type"] == "page")["targetId"]
        self._session: str | None = None
        attached = self._call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to a page."""
        self._call("Page.navigate", url=url)

    def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """Of the screen, px, and what it prefers."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                   deviceScaleFactor=1, mobile=phone)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open_on_phone(self, file: Path) -> str:
        """Go to a page of one file, on a dark phone, which it must fit; its URL."""
        self.size(390, 844, phone=True, dark=True)
        url = file.as_uri()
        self.open(url)
        self.wait_for("document.readyState === 'complete' && document.querySelector('main')")
        assert self.run("document.documentElement.scrollWidth") <= 390
        return url

    def offline(self, offline: bool) -> None:
        """Whether its network is gone."""
        self._call("Network.emulateNetworkConditions", offline=offline, latency=0,
                   downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Until an expression is true."""
        end_s = time.monotonic() + TIMEOUT_S
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end_s, f"not true in {TIMEOUT_S} s: {script}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """A key, such as Tab, Enter or p."""
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowLeft": 37, " ": 32}
        code = codes.get(key, ord(key[0].upper()))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", key=key,
                   code=key, text=text, windowsVirtualKeyCode=code)  # fmt: skip
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def screenshot(self, *, whole_page: bool = False) -> bytes:
        """As PNG."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=whole_page)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """End it."""
        os.close(self._commands)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)

    def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _next(self) -> Any:
        while b"\0" not in self._received:
            assert select.select([self._answers], [], [], TIMEOUT_S)[0], "Chromium is silent"
            part = os.read(self._answers, 1 << 16)
            assert part, "Chromium has ended"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, method: str | None, params: Any) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(str(params["args"]))
