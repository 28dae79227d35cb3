"""The viewer as its users see it: in a real browser, headless."""

import io
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from box_rooms import box_room
from browsers import CHROMIUM, PATIENCE
from browsers import browser as browser
from PIL import Image
from ply_files import read_ply

from data.prepared import manifest, writing
from data.protocol import DepthMap
from data.user_maps.known_cameras import KnownCamera
from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import recover_folder
from launch.recovery.one_map import find_maps
from train3d_jax.geometry.depth_maps import point_cloud, recovered_depth
from train3d_jax.inference.models import load_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
viewer_maps = pytest.importorskip("launch.viewer.maps", reason="viser is not installed")
viewer_server = pytest.importorskip("launch.viewer.server", reason="viser is not installed")
from launch.viewer.window import BY_HAND, ViewerContext  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to look with")

FOCAL, SHIFT, FOV = "focal_px", "shift", "fov_x_deg"


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four rooms, shifted and scaled, and a map in which there is nothing."""
    maps = tmp_path_factory.mktemp("maps")
    for seed in range(4):
        np.save(maps / f"room{seed}.npy", 3 * box_room(seed)[0] - 1)
    np.save(maps / "void.npy", np.zeros((96, 128), np.float32))
    return maps


@pytest.fixture(scope="module")
def config(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("saved")
    return RecoveryConfig(folder, out, (folder,), "depth")


def serve(config, models, entries, truth=False):
    exhibition = ViewerContext(entries, config, models, named=False, truth=truth)
    return viewer_server.Server(exhibition, "127.0.0.1", 0)


@pytest.fixture(scope="module")
def server(config, model):
    running = serve(config, [model], viewer_maps.entries_of_folder(config))
    yield running
    running.stop()


@pytest.fixture
def window(browser, server):
    opened = open_window(browser, server)
    yield opened
    opened.page.close()
    assert not opened.errors


def open_window(browser, server, size=(96, 128)):
    """A window that shows the first map; what is wrong with it, and what it asked of the net."""
    page = browser.new_page(viewport={"width": 1000, "height": 1200})
    page.set_default_timeout(PATIENCE)
    errors, asked = [], []
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{server.get_port()}")
    shows(page, f"{size[1]} x {size[0]} pixels")
    return SimpleNamespace(page=page, errors=errors, asked=asked)


def shows(page, text):
    """Waits until the page says something."""
    page.get_by_text(text).first.wait_for()


def refused(page, text):
    page.locator("[role=alert]", has_text=text).first.wait_for()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def number(page, key):
    return float(page.locator(f"[data-key={key}]").get_attribute("data-value"))


def set_slider(page, which, value):
    """Types into the field beside a slider: 0 is the field of view, 1 the shift."""
    field = page.locator(".mantine-NumberInput-input").nth(which)
    field.fill(str(value))
    field.press("Enter")
    key = (FOV, SHIFT)[which]
    page.wait_for_function(
        "([key, value]) => Math.abs(document.querySelector(`[data-key=${key}]`).dataset.value"
        " - value) < 1e-6",
        arg=[key, value],
    )


def drag(page, which, part):
    """Drags a slider to a part of its length."""
    track = page.locator(".mantine-Slider-trackContainer").nth(which).bounding_box()
    height = track["y"] + track["height"] / 2
    thumb = page.locator(".mantine-Slider-thumb").nth(which).bounding_box()
    page.mouse.move(thumb["x"] + thumb["width"] / 2, height)
    page.mouse.down()
    page.mouse.move(track["x"] + part * track["width"], height, steps=4)
    page.mouse.up()


def picture(page):
    """The clouds, without the panel at the right."""
    shot = page.screenshot(clip={"x": 0, "y": 200, "width": 580, "height": 800})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def drawn(page):
    """The clouds once they are drawn, which a busy machine does late."""
    for _ in range(PATIENCE // 500):
        if (now := picture(page)).std() > 10:
            return now
        page.wait_for_timeout(500)
    return picture(page)


def changed(page, before):
    """Waits until the picture is another one, and comes to rest; the new one."""
    last = before
    for _ in range(PATIENCE // 500):
        page.wait_for_timeout(500)
        now = picture(page)
        if np.array_equal(now, last) and (np.abs(now - before).max(-1) > 30).mean() > 0.005:
            return now
        last = now
    raise AssertionError("the picture does not change")


def test_the_page_needs_nothing_but_its_own_server(window, server):
    own = (f"http://127.0.0.1:{server.get_port()}/", "data:", "blob:")
    assert window.asked and all(url.startswith(own) for url in window.asked)
    assert drawn(window.page).std() > 10  # there is a cloud


def test_a_dragged_slider_bends_the_cloud_and_moves_the_scores(window):
    page = window.page
    before, scores = picture(page), page.locator(".score").all_inner_texts()
    drag(page, 1, 0.7)
    page.wait_for_function("document.querySelector('[data-key=shift]').dataset.value > 0.85")
    assert number(page, FOV) == pytest.approx(75.2, abs=0.1)
    assert page.locator(".score").all_inner_texts() != scores
    changed(page, before)


def test_recover_glides_to_the_numbers_of_launch_infer_and_save_writes_its_files(
    window, server, config, model, tmp_path
):
    page = window.page
    glided = []
    (shown,) = server._windows.values()
    shown._panel.shift.on_update(lambda event: glided.append(event.target.value))
    press(page, "Recover")
    shows(page, "room0.npy: recovered")
    own = RecoveryConfig(config.input, tmp_path / "out", config.runs, "depth")
    recover_folder(own, [model])
    answer = json.loads((tmp_path / "out" / "room0.json").read_text())
    for key in (FOCAL, FOV, SHIFT, "a", "b"):
        assert number(page, key) == answer[key]
    assert len(set(glided)) > 10 and np.all(np.diff(np.sign(np.diff(glided))) == 0)
    title = page.locator(".interval").nth(1).get_attribute("title")
    low, high = answer["shift_interval"]
    assert title == f"90 %: {low:.4g} to {high:.4g}"
    press(page, "Save")
    shows(page, "saved as")
    for ending in ("json", "ply", "npz"):
        saved, expected = (place.out / f"room0.{ending}" for place in (config, own))
        if ending == "npz":
            assert np.array_equal(np.load(saved)["depth"], np.load(expected)["depth"])
        else:
            assert saved.read_bytes() == expected.read_bytes()


def test_values_that_were_set_are_saved_as_such(window, config, folder):
    page = window.page
    set_slider(page, 0, 61.5)
    set_slider(page, 1, 0.25)
    press(page, "Save")
    shows(page, "saved as")
    answer = json.loads((config.out / "room0.json").read_text())
    assert answer["settings"] == answer["method"] == BY_HAND
    assert (answer["fov_x_deg"], answer["shift"]) == pytest.approx((61.5, 0.25), rel=1e-6)
    assert answer["shift_interval"] == [answer["shift"]] * 2
    depth = recovered_depth(np.load(folder / "room0.npy"), answer["a"], answer["b"], "depth")
    points = point_cloud(depth, np.array(answer["intrinsics"]))
    np.testing.assert_array_equal(read_ply(config.out / "room0.ply"), points)


def test_what_is_known_stays_and_the_other_is_recovered(window, config, model, tmp_path):
    page = window.page
    set_slider(page, 0, 50)
    focal = number(page, FOCAL)
    page.get_by_label("Focal known").check()
    press(page, "Recover")
    shows(page, "room0.npy: recovered")
    known = RecoveryConfig(
        config.input, tmp_path / "out", config.runs, "depth", camera=KnownCamera(focal_px=focal)
    )
    recover_folder(known, [model])
    answer = json.loads((tmp_path / "out" / "room0.json").read_text())
    assert (number(page, SHIFT), number(page, FOCAL)) == (answer["shift"], answer["focal_px"])
    page.get_by_label("Shift known").check()
    press(page, "Recover")
    refused(page, "both are known")
    page.get_by_label("Focal known").uncheck()
    set_slider(page, 1, 0.3)
    press(page, "Recover")
    shows(page, "room0.npy: recovered")
    assert number(page, SHIFT) == pytest.approx(0.3) and number(page, FOCAL) != focal


def test_keys_and_thumbnails_choose_maps_and_a_void_one_is_reported(window):
    page = window.page
    page.keyboard.press("n")
    shows(page, "room1.npy: 128 x 96")
    page.keyboard.press("p")
    shows(page, "room0.npy: 128 x 96")
    page.locator(".thumbnail", has_text="void").click()
    refused(page, "void.npy: too few valid pixels")
    press(page, "Recover")
    refused(page, "there is no map")
    page.locator(".thumbnail", has_text="room2").click()
    shows(page, "room2.npy: 128 x 96")
    assert page.locator(".thumbnail img").count() == 5


def test_views_and_what_is_shown_change_the_picture(window):
    page = window.page
    set_slider(page, 1, 0.8)
    seen = picture(page)
    for name in ("camera", "top", "side", "corrected", "as given", "orbit"):
        press(page, name)
        seen = changed(page, seen)


def upload(page, name, content):
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def as_npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_an_upload_appears_and_bad_ones_are_refused_with_a_reason(window, config):
    page = window.page
    upload(page, "../../mine.npy", as_npy(box_room(9, (60, 80))[0]))
    shows(page, "mine.npy: 80 x 60 pixels")
    shows(page, "6 · mine.npy")
    press(page, "Save")
    shows(page, "saved as")
    assert (config.out / "uploads" / "mine.json").is_file()
    grey = io.BytesIO()
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(grey, "PNG")
    for name, content, reason in (
        ("eight.png", grey.getvalue(), "8"),
        ("thing.npy", as_npy(np.array([{"a": 1}], object)), "not numbers"),
        ("cut.npy", as_npy(np.ones((60, 80)))[:-9], "ends too early"),
        ("huge.npy", as_npy(np.ones((1, 1))).replace(b"(1, 1)", b"(99999, 99999)"), ""),
        ("empty.exr", b"", "not a readable OpenEXR"),
        ("notes.txt", b"hello", "is not a depth map"),
    ):
        upload(page, name, content)
        refused(page, f"{name}: ")
        refused(page, reason)
    assert number(page, FOV) > 0  # the last good map is still there
    page.keyboard.press("p")
    refused(page, "void.npy")


def test_uploads_that_are_too_large_are_refused_before_they_come(window, monkeypatch):
    monkeypatch.setattr(viewer_server, "MOST_UPLOADED", 1 << 16)
    upload(window.page, "large.npy", as_npy(np.ones((200, 200))))
    refused(window.page, "large.npy: is 0 MiB; more than")
    upload(window.page, "small.npy", as_npy(box_room(9, (60, 80))[0]))
    shows(window.page, "small.npy: 80 x 60 pixels")


@pytest.mark.filterwarnings("ignore:Queued a .* on a closed connection")
def test_two_windows_do_not_disturb_each_other_and_leave_nothing(browser, server, window):
    other = open_window(browser, server)
    other.page.keyboard.press("n")
    shows(other.page, "room1.npy: 128 x 96")
    set_slider(other.page, 1, 0.5)
    set_slider(window.page, 1, 0.2)
    assert number(other.page, SHIFT) == pytest.approx(0.5)
    shows(window.page, "room0.npy: 128 x 96")
    threads, running = threading.active_count(), dict(server._windows)
    press(other.page, "Recover")
    other.page.close()  # while it is at work
    set_slider(window.page, 1, 0.4)
    assert len(server._windows) == len(running) - 1
    (closed,) = [w for number, w in running.items() if number not in server._windows]
    closed._tasks._thread.shutdown(wait=True)
    assert threading.active_count() < threads
    assert not other.errors


def test_on_prepared_sets_errors_are_reported_and_the_truth_is_a_click_away(
    browser, model, tmp_path, config
):
    writing.begin(tmp_path / "set")
    for number_, seed in enumerate((3, 4)):
        origin = manifest.Origin("rooms", f"room{seed}", "computed", number_)
        row = writing.write_sample(tmp_path / "set", number_, DepthMap(*box_room(seed)), origin)
        manifest.append_rows(tmp_path / "set", [row])
    writing.finish(tmp_path / "set", {}, software="test")
    own = RecoveryConfig(tmp_path / "set", tmp_path / "out", config.runs, "depth")
    server = serve(own, [model], viewer_maps.entries_of_set(own), truth=True)
    try:
        window = open_window(browser, server)
        page = window.page
        page.get_by_role("button", name="truth", exact=True).wait_for()
        assert "points are off by 0.0 %" not in page.locator(".points").inner_text()
        press(page, "Go to the truth")
        shows(page, "points are off by 0.0 %")
        shows(page, "0.0 degrees")
        exact = number(page, SHIFT)
        set_slider(page, 1, round(exact + 0.2, 3))
        assert "points are off by 0.0 %" not in page.locator(".points").inner_text()
        page.close()
        assert not window.errors
    finally:
        server.stop()


def test_frames_of_a_clip_are_recovered_with_the_camera_of_all(browser, model, tmp_path):
    """As launch.infer recovers them."""
    (tmp_path / "maps").mkdir()
    room = box_room(0, (96, 144))[0]
    frames = [2 * room[:, step : step + 128] - 1 for step in (0, 8, 16)]
    np.save(tmp_path / "maps" / "film.npy", np.stack(frames))
    saving = SaveSettings(())
    config = RecoveryConfig(
        tmp_path / "maps", tmp_path / "out", (tmp_path,), "depth", affine="clip", saving=saving
    )
    listing = find_maps(config)
    entries = viewer_maps.entries_of_folder(config, listing)
    context = ViewerContext(entries, config, [model], named=False, truth=False, listing=listing)
    running = viewer_server.Server(context, "127.0.0.1", 0)
    recover_folder(config, [model])
    answer = json.loads((tmp_path / "out" / "film" / "000000.json").read_text())
    try:
        page = open_window(browser, running).page
        press(page, "Recover")
        shows(page, "film.npy[0]: recovered")
        for key in (FOCAL, SHIFT, "a", "b"):
            assert number(page, key) == answer[key]
        page.close()
    finally:
        running.stop()
