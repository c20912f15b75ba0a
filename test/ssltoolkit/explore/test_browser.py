"""The page in a headless Chromium: load, hover, click, play, frames, search and lasso. No name runs as code. A map of
ten thousand points.
"""

import json
import shutil
import time

import numpy as np
import pytest
import soundfile

from ssltoolkit.data.lists import write_task

from .conftest import HOSTILE, tone

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (packages chromium and chromium-driver)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    downloads = tmp_path_factory.mktemp("downloads")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,800", "--use-gl=angle", "--use-angle=swiftshader",
                     "--enable-unsafe-swiftshader", "--autoplay-policy=no-user-gesture-required"):  # fmt: skip
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


def wait(driver, condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = driver.execute_script(f"return {condition}")
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never true: {condition}")


def opened(driver, folder, width=1280, height=800):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.get(f"{(folder / 'index.html').as_uri()}")
    wait(driver, "document.body.dataset.ready")
    return json.loads((folder / "data/sounds.js").read_text()[len("window.SOUNDS = ") : -2])


def faults(driver):
    return [
        entry
        for entry in driver.get_log("browser")
        if entry["level"] in ("SEVERE", "WARNING") and "GPU stall" not in entry["message"]
    ]


def place(driver, sound):
    """Return the position of a sound on the screen in pixels."""
    script = """const l = document.getElementById("map")._fullLayout, b = document.getElementById("map").getBoundingClientRect();
        return [b.left + l.xaxis.d2p(SOUNDS.x[arguments[0]]) + l._size.l, b.top + l.yaxis.d2p(SOUNDS.y[arguments[0]]) + l._size.t]"""
    return [round(value) for value in driver.execute_script(script, sound)]


def pointer(driver, *steps):
    """Send mouse events: (type, x, y[, buttons])."""
    for kind, *at in steps:
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": at[0], "y": at[1], "button": "none" if kind == "mouseMoved" and len(at) == 2 else "left",
                                                            "buttons": at[2] if len(at) > 2 else 0, "clickCount": 1})  # fmt: skip


def test_hover_click_and_play(browser, explored):
    data = opened(browser, explored)
    sound = data["paths"].index("odd/two.wav")
    x, y = place(browser, sound)
    pointer(browser, ("mouseMoved", x - 3, y), ("mouseMoved", x, y))
    wait(browser, "!document.getElementById('tip').hidden")
    assert browser.execute_script("return document.getElementById('tip').textContent").endswith(".wav")
    pointer(browser, ("mousePressed", x, y, 1), ("mouseReleased", x, y, 0))
    wait(browser, f"state.current === {sound}")
    wait(browser, "!player.paused && player.currentTime > 0")
    near = browser.execute_script("return [...document.querySelectorAll('#near button')].map((b) => +b.dataset.sound)")
    assert near == data["near"][sound]
    browser.execute_script("document.querySelector('#near button').click()")
    wait(browser, f"state.current === {near[0]} && player.currentTime > 0")
    assert not faults(browser)


def test_a_half_second_is_found_elsewhere(browser, explored):
    data = opened(browser, explored)
    sound = data["paths"].index("odd/two.wav")
    browser.execute_script(f"choose({sound}); half({sound}, 4.0)")
    wait(
        browser,
        "!document.getElementById('mark').hidden && "
        "document.getElementById('listtitle').textContent.startsWith('Where else')",
    )
    first = browser.execute_script("return document.querySelector('#near button').dataset.sound")
    assert data["paths"][int(first)].startswith("high/")
    assert browser.execute_script("return document.querySelectorAll('#near button b').length") > 0
    assert not faults(browser)


def test_names_are_only_text(browser, explored):
    data = opened(browser, explored)
    for sound, path in enumerate(data["paths"]):
        if path.startswith("odd/"):
            browser.execute_script(f"choose({sound})")
            assert browser.execute_script("return document.getElementById('name').textContent") == path.split("/")[-1]
            wait(browser, "player.readyState > 0")  # the file can be played
    assert sum(path.startswith("odd/") for path in data["paths"]) == len(HOSTILE) + 2
    browser.execute_script(
        "const s = document.getElementById('search'); s.value = 'img'; s.dispatchEvent(new Event('input'))"
    )
    assert browser.execute_script("return document.querySelectorAll('#found button').length") == 1
    assert (
        browser.execute_script("return window.hacked") is None
        and browser.execute_script("return document.querySelectorAll('img, main b b').length") == 0
    )
    assert not faults(browser)


def test_search_by_keyboard(browser, explored):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    data = opened(browser, explored)
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    browser.switch_to.active_element.send_keys("high tone3")
    assert browser.execute_script("return document.getElementById('count').textContent").startswith("1 of ")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait(browser, f"state.current === {data['paths'].index('high/tone3.wav')}")
    assert not faults(browser)


def test_lasso_and_list(browser, explored, sounds, tmp_path):
    data = opened(browser, explored)
    browser.execute_script("document.getElementById('lasso').click()")
    box = browser.execute_script(
        "const b = document.getElementById('map').getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]"
    )
    left, top, right, bottom = (round(value) for value in (box[0] + 5, box[1] + 5, box[2] - 5, box[3] - 5))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 4)]
    pointer(browser, ("mouseMoved", *corners[0]), ("mousePressed", *corners[0], 1))
    for (x, y), (u, v) in zip(corners, corners[1:]):
        for part in (0.3, 0.6, 1.0):
            pointer(browser, ("mouseMoved", round(x + part * (u - x)), round(y + part * (v - y)), 1))
    pointer(browser, ("mouseReleased", *corners[-1], 0))
    assert wait(browser, "state.selected.length") == len(data["paths"])
    browser.execute_script(
        "document.getElementById('label').value = 'all\\tof'; document.getElementById('add').click(); "
        "document.getElementById('save').click()"
    )
    path = browser.downloads / "selection.tsv"
    end = time.monotonic() + 20
    while not path.is_file() and time.monotonic() < end:
        time.sleep(0.1)
    tests = write_task(path, "clip", tmp_path / "task")
    assert 0 < len(tests) < len(data["paths"]) and all(str(test).startswith(str(sounds)) for test in tests)
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert {row[1] for row in rows[1:]} == {"all of"} and {len(row) for row in rows} == {3}
    assert len(rows) - 1 == len(data["paths"]) - 1  # a name with a tab is left out and counted
    assert "1 sound left out" in browser.execute_script("return document.getElementById('listed').textContent")
    assert not faults(browser)


def test_every_colour_and_tab(browser, explored):
    opened(browser, explored)
    keys = browser.execute_script("return [...document.getElementById('colour').options].map((o) => o.value)")
    assert {"folder", "label", "duration", "pitch"} <= set(keys)
    for key in keys:
        browser.execute_script(
            f"const c = document.getElementById('colour'); c.value = '{key}'; c.dispatchEvent(new Event('change'))"
        )
        assert browser.execute_script("return document.getElementById('legend').textContent")
    for tab in ("clusters", "duplicates", "outliers", "selection", "sound"):
        browser.execute_script(f"document.querySelector('[data-tab={tab}]').click()")
        assert browser.execute_script(f"return !document.getElementById('{tab}').hidden")
    unnamed = "[...document.querySelectorAll('[role=img]')].filter((n) => n.offsetParent && !n.getAttribute('aria-label')).length"
    assert browser.execute_script(f"return {unnamed}") == 0
    assert not faults(browser)


def test_a_copied_sound_from_elsewhere_plays(browser, tmp_path):
    from ssltoolkit.explore.program import explore

    for name in ("far/a.wav", "sounds/b.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, tone(300, 0.5), 16000)
    (tmp_path / "sounds/link.wav").symlink_to(tmp_path / "far/a.wav")
    explore(str(tmp_path / "sounds"), str(tmp_path / "out"), kind="pca", jobs=1, copy=True)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    shutil.rmtree(tmp_path / "far")
    opened(browser, tmp_path / "moved")
    for sound in range(2):
        browser.execute_script(f"choose({sound})")
        wait(browser, "player.readyState > 0")
    assert not faults(browser)


def test_a_narrow_screen(browser, explored):
    opened(browser, explored, 360, 740)
    browser.execute_script("choose(3)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert not faults(browser)


def many(folder, explored, count):
    """Copy the explored page with ``count`` synthetic points."""
    shutil.copytree(explored, folder, ignore=shutil.ignore_patterns("cache", "index"))
    rng = np.random.default_rng(0)
    data = json.loads((explored / "data/sounds.js").read_text()[len("window.SOUNDS = ") : -2])
    data.update(
        paths=[f"folder{k % 9}/sound{k}.wav" for k in range(count)], x=rng.random(count).round(4).tolist(), y=rng.random(count).round(4).tolist(),
        seconds=[1.0] * count, pitch=[None] * count, labels=[""] * count, clusters=[-1] * count, near=[[0]] * count, cosines=[[0.5]] * count,
        duplicates=[[0, 1, 1.0]], alike=900, outliers=[3], medoids=[], first=list(range(count + 1)),
    )  # fmt: skip
    (folder / "data/sounds.js").write_text(f"window.SOUNDS = {json.dumps(data)};\n")
    return folder


# Milliseconds from frame to frame while something moves the map; arguments: the movement and the callback.
FRAMES = """
const [move, done] = arguments, map = document.getElementById("map"), times = [];
const pad = map.querySelector(".nsewdrag"), box = pad.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
const at = (k) => ({bubbles: true, cancelable: true, clientX: x + 3 * k, clientY: y + 2 * k, buttons: 1});
const moves = {
  relayout: (k) => Plotly.relayout(map, {"xaxis.range": [0.01 * k, 0.6 + 0.01 * k], "yaxis.range": [0.01 * k, 0.6 + 0.01 * k]}),
  drag: (k) => { if (k === 0) pad.dispatchEvent(new MouseEvent("mousedown", at(0))); document.dispatchEvent(new MouseEvent("mousemove", at(k + 1))); },
  wheel: (k) => pad.dispatchEvent(new WheelEvent("wheel", {...at(0), deltaY: k < 15 ? -60 : 60})),
};
const begin = () => Math.abs(map.layout.xaxis.range[1] - map.layout.xaxis.range[0]) + map.layout.xaxis.range[0], before = begin();
let last = performance.now(), k = 0;
function step() {
  moves[move](k);
  requestAnimationFrame(() => {
    const now = performance.now();
    times.push(now - last);
    last = now;
    if (++k < 30) return step();
    if (move === "drag") document.dispatchEvent(new MouseEvent("mouseup", at(30)));
    setTimeout(() => done([times, begin() !== before]), 1000);
  });
}
step();
"""


def test_ten_thousand_points_can_be_moved(browser, explored, tmp_path):
    """Frame times are printed, not asserted: they depend on the load of the machine."""
    opened(browser, many(tmp_path / "many", explored, 10000))
    browser.set_script_timeout(120)
    for move in ("drag", "wheel", "relayout"):
        times, moved = browser.execute_async_script(FRAMES, move)
        print(f"10,000 points, {move}: {np.median(times):.0f} ms a frame (median of 30, longest {max(times):.0f})")
        assert moved and len(times) == 30
    # The canvas has the resolution of the screen; by default, Plotly draws four times as many pixels.
    sizes = "[...document.querySelectorAll('#map .gl-canvas')].map((c) => Math.round(c.width / document.getElementById('map')._fullLayout.width))"
    assert set(browser.execute_script(f"return {sizes}")) == {1}
    # Shortened lists state the number of all entries.
    text = "return document.querySelector(arguments[0]).textContent"
    assert browser.execute_script(text, "#duplicates p") == "900 pairs, the closest first; the first 1 are listed."
    assert browser.execute_script(text, "#outliers p").endswith("; 1 of 10,000 sounds are listed.")
    assert "in folder0" in browser.execute_script(text, "#duplicates li") and "in folder1" in browser.execute_script(
        text, "#duplicates li"
    )
    browser.execute_script(
        "const s = document.getElementById('search'); s.value = 'sound1'; s.dispatchEvent(new Event('input'))"
    )
    assert browser.execute_script(text, "#found li:last-child") == "and 1,061 more, marked on the map"
    browser.execute_script(
        "select([...Array(300).keys()]); const s = document.getElementById('search'); s.value = ''; "
        "s.dispatchEvent(new Event('input'))"
    )
    assert browser.execute_script(text, "#chosen") == "300 sounds selected; the first 200 are listed."
    x, y = place(browser, 17)
    pointer(browser, ("mouseMoved", x - 2, y), ("mouseMoved", x, y))
    wait(browser, "!document.getElementById('tip').hidden")
    assert not faults(browser)
