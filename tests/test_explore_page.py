"""The page of ``lit-gen explore`` in a real browser: it works, and asks nobody else for anything."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_explore_page.py"
MISSING = [name for name in ("gradio", "selenium") if find_spec(name) is None]
MISSING += [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_the_page_works_in_a_browser_and_asks_nobody_else(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "vae_digits"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requests, all to http://127.0.0.1:" in done.stdout
    assert "Traceback" not in done.stderr
