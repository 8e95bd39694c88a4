"""Pages in a real browser: Debian's Chromium without a window, and without a network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (360, 1440)
"""Pixels of a phone and of a desktop."""

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, with a new folder for what it keeps."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class OpenedPage:
    """A page in the browser.

    Attributes:
        said: what it wrote to the console, and errors of its scripts.
        asked: the addresses that it asked for, itself first.
    """

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())

    def overflow(self, width: int) -> int:
        """By how many pixels the page is wider than a window of ``width``."""
        self.page.set_viewport_size({"width": width, "height": 800})
        wide: int = self.page.evaluate("document.documentElement.scrollWidth")
        return wide - width

    def faults(self, scheme: Scheme) -> list[str]:
        """What axe-core finds in light or dark, as the name of a rule and the elements; in dark, of contrast alone."""
        self.page.emulate_media(color_scheme=scheme)
        rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
        found = Axe().run(self.page, options=rules).response["violations"]
        return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]


@contextlib.contextmanager
def opened(browser: Browser, file: Path) -> Iterator[OpenedPage]:
    """A file as a page, in a context of its own."""
    context = browser.new_context()
    try:
        yield OpenedPage(context.new_page(), file)
    finally:
        context.close()
