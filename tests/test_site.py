"""The site of docs/: it is built without a network, asks nobody for anything, and leaves no public name out."""

import json
import os
import re
import shutil
import socket
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import public_api
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BROWSER = shutil.which("chromium") and shutil.which("chromedriver")
FOUND = "return [...document.querySelectorAll('.md-search-result a')].map(a => a.href)"
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Targets(HTMLParser):
    """What a page loads, what it links to, and its anchors."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.linked, self.anchors = set(), set(), set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if (tag, name) in LOADED:
                self.loaded.add(value)
            elif (tag, name) == ("a", "href"):
                self.linked.add(value)
            elif name == "id":
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, by a MkDocs that ends at the first warning and at every connection."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refuse(*_):
        raise AssertionError("the site asked for a connection")

    folder, patch = tmp_path_factory.mktemp("site"), pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.chdir(ROOT)
        patched.setattr(socket.socket, "connect", refuse)
        patched.setattr(sys, "path", [str(ROOT), *sys.path])
        build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {page: Targets(page) for page in site.rglob("*.html")}


def test_every_page_of_the_documents_and_the_notebook_is_there(site):
    for path in [*DOCS.rglob("*.md"), DOCS / "tour.ipynb"]:
        assert (site / path.relative_to(DOCS)).with_suffix(".html").is_file(), path


def test_nothing_is_loaded_from_elsewhere_and_all_that_is_loaded_is_there(site, pages):
    for page, targets in pages.items():
        assert "fonts.googleapis" not in page.read_text()
        for target in targets.loaded:
            assert not re.match(r"(\w+:)?//", target), f"{page.name}: {target}"
            if not target.startswith("data:") and page.name != "404.html":
                assert Path(os.path.normpath(page.parent / target.partition("#")[0])).is_file(), (
                    f"{page.name}: {target}"
                )


def test_links_lead_to_pages_and_anchors_that_exist(site, pages):
    for page, targets in pages.items():
        for target in targets.linked:
            file, _, anchor = target.partition("#")
            if re.match(r"\w+:", target) or page.name == "404.html":
                continue
            other = Path(os.path.normpath(page.parent / file)) if file else page
            assert other.exists(), f"{page.name}: {target}"
            if anchor and other in pages:
                assert anchor in pages[other].anchors, f"{page.name}: {target}"


def test_sources_that_pages_speak_of_are_shown(site):
    assert "class GradientPenalty" in re.sub(
        r"<[^>]+>", "", (site / "source/lit_gen/losses/penalties.py.html").read_text()
    )
    assert 'href="losses/penalties.py.html"' in (site / "source/lit_gen/losses.html").read_text()
    assert "def test_a_sample_is_penalised" in re.sub(
        r"<[^>]+>", "", (site / "source/tests/losses/test_every_penalty.py.html").read_text()
    )
    assert 'href="source/tests/losses/test_every_penalty.py.html"' in (site / "known-mistakes.html").read_text()


def test_every_public_name_has_its_place_in_the_reference(site, pages):
    anchors = set().union(*(targets.anchors for page, targets in pages.items() if page.parent.name == "api"))
    missing = []
    for package in public_api.PACKAGES:
        for name in public_api.names(package):
            homes = {f"{package}.{name}", f"{package}.{name}.{name}"}  # the second for a function named as its module
            homes |= {f"lit_gen.modules.{name}"} if package == "lit_gen" else set()
            missing += [] if anchors & homes else [f"{package}.{name}"]
    assert not missing


def test_roles_of_docstrings_are_links_or_code(site):
    for page in (site / "api").glob("*.html"):
        assert not re.search(r":(class|func|meth|mod):", page.read_text()), page.name
    assert 'href="models.html#lit_gen.models.WGANGP"' in (site / "api/training.html").read_text()


def test_the_search_knows_the_pages_and_the_reference_but_no_source_file(site):
    places = {entry["location"] for entry in json.loads((site / "search/search_index.json").read_text())["docs"]}
    assert {"choose.html", "known-mistakes.html", "api/losses.html#lit_gen.losses.Hinge"} <= places
    names = ("index", "CHANGELOG", "CONTRIBUTING", "SECURITY")  # the first is README.md
    texts = {f"source/{name}.html" for name in names}
    assert {place.partition("#")[0] for place in places if place.startswith("source/")} <= texts


@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and its driver"
)
def test_a_browser_searches_it_from_a_disk_without_a_complaint(site, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get((site / "index.html").as_uri())
        field = driver.find_element("css selector", "input.md-search__input")
        driver.execute_script("arguments[0].focus()", field)
        field.send_keys("gradient penalty")
        for _ in range(600):
            found = driver.execute_script(
                "return [...document.querySelectorAll('.md-search-result a')].map(a => a.href)"
            )
            if found:
                break
            time.sleep(0.1)
        assert any("losses.html" in place for place in found)
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


def test_a_folder_of_the_navigation_is_in_the_order_of_its_index_and_an_empty_one_is_left_out(tmp_path, monkeypatch):
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import site_hooks

    monkeypatch.setattr(site_hooks, "DOCS", tmp_path)
    assert site_hooks.expanded({"Lecture": "lecture/"}) == {"Lecture": []}
    (tmp_path / "lecture").mkdir()
    for name in "abcd":
        (tmp_path / "lecture" / f"{name}.md").touch()
    assert site_hooks.expanded({"Lecture": "lecture/"})["Lecture"][:2] == ["lecture/a.md", "lecture/b.md"]
    (tmp_path / "lecture" / "index.md").write_text("[First](c.md), [then](b.md#part), [elsewhere](../index.md)")
    listed = [f"lecture/{name}.md" for name in ("index", "c", "b", "a", "d")]
    assert site_hooks.expanded({"Lecture": "lecture/"}) == {"Lecture": listed}
    assert site_hooks.expanded({"Start": "index.md"}) == {"Start": "index.md"}
