"""Looks at the page of ``lit-gen explore`` with a real browser, and at what the browser asks for.

    python scripts/check_explore_page.py vae_digits --pictures shots

Opens the page of each model in headless Chromium, moves a slider, draws a path, uploads a picture, and ends with
status 1 if a picture doesn't change, the browser's console holds an error, or a request goes anywhere but to the
page's server.
Needs ``lit-gen[explore]``, the package selenium, and Chromium with its driver (Debian: chromium, chromium-driver).
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lit_gen.cli.commands.explore import name_of
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.cli.exploring.serving import start
from lit_gen.pretrained.loading import from_pretrained

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1000",
)  # fmt: skip
PATIENCE = 180  # seconds, of a machine that has other things to do


class Browser:
    """Headless Chromium on one page.

    Args:
        folder: For its profile, and the pictures that are uploaded.
        shots: Where screenshots go; None for none.
    """

    def __init__(self, folder: Path, shots: Path | None) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        self.driver.get("about:blank")
        self.driver.get_log("performance")  # what the browser's own first page asked for
        self.folder, self.shots, self.requests = folder, shots, set[str]()

    def open(self, address: str) -> None:
        """Go to a page."""
        self.driver.get(address)

    def find(self, selector: str) -> Any:
        """The element of a CSS selector, once it is there."""
        from selenium.webdriver.common.by import By

        return self.until(lambda: (self.driver.find_elements(By.CSS_SELECTOR, selector) or [None])[0], selector)

    def tab(self, name: str) -> None:
        """Turn to a tab."""
        from selenium.webdriver.common.by import By

        button = f"//button[@role='tab'][normalize-space()='{name}']"
        self.until(lambda: (self.driver.find_elements(By.XPATH, button) or [None])[0], name).click()

    def picture(self, name: str) -> str:
        """The address of a picture, which says what it shows; empty for none."""
        script = "const i = document.querySelector(arguments[0]); return i && i.complete && i.naturalWidth ? i.src : ''"
        return str(self.driver.execute_script(script, f"#{name} img"))

    def changed(self, name: str, before: str = "") -> str:
        """The address of a picture once it is another one."""
        return self.until(lambda: (now := self.picture(name)) not in ("", before) and now, f"another {name}")

    def slide(self, name: str, value: float) -> None:
        """Move a slider as a hand does."""
        script = """
            const input = document.querySelector(arguments[0]);
            Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, arguments[1]);
            for (const name of ['input', 'change', 'pointerup']) input.dispatchEvent(new Event(name, {bubbles: true}));
        """
        self.find(f"#{name} input[type=range]")
        self.driver.execute_script(script, f"#{name} input[type=range]", str(value))

    def upload(self, file: Path) -> None:
        """Give a file to the page."""
        self.find("#upload input[type=file]").send_keys(str(file))

    def shot(self, name: str) -> None:
        """Keep a screenshot, if any are kept."""
        if self.shots is not None:
            self.driver.set_window_size(1280, 700)
            time.sleep(0.5)
            height = self.driver.execute_script("return document.documentElement.scrollHeight")
            self.driver.set_window_size(1280, max(700, height + 150))
            self.driver.save_screenshot(str(self.shots / f"{name}.png"))

    def until(self, found: Callable[[], Any], what: str) -> Any:
        """Wait for something.

        Raises:
            AssertionError: naming it.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := found():
                return value
            time.sleep(0.1)
        raise AssertionError(f"no {what} within {PATIENCE} seconds")

    def complaints(self, address: str) -> list[str]:
        """Errors of the console, and requests to anywhere but the address."""
        found = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                parameters = message["params"]
                self.requests.add(parameters.get("request", parameters)["url"])
        own = (address, "data:", "blob:")
        return found + [f"a request to {url}" for url in sorted(self.requests) if not url.startswith(own)]


def look(browser: Browser, explorer: Explorer, page: Any) -> None:
    """Use the page as a person does.

    Raises:
        AssertionError: for what doesn't work.
    """
    name, shape = explorer.name, explorer.model.image_shape
    browser.open(page.local_url)
    if explorer.draws:
        grid = browser.changed("samples")
        browser.find("#next-seed").click()
        browser.changed("samples", grid)
        browser.shot(f"{name}_samples")
        browser.find("#samples img").click()
        browser.tab("Sliders")
        moved = browser.changed("moved")
        browser.slide("slider-1", 3)
        browser.changed("moved", moved)
        browser.shot(f"{name}_sliders")
        browser.tab("Paths")
        strip, between = browser.changed("strip"), browser.changed("on-path")
        browser.slide("place", 0.9)
        browser.changed("on-path", between)
        browser.find("#other-pair").click()
        browser.changed("strip", strip)
        browser.shot(f"{name}_paths")
        browser.tab("Your picture")
    file = browser.folder / "picture.png"
    drawing(shape, explorer.translates).save(file)
    browser.upload(file)
    browser.changed("made")
    browser.shot(f"{name}_picture")
    file = browser.folder / "no_picture.png"
    file.write_bytes(b"<script>alert(1)</script>")
    browser.find("#upload button[aria-label*=lear]").click()
    browser.upload(file)
    told = browser.find("#note [role=alert]").text
    assert told.startswith("the picture: not a readable image"), told
    browser.shot(f"{name}_no_picture")
    complaints = browser.complaints(page.local_url)
    assert not complaints, "\n".join(complaints)


def drawing(shape: tuple[int, ...], large: bool) -> Image.Image:
    """A ring, at the size of a model's images or larger."""
    side = 3 * shape[1] if large else shape[1]
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    ring = 255 * np.exp(-(((np.hypot(x / 0.6, y) - 0.65) / 0.18) ** 2))
    return Image.fromarray(ring.astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pictures", type=Path, help="folder for screenshots")
    options = parser.parse_args()
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    for source in options.models:
        explorer = Explorer(from_pretrained(source, training=False), name_of(Path(source).absolute()))
        with tempfile.TemporaryDirectory() as served, tempfile.TemporaryDirectory() as folder:
            page = start(explorer, Path(served))
            browser = Browser(Path(folder), options.pictures)
            try:
                look(browser, explorer, page)
                print(f"{source}: {len(browser.requests)} requests, all to {page.local_url}")
            except AssertionError as error:
                browser.shot(f"{explorer.name}_failed")
                sys.exit(f"{source}: {error}")
            finally:
                browser.driver.quit()
                page.close(verbose=False)


if __name__ == "__main__":
    main()
