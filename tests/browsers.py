"""A headless browser for tests of pages."""

import shutil

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-sync", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
PATIENCE = 120_000
"""Milliseconds; a busy machine compiles and draws slowly."""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()
