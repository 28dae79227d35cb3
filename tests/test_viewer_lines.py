"""Pictures in the viewer, as its users see them: estimates are those of launch.infer, and lines are
drawn."""

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from test_viewer import (
    FOCAL,
    FOV,
    SHIFT,
    number,
    open_window,
    playwright,
    press,
    serve,
    set_slider,
    shows,
    viewer_maps,
)
from test_viewer import browser as browser
from test_viewer import pytestmark as pytestmark

from data.rooms.evaluation_sets import write_evaluation_set
from data.user_maps.known_cameras import KnownCamera
from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import recover_folder
from train3d_jax.pictures.line_drawings import COLOURS

assert playwright
SIZE = (240, 320)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A rendered view with its picture; with one whose edges are 14 pixels off; with none."""
    place = tmp_path_factory.mktemp("lines")
    write_evaluation_set(place, 1, 2, SIZE, first_seed=8, noise=0.02)
    values = np.load(place / "depth" / "room00008_1.npy")
    picture = np.asarray(Image.open(place / "rgb" / "room00008_1.png"))
    maps, rgb = place / "maps", place / "pictures"
    maps.mkdir(), rgb.mkdir()
    for name in ("a", "other", "without"):
        np.save(maps / f"{name}.npy", values)
    Image.fromarray(picture).save(rgb / "a.png")
    Image.fromarray(np.roll(picture, 14, axis=1)).save(rgb / "other.png")
    return RecoveryConfig(
        maps, place / "out", (), "depth", "geometric", saving=SaveSettings((), rgb=rgb)
    )


@pytest.fixture(scope="module")
def server(config):
    running = serve(config, [], viewer_maps.entries_of_folder(config))
    yield running
    running.stop()


@pytest.fixture
def page(browser, server):
    opened = open_window(browser, server, SIZE)
    yield opened.page
    opened.page.close()
    assert not opened.errors


def answer_of(config, out, name="a", **changes):
    """What launch.infer writes of one map: by the program that the viewer has compiled."""
    if config.saving.rgb is not None:
        saving = dataclasses.replace(config.saving, rgb=config.saving.rgb / f"{name}.png")
        config = dataclasses.replace(config, saving=saving)
    one = dataclasses.replace(config, input=config.input / f"{name}.npy", out=out, **changes)
    recover_folder(one, [])
    return json.loads((out / f"{name}.json").read_text())


def lines_drawn(page):
    """The drawing of lines, and how many pixels each colour has in it."""
    address = page.locator(".lines img").get_attribute("src")
    file = io.BytesIO(base64.b64decode(address.split(",")[1]))
    drawing = np.asarray(Image.open(file).convert("RGB")).astype(int)
    return [int((np.abs(drawing - colour) < 40).all(-1).sum()) for colour in COLOURS]


def test_recover_takes_lines_as_launch_infer_does_and_colours_them(page, config, tmp_path):
    shows(page, "Recover finds directions")
    assert lines_drawn(page) == [0, 0, 0]
    press(page, "Recover")
    shows(page, "a.npy: recovered")
    shows(page, "nats of the focal length")
    assert min(lines_drawn(page)) > 10
    told = page.locator(".lines").inner_text()
    assert "up-down" in told and "pitch" in told
    answer = answer_of(config, tmp_path)
    for key in (FOCAL, FOV, SHIFT, "a", "b"):
        assert number(page, key) == answer[key]
    blind = answer_of(config, tmp_path / "blind", lines=False)
    assert blind[FOCAL] != answer[FOCAL]


def test_lines_count_where_the_focal_length_is_known(page, config, tmp_path):
    set_slider(page, 0, 60)
    focal = number(page, FOCAL)
    page.get_by_label("Focal known").check()
    press(page, "Recover")
    shows(page, "a.npy: recovered")
    camera = KnownCamera(focal_px=focal)
    answer = answer_of(config, tmp_path, camera=camera)
    assert (number(page, SHIFT), number(page, FOCAL)) == (answer[SHIFT], answer[FOCAL])


def test_a_picture_that_does_not_fit_is_named_and_nothing_is_drawn(page, config, tmp_path):
    page.keyboard.press("n")
    shows(page, "other.npy: 320 x 240")
    shows(page, "does not fit the depth")
    press(page, "Recover")
    shows(page, "other.npy: recovered")
    assert not page.get_by_text("Lines of the picture").is_visible()
    answer = answer_of(config, tmp_path, "other")
    assert number(page, FOCAL) == answer[FOCAL]
    page.keyboard.press("n")
    shows(page, "without.npy: 320 x 240")
    shows(page, "no image of this name")


def test_without_lines_the_page_and_the_estimate_are_as_without_pictures(browser, config, tmp_path):
    blind = dataclasses.replace(config, lines=False)
    running = serve(blind, [], viewer_maps.entries_of_folder(blind))
    try:
        opened = open_window(browser, running, SIZE)
        press(opened.page, "Recover")
        shows(opened.page, "a.npy: recovered")
        assert opened.page.locator(".lines").count() == 0
        assert not opened.page.get_by_text("Lines of the picture").is_visible()
        shown = number(opened.page, FOCAL)
        opened.page.close()
    finally:
        running.stop()
    without = dataclasses.replace(config, saving=SaveSettings(()))
    assert shown == answer_of(without, tmp_path)[FOCAL]


def test_pictures_that_a_manifest_names_count_beside_the_truth(browser, config, tmp_path):
    place = config.input.parent
    own = RecoveryConfig(place, tmp_path / "out", (), "depth", "geometric")
    entries = viewer_maps.entries_of_set(own)
    assert all(entry.pictured for entry in entries)
    (first, _), (blind, _) = (
        viewer_maps.entries_of_set(dataclasses.replace(own, lines=lines))[0].read()
        for lines in (True, False)
    )
    assert first.segments is not None and first.segments.mask.any() and blind.segments is None
    running = serve(own, [], entries, truth=True)
    try:
        opened = open_window(browser, running, SIZE)
        press(opened.page, "Recover")
        shows(opened.page, ": recovered")
        assert max(lines_drawn(opened.page)) > 10
        opened.page.close()
    finally:
        running.stop()
