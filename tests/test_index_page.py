"""index.html as its users see it: opened as a file, without a network, in a real browser."""

import base64
import io
import os
from types import SimpleNamespace

import numpy as np
import pytest
from browsers import CHROMIUM, PATIENCE
from browsers import browser as browser
from folders import SIZE, fill, recovered, written
from folders import solver as solver
from PIL import Image

from launch.recovery.config import SaveSettings

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to look with")

VIEW = SaveSettings(("view",))
NAMES = ["a/room.npy", "b # 100 %25 \"'<é>?.npy", os.fsdecode(b"c\xff.npy")]


@pytest.fixture
def look(browser):
    """Opens the page of a folder; every error of it fails the test, but those that are taken."""
    context = browser.new_context(offline=True, viewport={"width": 1300, "height": 900})
    errors = []

    def opened(out):
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        asked = []
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((out / "index.html").as_uri())
        return SimpleNamespace(page=page, asked=asked, errors=errors)

    yield opened
    context.close()
    assert not errors


def waits_for_clouds(page, row):
    page.wait_for_function(
        "row => [...document.querySelectorAll('tbody tr')[row].querySelectorAll('canvas')]"
        ".every(canvas => canvas.width > 0)",
        arg=row,
    )


def pixels(page, row):
    """What both canvases of a row show, (H, W, 3) each."""
    seen = page.evaluate(
        "row => [...document.querySelectorAll('tbody tr')[row].querySelectorAll('canvas')]"
        ".map(canvas => canvas.toDataURL('image/png').split(',')[1])",
        row,
    )
    files = (io.BytesIO(base64.b64decode(text)) for text in seen)
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def canvas(page, row, number):
    return page.locator("tbody tr").nth(row).locator("canvas").nth(number)


def drag(page, on, right, down):
    box = on.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=3)
    page.mouse.up()
    frame(page)


def frame(page):
    """Waits until what was asked for is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")


def test_clouds_of_any_name_are_drawn_given_beside_recovered(tmp_path, solver, look):
    fill(tmp_path / "in", NAMES)
    recovered(tmp_path, saving=VIEW)
    seen = look(tmp_path / "out")
    for row in range(len(NAMES)):
        seen.page.locator("tbody tr").nth(row).scroll_into_view_if_needed()
        waits_for_clouds(seen.page, row)
        given, found = pixels(seen.page, row)
        for picture in (given, found):
            assert 0.05 < (picture < 250).any(-1).mean() < 0.9
        assert (given != found).any(-1).mean() > 0.05
        titles = seen.page.locator("tbody tr").nth(row).locator("figcaption").all_inner_texts()
        assert titles == ["given: 75.2° wide", "recovered: 56.1° wide"]
    assert all(url.startswith("file:") for url in seen.asked)


def test_both_clouds_turn_together_and_come_back(tmp_path, solver, look):
    fill(tmp_path / "in", NAMES[:1])
    recovered(tmp_path, saving=VIEW)
    page = look(tmp_path / "out").page
    waits_for_clouds(page, 0)
    at_first = pixels(page, 0)

    def moved(least=0.02):
        return [
            (one != other).any(-1).mean() > least
            for one, other in zip(at_first, pixels(page, 0), strict=True)
        ]

    def reset():
        page.locator("text=reset").click()
        frame(page)
        assert moved(0.0) == [False, False]

    for number in (0, 1):
        drag(page, canvas(page, 0, number), 60, 20)
        assert moved() == [True, True]
        reset()
    canvas(page, 0, 0).click()
    page.mouse.wheel(0, -400)
    frame(page)
    assert moved() == [True, True]
    reset()
    canvas(page, 0, 1).press("ArrowLeft")
    frame(page)
    assert moved() == [True, True]
    page.locator("text=larger").click()
    frame(page)
    assert pixels(page, 0)[0].shape[0] > 500
    page.locator("text=smaller").click()
    reset()


def test_the_wheel_scrolls_the_page_until_a_cloud_was_clicked(tmp_path, solver, look):
    fill(tmp_path / "in", [f"{number}.npy" for number in range(10)])
    recovered(tmp_path, saving=VIEW)
    page = look(tmp_path / "out").page
    waits_for_clouds(page, 0)
    before = pixels(page, 0)[0]
    box = canvas(page, 0, 0).bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(0, 60)
    page.wait_for_function("() => scrollY > 0")
    np.testing.assert_array_equal(pixels(page, 0)[0], before)


def test_only_rows_near_the_window_are_loaded(tmp_path, solver, look):
    fill(tmp_path / "in", [f"{number:02d}.npy" for number in range(40)])
    recovered(tmp_path, saving=VIEW)
    seen = look(tmp_path / "out")
    waits_for_clouds(seen.page, 0)
    assert 2 <= sum(".view.js" in url for url in seen.asked) <= 8
    seen.page.locator("tbody tr").nth(39).scroll_into_view_if_needed()
    waits_for_clouds(seen.page, 39)
    assert sum(".view.js" in url for url in seen.asked) <= 16  # none of those between
    widths = seen.page.evaluate("() => [...document.querySelectorAll('canvas')].map(c => c.width)")
    assert len(widths) == 80 and sum(width > 0 for width in widths) <= 16 and widths[0] == 0
    # A row that comes back is loaded again.
    seen.page.locator("#filter").fill("00.npy")
    waits_for_clouds(seen.page, 0)


def test_what_has_no_clouds_says_so_or_stays_as_it_is(tmp_path, solver, look):
    fill(tmp_path / "in", ["gone.npy", "room.npy"])
    np.save(tmp_path / "in" / "flat.npy", np.ones(SIZE))
    recovered(tmp_path, saving=VIEW)
    (tmp_path / "out" / "gone.view.js").unlink()
    seen = look(tmp_path / "out")
    message = seen.page.locator("tbody tr").nth(1).locator(".message")
    message.get_by_text("no clouds: gone.view.js is missing or damaged").wait_for()
    waits_for_clouds(seen.page, 2)
    assert "too few valid pixels" in seen.page.locator("tbody tr").nth(0).inner_text()
    assert seen.page.locator("tbody tr").nth(0).locator("canvas").count() == 0
    assert len(seen.errors) == 1 and "ERR_FILE_NOT_FOUND" in seen.errors.pop()
    recovered(tmp_path, saving=SaveSettings(()))
    assert not [name for name in written(tmp_path / "out") if name.endswith(".view.js")]
    page = look(tmp_path / "out").page
    assert page.locator("canvas").count() == 0
    assert page.locator("th").all_inner_texts()[-1] == "files"


def test_the_page_of_a_resumed_and_of_a_merged_run_has_the_clouds_of_the_earlier(
    tmp_path, solver, look
):
    fill(tmp_path / "in", NAMES[:2])
    recovered(tmp_path, saving=VIEW)
    for changes in ({"resume": True}, {"merge": True}):
        solver.clear()
        recovered(tmp_path, saving=VIEW, **changes)
        assert not solver
        waits_for_clouds(look(tmp_path / "out").page, 1)
