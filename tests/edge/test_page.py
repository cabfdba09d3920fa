"""The page in a real browser: headless Chromium, where it is installed."""

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import edge
from edge.model import Model
from edge.sinks import open_sinks
from tests.edge.belts import MARGIN, BeltSource
from tests.edge.chromium import PROGRAM, Chromium
from tests.edge.serving import serve_folder, serve_run
from train.data.synth import scene

pytestmark = pytest.mark.skipif(not PROGRAM, reason="Chromium is not installed")

PHONE, DESKTOP = (390, 844), (1280, 800)
COUNT = "Number(document.getElementById('particles').textContent)"
LOADED = "document.getElementById('picture')?.naturalWidth > 0"
# What Tab reached: an id, or what the element is.
FOCUSED = "document.activeElement.id || document.activeElement.outerHTML.slice(0, 60)"


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    return [scene(rng, 96, 128, particles=8).image for _ in range(3)]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with edge.load_model("quarter_mrunet") as model:
        yield model


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def browser(shared_browser: Chromium) -> Iterator[Chromium]:
    """On a page of its own; what it asked for and complained of is that page's."""
    shared_browser.open("about:blank")
    shared_browser.size(*DESKTOP)
    shared_browser.requests.clear()
    shared_browser.problems.clear()
    yield shared_browser
    assert not shared_browser.problems
    hosts = {urlsplit(url).hostname for url in shared_browser.requests if url != "about:blank"}
    assert hosts <= {"127.0.0.1"}, "a request left the machine"
    shared_browser.open("about:blank")


def move(browser: Chromium, threshold: float) -> None:
    """The slider, as a finger does."""
    browser.run(
        f"(() => {{ const slider = document.getElementById('threshold');"
        f" slider.value = {threshold}; slider.dispatchEvent(new Event('input')); }})()"
    )


def tab_through(browser: Chromium) -> set[str]:
    """What Tab reaches, from where the focus is around to there."""
    reached: list[str] = []
    while len(reached) < 100:
        browser.press("Tab")
        focused = browser.run(FOCUSED)
        if focused in reached:
            break
        if focused.startswith("<body"):  # from the last control to the first
            continue
        # Where the focus is must be seen.
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
        reached.append(focused)
    return set(reached)


def controls(browser: Chromium) -> set[str]:
    """All that can be used on the page and is shown."""
    return set(
        browser.run(
            "[...document.querySelectorAll('a[href], button:enabled, input, select, summary,"
            '[tabindex="0"]\')].filter((it) => it.checkVisibility()'
            " && !(it.type === 'radio' && !it.checked))"
            ".map((it) => it.id || it.outerHTML.slice(0, 60))"
        )
    )


def unlabelled(browser: Chromium) -> list[str]:
    """Controls without a name for a screen reader."""
    found: list[str] = browser.run(
        "[...document.querySelectorAll('a[href], button, input, select, svg[role], img')]"
        ".filter((it) => !(it.textContent.trim() || it.ariaLabel || it.alt || it.labels?.length"
        " || it.getAttribute('aria-hidden')))"
        ".map((it) => it.outerHTML.slice(0, 80))"
    )
    return found


def test_a_belt_in_the_browser(browser: Chromium, model: Model) -> None:
    """Its strip scrolls, and its density is drawn."""
    belt = scene(np.random.default_rng(3), 900, 96 + 2 * MARGIN, particles=60).image
    frames = list(BeltSource(belt, np.arange(0, 700, 17.0), (120, 96)))
    settings = edge.BeltSettings(chunk_rows=96, segment_px=50)
    with serve_run(model, [frame.image for frame in frames], belt=settings) as served:
        browser.open(served.url)
        browser.wait_for("document.getElementById('strip')?.naturalWidth > 100")
        first = browser.run("document.getElementById('strip').src")
        browser.wait_for(f"document.getElementById('strip').src !== {first!r}")
        browser.wait_for("document.querySelectorAll('#density .cell').length >= 8")
        assert "mm/s" in browser.run("document.getElementById('belt-caption').textContent")
        assert served.get("/strip.jpg").headers["content-type"] == "image/jpeg"
        assert unlabelled(browser) == []
        assert tab_through(browser) == controls(browser)


def test_a_run_in_the_browser(
    browser: Chromium, model: Model, images: list[NDArray[np.uint8]]
) -> None:
    with serve_run(model, images, threshold=0.1) as served:
        assert served.run
        browser.open(served.url)
        browser.wait_for(LOADED)
        first = browser.run("document.getElementById('picture').src")
        browser.wait_for(f"document.getElementById('picture').src !== {first!r}")
        browser.wait_for("document.getElementById('connection').textContent === 'live'")
        browser.wait_for("document.querySelectorAll('#sizes .bar').length > 0")
        browser.wait_for("document.querySelector('#per-minute-chart polyline')")
        browser.wait_for("document.getElementById('per-minute').textContent !== '-'")

        # The slider acts within a second, also on a run that stands still.
        browser.press("p")
        browser.wait_for("document.getElementById('pause').textContent === 'Go on'")
        browser.wait_for(f"{COUNT} > 2")
        before = browser.run(COUNT)
        browser.run("document.getElementById('threshold').focus()")
        tries_s = []
        for _ in range(3):  # the machine may be busy
            move(browser, 0.95)
            started_s = time.monotonic()
            browser.wait_for(f"{COUNT} < {before}")
            tries_s.append(time.monotonic() - started_s)
            move(browser, 0.1)
            browser.wait_for(f"{COUNT} === {before}")
        assert min(tries_s) < 1
        move(browser, 0.95)
        browser.press("ArrowRight")
        browser.wait_for("document.getElementById('threshold-value').textContent === '0.96'")
        end_s = time.monotonic() + 30
        while served.run.particle_filter.threshold != 0.96:
            assert time.monotonic() < end_s

        browser.press("c")
        browser.wait_for("document.getElementById('picture').src.includes('circles=0')")
        assert "circles=0" in browser.run("document.getElementById('snapshot').href")
        text = browser.run("fetch('/records.csv').then((answer) => answer.text())")
        assert {"id", "diameter_px"} <= set(next(csv.DictReader(io.StringIO(text))))

        browser.press("p")
        browser.wait_for("document.getElementById('connection').textContent === 'live'")
        served.run.stop()
        browser.wait_for("document.getElementById('connection').textContent.endsWith('ended')")
        assert browser.run("document.getElementById('pause').disabled")
        browser.open("about:blank")


def test_every_control_of_a_run_is_reached_by_keyboard(
    browser: Chromium, model: Model, images: list[NDArray[np.uint8]]
) -> None:
    with serve_run(model, images, threshold=0.1) as served:
        browser.open(served.url)
        browser.wait_for(LOADED)
        browser.run("document.querySelector('details').open = true")
        assert len(controls(browser)) > 12
        assert controls(browser) == tab_through(browser)
        assert not unlabelled(browser)
        browser.open("about:blank")


def test_several_sources_are_chosen_from(
    browser: Chromium, model: Model, images: list[NDArray[np.uint8]]
) -> None:
    with serve_run(model, images, 0.05, names=("left", "right")) as served:
        browser.open(served.url)
        browser.wait_for(LOADED)
        listed = browser.run("document.getElementById('sources').textContent")
        assert "left: live" in listed
        assert "right: live" in listed
        caption = "document.getElementById('caption').textContent"
        browser.wait_for(f"{caption}.endsWith('left')")
        browser.run(
            "(() => { const choice = document.getElementById('source'); choice.value = 'right';"
            " choice.dispatchEvent(new Event('change')); })()"
        )
        browser.wait_for(f"{caption}.endsWith('right')")
        browser.open("about:blank")


def test_a_lost_connection_is_shown_and_comes_back(
    shared_browser: Chromium, model: Model, images: list[NDArray[np.uint8]]
) -> None:
    shared_browser.open("about:blank")
    text = "document.getElementById('connection').textContent"
    with serve_run(model, images) as served:
        shared_browser.open(served.url)
        shared_browser.wait_for(LOADED)
        shared_browser.offline(True)
        shared_browser.wait_for(f"{text}.startsWith('no connection')")
        shared_browser.wait_for("document.getElementById('freshness').matches('.old')")
        shared_browser.offline(False)
        shared_browser.wait_for(f"{text} === 'live'")
        shared_browser.open("about:blank")


def test_the_token_is_asked_for(
    shared_browser: Chromium,
    model: Model,
    images: list[NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGE_RUN_TOKEN", "a-token-of-24-characters")
    with serve_run(model, images) as served:

        def give(token: str) -> None:
            shared_browser.wait_for("document.activeElement?.id === 'token'")
            shared_browser.run(f"document.getElementById('token').value = {token!r}; 0")
            shared_browser.press("Enter")

        shared_browser.open(served.url)
        give("wrong")
        shared_browser.wait_for("document.querySelector('[role=alert]')?.textContent")
        give("a-token-of-24-characters")
        shared_browser.wait_for(LOADED)
        assert shared_browser.run("location.pathname + location.search") == "/"
        assert shared_browser.run("document.cookie") == ""
        shared_browser.press("p")
        shared_browser.wait_for("document.getElementById('pause').textContent === 'Go on'")
        shared_browser.open("about:blank")


def test_a_folder_in_the_browser(
    browser: Chromium, model: Model, images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    for i, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"photo{i}.png"), image[..., ::-1])
    out = tmp_path / "out"
    run = edge.run(f"{tmp_path}/photo*.png", model, sinks=open_sinks(out, 0.05), threshold=0.2)
    found = [len(result.particles) for result in run]
    run.report().write(out / "summary.json")
    assert found[1] > 1

    with serve_folder(out) as served:
        browser.open(served.url)
        browser.wait_for(LOADED)
        assert browser.run("document.getElementById('ended').textContent") == "complete"
        assert browser.run("document.querySelectorAll('#frames tr').length") == 3
        browser.press("j")
        browser.wait_for("document.getElementById('caption').textContent.startsWith('frame 1')")
        rows = "document.querySelectorAll('#particles tr').length"
        browser.wait_for(f"{rows} === {found[1]}")
        browser.run("document.querySelectorAll('#particles button')[1].focus()")
        browser.press("Enter")
        browser.wait_for("document.querySelector('.marks .chosen')")
        browser.run("document.querySelector('details').open = true")
        assert controls(browser) == tab_through(browser)
        assert not unlabelled(browser)
        # Without overlays the masks are shown, and without these the places.
        for kind in ("overlays", "masks"):
            for path in (out / kind).iterdir():
                path.unlink()
        browser.open(served.url)
        browser.wait_for(f"document.querySelectorAll('.marks circle').length === {found[0]}")
        browser.open("about:blank")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE, (360, 640)])
def test_the_page_fits_and_has_contrast(
    browser: Chromium,
    model: Model,
    images: list[NDArray[np.uint8]],
    size: tuple[int, int],
    dark: bool,
) -> None:
    with serve_run(model, images) as served:
        browser.size(*size, phone=size != DESKTOP, dark=dark)
        browser.open(served.url)
        browser.wait_for(LOADED)
        assert browser.run("document.documentElement.scrollWidth") <= size[0]
        low = browser.run(LOW_CONTRAST)
        assert not low, low
        small = browser.run(
            "[...document.querySelectorAll('button, .button, select')].filter((it) =>"
            " it.checkVisibility() && it.offsetHeight < 40).map((it) => it.id)"
        )
        assert not small
        browser.open("about:blank")


# Texts whose contrast with what is behind them is under 4.5 (WCAG AA).
LOW_CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (it) => {
    for (let one = it; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const it of document.querySelectorAll('body *')) {
    const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !it.checkVisibility() || it.matches(':disabled')) continue;
    const style = getComputedStyle(it);
    const colour = parse(it.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(it))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${it.tagName} ${it.textContent}: ${colour}`);
  }
  return low;
})()
"""
