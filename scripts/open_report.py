"""Opens a report in a headless Chromium, uses it as a reader does, and takes pictures of it.

    python scripts/open_report.py report.html --out pictures

Needs Chromium with its driver (Debian: apt-get install chromium chromium-driver) and selenium. Fails if the page says
an error, asks anything of a network, or doesn't answer its controls.
"""

import argparse
import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
SIZES = {"wide": (1600, 1000), "phone": (390, 844)}


def missing() -> str | None:
    """What is needed and isn't here."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"no {program} is installed"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    return None


@contextmanager
def browser(dark: bool = False) -> Iterator[Any]:
    """A Chromium that keeps what pages say and ask for."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*FLAGS, f"--user-data-dir={profile}", *(["--force-dark-mode"] if dark else [])]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def said(driver: Any) -> list[str]:
    """What the page's console has said since it was asked last."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver: Any, page: str) -> list[str]:
    """The addresses that a page has asked for, without itself and the data that it holds."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = [request["request"]["url"] for request in sent if request["documentURL"] == page]
    return [address for address in asked if address != page and not address.startswith("data:")]


def drawn(driver: Any, within: str) -> str:
    """What an element shows once the page has come to rest."""
    content = f"document.querySelector('{within}').innerHTML"
    return driver.execute_async_script(f"const [done] = arguments; setTimeout(() => done({content}), 150)")


def use(driver: Any) -> dict[str, bool]:
    """Switch the axis, smooth, go logarithmic, ask for a value, move sliders; whether each changed what is shown."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    changed = {}
    seen = drawn(driver, "#curves")
    for name, selector, keys in (
        ("axis", "input[value=images]", Keys.SPACE),
        ("smoothing", "#smoothing", Keys.ARROW_RIGHT * 6),
        ("logarithmic", "#log", Keys.SPACE),
    ):
        element = driver.find_element(By.CSS_SELECTOR, selector)
        if not element.is_enabled():
            continue
        element.send_keys(keys)
        now = drawn(driver, "#curves")
        changed[name], seen = now != seen, now
    plot = driver.find_element(By.CSS_SELECTOR, "#curves svg")
    plot.send_keys(Keys.ARROW_LEFT)
    changed["values"] = bool(driver.find_element(By.CSS_SELECTOR, "#curves .values").text)
    plot.send_keys(Keys.ESCAPE)
    for part in ("pictures", "histograms"):
        within = f"[data-slides={part}]"
        for slider in driver.find_elements(By.CSS_SELECTOR, f"{within} input")[:1]:
            before = drawn(driver, within)
            slider.send_keys(Keys.HOME)
            changed[part] = drawn(driver, within) != before
    changed["images are whole"] = driver.execute_script("return [...document.images].every(i => i.naturalWidth > 0)")
    return changed


def open_report(path: Path, out: Path | None = None) -> dict[str, Any]:
    """Open and use a report.

    Args:
        path: The HTML file.
        out: A folder for pictures of the page.

    Returns:
        ``changed`` by what was used, what the console has ``said``, and the addresses ``requested``.
    """
    with browser() as driver:
        address = path.resolve().as_uri()
        driver.get(address)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            photograph(driver, out)
        return {"changed": use(driver), "said": said(driver), "requested": requested(driver, address)}


def photograph(driver: Any, out: Path) -> None:
    """The whole page, wide and on a phone, in light and dark."""
    for name, (width, height) in SIZES.items():
        for look in ("light", "dark"):
            scheme = {"features": [{"name": "prefers-color-scheme", "value": look}]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
            screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            drawn(driver, "#curves")  # waits until it is drawn
            tall = driver.execute_script("return document.documentElement.scrollHeight")
            whole = {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": width, "height": tall, "scale": 1},
            }
            picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **whole})
            (out / f"{name}_{look}.png").write_bytes(base64.b64decode(picture["data"]))
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, help="a folder for pictures")
    options = parser.parse_args()
    if lacking := missing():
        sys.exit(lacking)
    found = open_report(options.report, options.out)
    print(json.dumps(found, indent=2))
    if found["said"] or found["requested"] or not all(found["changed"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
