"""The page of a report: one file, whose content security policy lets nothing of it reach out, nor anything else run."""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lit_gen import __version__
from lit_gen.files import whole_file
from lit_gen.tracking.comparison import grouped
from lit_gen.tracking.report import sections
from lit_gen.tracking.report.curves import KINDS, curves_of, kind_of
from lit_gen.tracking.report.markup import Markup, alone, clean, text
from lit_gen.tracking.report.pictures import pictures_of
from lit_gen.tracking.report.records import histograms_of
from lit_gen.tracking.runs import Run

SCRIPTS = ("plot.js", "page.js")
SMOOTHING = "means with Gaussian weights, as wide as this share of the axis"
AXES = {"steps": "training batches", "images": "images seen", "minutes": "of training"}


def write_report(runs: Sequence[Run], path: str | Path) -> None:
    """Write runs as one HTML file, which is whole or absent, of at most 5 MB a run.

    Args:
        runs: At least one.
        path: The file.
    """
    content = page(runs).encode()
    with whole_file(path) as file:
        file.write(content)


def page(runs: Sequence[Run]) -> str:
    """The HTML of a report."""
    names = sections.names_of(runs)
    found, notes = _contents(runs)
    monitored = {run.monitor for run in runs}
    curves = sorted({name for run in found for name in run["curves"]}, key=lambda name: (name not in monitored, name))
    kinds = [[kind, [name for name in curves if kind_of(name) == kind]] for kind in KINDS]
    data = {"runs": found, "kinds": [[kind, members] for kind, members in kinds if members]}
    style = _read("page.css")
    script = "\n".join(['"use strict";', "{", *map(_read, SCRIPTS), "}"])
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = names[0] if len(runs) == 1 else f"{len(runs)} runs"
    groups = grouped(runs)
    parts = [
        sections.overview(runs, names),
        sections.seeds(groups, runs),
        sections.said(runs, names, notes),
        '<section><h2>Curves</h2>\n<div id="curves"></div></section>\n' if curves else "",
        sections.slides("pictures", found, names),
        sections.slides("histograms", found, names),
        sections.data(runs, names),
        sections.models(runs, names),
        sections.configurations(groups, runs, names),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{text(policy)}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)} – lit-gen</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{alone(title)}</h1>
<p class="quiet">Written on {datetime.now():%Y-%m-%d at %H:%M} by lit-gen {text(__version__)}</p>
</header>
{_controls(found, names) if curves else ""}<main>
<noscript><p class="bad">Curves, pictures and histograms need JavaScript, which is turned off here.</p></noscript>
{"".join(parts)}</main>
<script type="application/json" id="data">{_embedded(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def _contents(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """What the script draws of each run, and what of it is shown less of."""
    found, notes = [], []
    for number, run in enumerate(runs):
        pictures, told = pictures_of(run)
        content = {**curves_of(run), "pictures": pictures, "histograms": histograms_of(run)}
        for part in ("curves", "pictures", "histograms"):
            content[part] = {clean(name): value for name, value in content[part].items()}
        found.append({"number": number, **content})
        notes.append(told)
    return found, notes


def _controls(found: Sequence[dict[str, Any]], names: Sequence[str]) -> Markup:
    """What the reader chooses for all curves."""
    axes = ""
    for axis, meaning in AXES.items():
        known = any(value is not None for run in found for value in run[axis])
        state = " checked" if axis == "steps" else "" if known else " disabled"
        meaning = meaning if known else "not recorded by these runs"
        axes += f'<label title="{meaning}"><input type="radio" name="axis" value="{axis}"{state}> {axis}</label>\n'
    boxes = "".join(
        f'<label><input type="checkbox" data-shows="{i}" checked><span class="swatch run-{i % 10}"></span>'
        f"{i + 1}: {alone(name)}</label>\n"
        for i, name in enumerate(names)
    )
    legend = f'<fieldset id="legend"><legend>Runs</legend>{boxes}</fieldset>\n' if len(names) > 1 else ""
    return Markup(f"""<form class="controls" aria-label="Curves">
<fieldset><legend>Axis</legend>{axes}</fieldset>
<label for="smoothing">Smoothing</label>
<input type="range" id="smoothing" min="0" max="15" step="0.5" value="0" title="{SMOOTHING}">
<output id="smoothing-value" for="smoothing">0 %</output>
<label><input type="checkbox" id="log"> log scale</label>
<label>Find <input type="search" id="filter" placeholder="fd, loss, …"></label>
{legend}</form>
""")


def _embedded(data: Any) -> str:
    """JSON that ends no script element."""
    told = json.dumps(data, separators=(",", ":"), allow_nan=False)  # all other letters than ASCII's by their numbers
    return told.replace("<", "\\u003c")


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
