"""Reports of runs: what is in the page, against the files of the runs; that nothing in them can be more than text."""

import csv
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from lit_gen.callbacks.alarms import AlarmCallback
from lit_gen.cli.app import main
from lit_gen.cli.commands.report import report_on
from lit_gen.tracking.metrics_file import MetricsFile
from lit_gen.tracking.report import write_report
from lit_gen.tracking.report.curves import between, curves_of, kind_of, thin, times_of
from lit_gen.tracking.report.markup import clean
from lit_gen.tracking.report.page import page
from lit_gen.tracking.report.pictures import pictures_of
from lit_gen.tracking.report.records import spread_evenly, up_to_the_next
from lit_gen.tracking.runs import find_runs, read_run

ROOT = Path(__file__).parents[2]
FD = "val/fd_digits_1000"
VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """The elements of a page; fails on one that is not closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def content(self):
        (content,) = (json.loads(data) for data in self.text["script"] if data.startswith('{"runs'))
        return content

    @property
    def words(self):
        return " ".join(data for tag, parts in self.text.items() if tag not in ("script", "style") for data in parts)


def make(folder, rows, mark=None, config=None, times=(), pictures=(), size=8):
    folder.mkdir(parents=True)
    told = {"kind": "fit", "end": "finished", "started": "2026-01-01T10:00:00+00:00", **(mark or {})}
    (folder / "run.json").write_text(json.dumps(told))
    checkpoint = {"monitor": "fd", "mode": "min"}
    content = yaml.safe_dump({"seed_everything": 0, "checkpoint": checkpoint, **(config or {})}, allow_unicode=True)
    (folder / "config.yaml").write_text(f"# lit_gen 0.1.0, commit {'a1' * 20}, modified False\n{content}")
    if rows:
        write_csv(folder / "metrics.csv", rows)
    if times:
        write_csv(folder / "times.csv", [{"step": step, "seconds": seconds} for step, seconds in times])
    for step in pictures:
        (folder / "samples").mkdir(exist_ok=True)
        noise = np.random.default_rng(step).integers(0, 256, (size, size), np.uint8)
        Image.fromarray(noise).save(folder / f"samples/step_{step:06d}.png")
    return folder


def write_csv(path, rows):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def curve(*values, first=0):
    return [{"step": first + i, "images_seen": 8 * (first + i), FD: value} for i, value in enumerate(values)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A GAN that is watched, with a report of its own, and a run that has come out alike with another seed."""
    folder = tmp_path_factory.mktemp("trained")
    options = ["--model=GAN", "--model.generator=MLPGenerator", "--model.discriminator=MLPDiscriminator"]
    options += ["--data=DigitsDataModule", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    options += ["--trainer.max_steps=4", "--trainer.val_check_interval=2", "--trainer.log_every_n_steps=1"]
    options += ["--evaluate.num_samples=20", "--checkpoint.monitor=fd", "--trainer.default_root_dir", str(folder)]
    options += ["--trainer.callbacks=GameMonitor", "--trainer.callbacks.min_spread=10", "--experiment=a"]
    with pytest.warns(UserWarning, match="below min_spread=10"):
        main(["fit", *options, "--report=true"])
    (first,) = folder.glob("a/*")
    second = shutil.copytree(first, first.with_name("second"))
    config = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(config.replace("seed_everything: 0", "seed_everything: 1"))
    (second / "report.html").unlink()
    return folder


def test_a_run_that_was_made(trained, capsys):
    main(["report", str(trained), "--out", str(trained / "both.html")])
    assert "2 runs in" in capsys.readouterr().out
    found = Page((trained / "both.html").read_text())
    runs, _ = find_runs([trained])
    for run, told in zip(runs, found.content["runs"], strict=True):
        with (run.folder / "metrics.csv").open() as file:
            logged = [
                (int(row["step"]), float(row["train/generator_loss"]))
                for row in csv.DictReader(file)
                if row["train/generator_loss"]
            ]
        line = told["curves"]["train/generator_loss"]
        assert [told["steps"][i] for i in line["at"]] == [step for step, _ in logged] == [0, 1, 2, 3]
        assert line["values"] == pytest.approx([value for _, value in logged], rel=1e-5)
        assert told["images"][-1] == 4 * 64
        assert told["minutes"] == sorted(told["minutes"])
        assert told["minutes"][-1] > 0
        assert [step for step, *_ in told["pictures"]["samples"]] == [0, 2, 4]
        assert told["pictures"]["samples"][0][3].startswith("data:image/png;base64,")
        for side in ("real", "fake"):
            rows = told["histograms"]["scores"][side]
            assert [step for step, *_ in rows] == [2, 4]
            assert {len(counts) for *_, counts in rows} == {32}
            assert {sum(counts) for *_, counts in rows} == {256}
    words = " ".join(found.words.split())
    assert words.count("game/spread is") == 2  # said when it began
    assert "Finished after 4 steps" in words
    assert "± " in words  # two seeds of one configuration
    assert "seed_everything: 1" in words
    assert "train: 1,197, val: 300, test: 300" in words
    assert "A `GAN` of lit-gen" in words


def test_fit_writes_its_own_report(trained):
    (report,) = trained.glob("a/*/report.html")
    (run,) = Page(report.read_text()).content["runs"]
    assert run["curves"]["train/generator_loss"]["of"] == 4


def test_a_report_that_fails_ends_no_run(tmp_path, capsys):
    folder = make(tmp_path / "a", curve(1.0))
    (folder / "config.yaml").write_text("a: [")
    report_on(folder)
    err = capsys.readouterr().err
    assert "lit-gen: warning: no report.html: " in err
    assert err.count("\n") == 1
    assert not (folder / "report.html").exists()
    report_on(tmp_path / "a run that left nothing")


def test_the_page_reaches_nothing(trained):
    text = page(find_runs([trained])[0])
    found = Page(text)
    (policy,) = (a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not [a for _, attributes in found.elements for a in attributes if a.startswith("on") or a == "style"]
    assert not found.all("link") + found.all("iframe") + found.all("base")
    assert not [a for _, a in found.elements if "src" in a or "href" in a]
    # Of addresses there are only the names of two languages of markup.
    assert {*re.findall(r"https?://[^\s\"'<)\\]+", text)} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }


EVIL = "</script><script>alert(1)</script>\u202egnp.exe' onload=x <!-- & ‮שלום"


def test_what_anybody_writes_is_text(tmp_path):
    name = 'a"><b>\u2028'
    mark = {"end": "failed", "error": EVIL, "step": 1}
    folder = make(tmp_path / name / "x", [{"step": 0, EVIL: 1.0, FD: 2.0}], mark, {"model": EVIL, "checkpoint": {}})
    make(tmp_path / "b" / "x", curve(1.0), config={"model": "b", "checkpoint": {}})
    (folder / "data.json").write_text(json.dumps({"name": EVIL, "classes": {EVIL: 1}, "warnings": [EVIL]}))
    (folder / "model").mkdir()
    (folder / "model/README.md").write_text(EVIL)
    write_csv(folder / "alarms/Mine.csv", [{"step": 1, "subject": "a", "sentence": f"{EVIL} said"}])
    found = Page(page(find_runs([tmp_path])[0]))
    assert len(found.all("script")) == 2
    assert not found.all("b")
    shown = EVIL.replace("\u202e", "\\u202e")
    assert shown in {name for run in found.content["runs"] for name in run["curves"]}
    assert found.words.count(shown) >= 6
    assert "\u202e" not in found.words


def test_names_of_files_that_are_no_utf8(tmp_path):
    folder = make(tmp_path / "run\udcff" / "x", curve(1.0))
    write_report([read_run(folder)], tmp_path / "a.html")
    assert "run\\udcff" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert clean("\x00\x1b[31m\r\u2066") == "\\x00\\x1b[31m\\r\\u2066"


def test_values_that_are_no_numbers_stay(tmp_path):
    found = curves_of(read_run(make(tmp_path / "a", curve(1.0, "nan", 3.0, "inf", "-inf"))))
    assert found["curves"][FD] == {"at": [0, 1, 2, 3, 4], "values": [1, "nan", 3, "inf", "-inf"], "of": 5}


def test_thinning_keeps_extremes_and_gaps():
    random = np.random.default_rng(0)
    values = random.normal(size=100_000)
    values[31_415], values[27_182], values[50_000], values[0] = 1e3, -1e3, math.nan, -math.inf
    points, means = thin([*enumerate(values.tolist())], 1000)
    assert len(points) <= 1000
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert {(31_415, 1e3), (27_182, -1e3), (0, -math.inf)} <= {*points}
    assert [x for x, y in points if math.isnan(y)] == [50_000]
    bounds = [i * 100_000 // 333 for i in range(334)]
    finite = np.where(np.isfinite(values), values, np.nan)
    expected = [np.nanmean(finite[a:b]) for a, b in itertools.pairwise(bounds)]
    np.testing.assert_allclose([y for _, y in means], expected, rtol=1e-12, atol=1e-12)
    assert thin([(0, 1.0), (1, math.nan)], 1000)[1] == []
    assert math.isnan(thin([(i, math.nan) for i in range(2000)], 1000)[1][0][1])


def test_a_page_stays_below_five_megabytes_a_run(tmp_path):
    random = np.random.default_rng(0)
    names = ["step", "images_seen", *(f"train/{i}" for i in range(40))]
    folder = make(tmp_path / "a", [], pictures=range(0, 500, 100), size=1100)
    with (folder / "config.yaml").open("a") as file:
        file.write(f"notes: {'ü' * 2_000_000}\n")
    with (folder / "metrics.csv").open("w") as file:
        file.write(",".join(names) + "\n")
        for step in range(2000):
            file.write(",".join([str(step), str(64 * step), *(f"{v:.17g}" for v in random.normal(size=40))]) + "\n")
    write_report([read_run(folder)], tmp_path / "a.html")
    found = Page((tmp_path / "a.html").read_text())
    assert 2e6 < (tmp_path / "a.html").stat().st_size < 5e6
    pictures = found.content["runs"][0]["pictures"]["samples"]
    assert 1 < len(pictures) < 5
    assert (pictures[0][0], pictures[-1][0]) == (0, 400)
    assert pictures[0][1:3] == [1024, 1024]
    assert "shown as JPEG of at most 1024 pixels a side" in found.words
    assert f"samples: {len(pictures)} of 5 pictures are shown, spread evenly." in found.words
    assert "the first 150,000 of 2,0" in found.words
    assert found.content["runs"][0]["curves"]["train/0"]["of"] == 2000


def test_pictures_are_as_they_are_if_they_fit(tmp_path):
    folder = make(tmp_path / "a", curve(1.0), pictures=(0, 5))
    (folder / "samples/step_000003.png").write_bytes((folder / "samples/step_000000.png").read_bytes()[:-20])
    (folder / "samples/notes.png").write_bytes(b"")
    found, notes = pictures_of(read_run(folder))
    assert [row[:3] for row in found["samples"]] == [[0, 8, 8], [5, 8, 8]]
    assert notes == ["samples: pictures that can't be read: steps 3."]


def test_parts_of_a_run_are_one_course(tmp_path):
    first = make(
        tmp_path / "runs/a/1", curve(9.0, 8.0, 7.0, 99.0), times=[(0, 1), (1, 2), (2, 3), (3, 4)], pictures=(0, 2, 4)
    )
    config = {"ckpt_path": "runs/a/1/checkpoints/last.ckpt"}
    times = [(3, 2), (4, 6)]
    last = make(tmp_path / "runs/a/2", curve(6.0, 5.0, first=3), config=config, times=times, pictures=(3, 5))
    ((run,), _) = find_runs([tmp_path])
    assert (run.folder, run.before) == (last, (first,))
    assert times_of(run) == {0: 1, 1: 2, 2: 3, 3: 5, 4: 9}
    assert [step for step, *_ in pictures_of(run)[0]["samples"]] == [0, 2, 3, 5]
    found = curves_of(run)
    assert found["curves"][FD]["values"] == [9, 8, 7, 6, 5]
    assert found["minutes"] == pytest.approx([1 / 60, 2 / 60, 3 / 60, 5 / 60, 9 / 60], rel=1e-5)
    assert [*up_to_the_next([{1: "a", 5: "b"}, {4: "c"}, {2: "d"}])] == [{1: "a"}, {}, {2: "d"}]


def test_between_is_linear_and_claims_nothing_outside():
    assert between([0, 1, 2, 4, 9], {1: 10.0, 4: 40.0}) == [None, 10, 20, 40, None]
    assert between([1], {}) == [None]


def test_kinds_of_curves():
    names = {
        "val/x": "Scores",
        "train/x": "Training",
        "lr-GANAdam": "Learning rates",
        "skipped/a": "Counters",
        "é": "Others",
    }
    assert {name: kind_of(name) for name in names} == names
    assert spread_evenly(range(10), 4) == [0, 3, 6, 9]


def test_the_clocks_file_goes_on_from_what_a_run_had_taken(tmp_path, monkeypatch):
    now = SimpleNamespace(t=100.0)
    monkeypatch.setattr("lit_gen.tracking.metrics_file.time.monotonic", lambda: now.t)
    first = MetricsFile(tmp_path)
    for step in range(4):
        now.t += 10
        first.log_metrics({"train/a": 1.0}, step)
        first.log_metrics({"val/a": 1.0}, step)
    now.t = 5000.0
    second = MetricsFile(tmp_path)
    second.go_on_from(2)
    for step in range(2, 4):
        now.t += 1
        second.log_metrics({"train/a": 1.0}, step)
    assert (tmp_path / "times.csv").read_text().split() == ["step,seconds", "0,10.00", "1,20.00", "2,21.00", "3,22.00"]


def test_alarms_beyond_a_checkpoint_are_taken_back(tmp_path):
    class Watcher(AlarmCallback[str]):
        _warning = UserWarning

    trainer = SimpleNamespace(log_dir=str(tmp_path), loggers=[1], is_global_zero=True, fast_dev_run=False)
    watcher = Watcher()
    watcher.on_train_start(trainer, None)
    assert not (tmp_path / "alarms").exists()
    with pytest.warns(UserWarning, match="bad"):
        watcher._say(3, "a", 'it is "bad", very\nbad')
    kept = watcher.state_dict()
    with pytest.warns(UserWarning, match="worse"):
        watcher._say(5, "a", "worse")
    again = Watcher()
    again.load_state_dict(kept)
    again.on_train_start(trainer, None)
    with (tmp_path / "alarms/Watcher.csv").open(newline="") as file:
        assert [*csv.reader(file)] == [["step", "subject", "sentence"], ["3", "a", 'it is "bad", very\nbad']]
    trainer.loggers = []
    Watcher().on_train_start(SimpleNamespace(**{**vars(trainer), "log_dir": str(tmp_path / "b")}), None)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("mark", "told"), [
    ({"end": "failed", "error": "ValueError: nan", "step": 0}, "Failed after 0 steps, by ValueError: nan."),
    ({"end": "stopped", "step": 1}, "Stopped by a signal after 1 step."),
    ({"end": None}, "No end is recorded, so it still runs or was killed; 0 steps so far."),
    ({"step": 9, "sessions": [{"end": "stopped"}]}, "Went on 1 time in its folder."),
])  # fmt: skip
def test_a_run_that_recorded_nothing_says_how_it_ended(tmp_path, mark, told):
    found = Page(page([read_run(make(tmp_path / "a", [], mark))]))
    words = found.words.replace(" Started on 2026-01-01 at 10:00.", "")
    assert told in words
    assert "Nothing was recorded: there is no row in metrics.csv." in words
    assert not found.all("form")


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "report: RUN is required"), (["none"], "none: there is no such folder"),
    (["."], "neither a run's folder nor one that holds runs"),
    ([".", "--out", "a.pdf"], "--out a.pdf: the name of a file"),
])  # fmt: skip
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["report", *arguments])
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_browser_shows_it_and_asks_for_nothing(trained, tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    import open_report

    if lacking := open_report.missing():
        pytest.skip(lacking)
    write_report(find_runs([trained])[0], tmp_path / "a.html")
    found = open_report.open_report(tmp_path / "a.html")
    assert found["said"] == []
    assert found["requested"] == []
    names = ["axis", "smoothing", "logarithmic", "values", "pictures", "histograms", "images are whole"]
    assert found["changed"] == dict.fromkeys(names, True)


def test_no_library_of_training_is_imported(trained, tmp_path):
    code = "import sys\nfrom lit_gen.__main__ import main\nmain()\n"
    code += "assert not {'torch', 'lightning', 'numpy'} & {*sys.modules}"
    command = [sys.executable, "-c", code, "report", str(trained), "--out", str(tmp_path / "a.html")]
    subprocess.run(command, check=True, capture_output=True, text=True)
