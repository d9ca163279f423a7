"""Runs a row of docs/results.md again, by its own commands, and prints what it reaches beside what is stored.

    python scripts/reproduce.py --list                              # the rows, and how long each takes
    python scripts/reproduce.py wgan_gp_digits                      # with the row's own seeds
    python scripts/reproduce.py vae_mnist_100 --seeds 0 1 -- --data.root=data   # further options for all commands
    python scripts/reproduce.py gan_digits --record                 # put the measured values in the row's place

Every seed has a folder, `ROOT/ROW/SEED`, and is run once: with `--root`, a second call goes on where the first was
stopped. In a row's commands $SEED and $FOLDER stand for the seed and that folder, $CHECKPOINT for the last one trained
there. `lit-gen fit` gets the seed and the folder by itself, `lit-gen test` the folder and the checkpoint. A row's
`measure` says where each metric is found:

    [fit, val/fd_digits_1000, first]   # or last, or all: a column of metrics.csv of the first fit (the second: fit2),
                                       # or of the run in another folder of a given name
    [modes.jsonl, -1, modes]           # a value of a JSON file in the folder; "*": of each in a list, one for each seed

Times are those of the first command, start-up and scoring included: cpu_s is of its processors, wall_s of the clock.
"""

import argparse
import csv
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from string import Template
from typing import Any

import torch

import results

ROOT = Path(__file__).parents[1]
DONE = "done.json"  # of a seed's folder: the commit, the hardware and the times
CODE = ["lit_gen", "datamodules", "configs", "scripts/experiments", "scripts/benchmark"]
# Options that leave what a row measures as it is.
HARMLESS = ("--data.root", "--data.download", "--data.num_workers", "--trainer.enable_progress_bar")


def of_each_seed(row: dict[str, Any]) -> bool:
    """Whether the commands run once a seed, or once for all."""
    return any("$SEED" in command or command.startswith("lit-gen fit") for command in row["commands"])


def names_of(commands: list[str]) -> list[str]:
    """A folder's name for each command: fit, test, fit2, ..."""
    verbs = [shlex.split(command)[1] for command in commands]
    counts = [verbs[: i + 1].count(verb) for i, verb in enumerate(verbs)]
    return [verb if count == 1 else f"{verb}{count}" for verb, count in zip(verbs, counts, strict=True)]


def run_folder(folder: Path, name: str) -> Path:
    """The run of a command in its folder."""
    (run,) = (folder / name).iterdir()
    return run


def expanded(row: dict[str, Any], index: int, seed: int | None, folder: Path) -> list[str]:
    """The words of a command, with what it gets by itself."""
    names = names_of(row["commands"])
    places = {"SEED": str(seed), "FOLDER": str(folder)}
    fits = [name for name in names[:index] if name.startswith("fit")]
    if fits and (folder / fits[-1]).exists():
        places["CHECKPOINT"] = str(run_folder(folder, fits[-1]) / "checkpoints" / "last.ckpt")
    words = [Template(word).substitute(places) for word in shlex.split(row["commands"][index])]
    if words[0] != "lit-gen":
        return [sys.executable, str(ROOT / words[1]), *words[2:]]
    given = {word.split("=")[0] for word in words}
    own = {}
    if words[1] in ("fit", "test"):
        own = {"--trainer.default_root_dir": str(folder), "--experiment": names[index]}
        own |= {"--seed_everything": str(seed)} if words[1] == "fit" else {"--ckpt_path": places.get("CHECKPOINT", "")}
    options = [f"{option}={value}" for option, value in own.items() if option not in given]
    return [sys.executable, "-m", "lit_gen", *words[1:], *options]


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """Of the checkout, which is what runs."""
    return git("rev-parse", "--short=7", "HEAD") + (" with changes" if git("status", "--porcelain", *CODE) else "")


def hardware() -> str:
    """The GPU or processor, its threads and PyTorch's version."""
    described = Path("/proc/cpuinfo")  # which tells models that platform doesn't
    lines = described.read_text().splitlines() if described.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    threads = os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads()))
    device = f"{(models or [platform.machine()])[0]}, {threads} thread{'' if threads == '1' else 's'}"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return f"{device}, torch {torch.__version__.split('+')[0]}"


def execute(row: dict[str, Any], seed: int | None, folder: Path, options: list[str]) -> dict[str, Any]:
    """Run the commands of a seed, unless its folder says that they have been; the times and the commit."""
    if (folder / DONE).exists():
        done: dict[str, Any] = json.loads((folder / DONE).read_text())
        if done["options"] != options:
            raise SystemExit(f"reproduce.py: {folder} was run with options {done['options']}, not with {options}")
        return done
    if folder.exists():
        raise SystemExit(f"reproduce.py: {folder} holds an unfinished run; remove it to run it again")
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH", "")]))}
    done = {"commit": commit(), "hardware": hardware(), "options": options}
    for index in range(len(row["commands"])):
        before, start = os.times(), time.perf_counter()
        subprocess.run([*expanded(row, index, seed, folder), *options], env=environment, check=True)
        after, wall = os.times(), time.perf_counter() - start
        if index == 0:
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            done |= {"cpu_s": round(cpu, 1), "wall_s": round(wall, 1)}
    (folder / DONE).write_text(json.dumps(done))
    return done


def of_column(folder: Path, name: str, column: str, which: str) -> float | list[float]:
    """A column of a run's metrics.csv."""
    file = run_folder(folder, name) / "metrics.csv"
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    if not rows or column not in rows[0]:
        raise SystemExit(
            f"reproduce.py: {file} has no column {column}; it has {', '.join(rows[0]) if rows else 'none'}"
        )
    found = [float(row[column]) for row in rows if row[column]]
    return found if which == "all" else found[{"first": 0, "last": -1}[which]]


def of_json(file: Path, keys: list[Any]) -> Any:
    """A value of a JSON file, or of one with a JSON object a line."""
    text = file.read_text()
    return at([json.loads(each) for each in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text), keys)


def at(found: Any, keys: list[Any]) -> Any:
    """What lies below these keys; "*" takes all of a list."""
    if not keys:
        return found
    key, *rest = keys
    return [at(each, rest) for each in found] if key == "*" else at(found[key], rest)


def measured(row: dict[str, Any], folder: Path, seed: int | None = None) -> dict[str, Any]:
    """The values that `measure` finds in a seed's folder, to six digits."""

    def read(source: str, *keys: Any) -> Any:
        source = Template(source).substitute(SEED=seed)
        return of_json(folder / source, list(keys)) if "." in source else of_column(folder, source, *keys)

    return {metric: rounded(read(*place)) for metric, place in row.get("measure", {}).items()}


def rounded(found: Any) -> Any:
    return [rounded(each) for each in found] if isinstance(found, list) else float(f"{found:.6g}")


def reproduce(name: str, row: dict[str, Any], seeds: list[int], root: Path, options: list[str]) -> dict[str, Any]:
    """Run all seeds; what replaces the row's seeds, commit, hardware and values."""
    folders = [root / row.get("run", name) / str(seed) for seed in seeds]
    if not of_each_seed(row):
        folders = [root / row.get("run", name) / "all"]
    alone = zip(seeds or [None], folders, strict=True) if of_each_seed(row) else [(None, folders[0])]
    done = [execute(row, seed, folder, options) for seed, folder in alone]
    if row.get("measure"):
        found = [measured(row, folder, seed) for folder, seed in zip(folders, seeds or [None], strict=False)]
        values = {key: [each[key] for each in found] for key in row["measure"]}
        if not of_each_seed(row):  # a "*" has given one for each seed
            values = {key: inner[0] if isinstance(inner[0], list) else inner for key, inner in values.items()}
    else:
        values = {}
    if of_each_seed(row) or not seeds:
        values = {clock: [each[clock] for each in done] for clock in ("cpu_s", "wall_s")} | values
    about = {key: ", ".join(sorted({each[key] for each in done})) for key in ("commit", "hardware")}
    return {"seeds": seeds or None, **about, "values": values}


def of_seeds(row: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    """The row with the values of these seeds alone, if it has all of them."""
    known = row["seeds"] or []
    if not set(seeds or []) <= set(known):
        return row
    values = {
        metric: [stored[known.index(seed)] for seed in seeds] if seeds and isinstance(stored, list) else stored
        for metric, stored in row.get("values", {}).items()
    }
    return {**row, "values": values, "seeds": seeds or row["seeds"]}


def beside(row: dict[str, Any], again: dict[str, Any]) -> str:
    """A table: measured, stored (of the same seeds, if it has them), their ratio, published."""
    row = of_seeds(row, again["seeds"])
    stored, published = row.get("values", {}), row.get("published", {})
    lines = [results.line(["metric", "measured", "stored", "ratio", "published"]), "|---" * 5 + "|"]
    for metric, found in again["values"].items():
        now, before, ratio = results.value(found), "", ""
        if metric in stored:
            before = f"{results.value(stored[metric]):.4g}"
            if now.ndim == 1:
                ratio = f"{results.mean(now) / results.mean(results.value(stored[metric])):.3f}"
        lines.append(results.line([metric, f"{now:.4g}", before, ratio, str(published.get(metric, ""))]))
    lines.append(f"measured: commit {again['commit']}, seeds {again['seeds']}, {again['hardware']}")
    known = f"commit {row['commit']}, seeds {row['seeds']}, {row['hardware']}"
    lines.append(f"stored: {known if row['commit'] else 'not run yet'}")
    return "\n".join([*lines, *([f"published: {published['source']}"] if published else [])])


def record(name: str, again: dict[str, Any]) -> None:
    """Put what was measured in the row's place, and make the page anew.

    Raises:
        ValueError: if the page can't be made with it, or it ran with changes that no commit has; all is as it was then.
    """
    if again["commit"].endswith("changes"):
        raise ValueError(f"{name} was run at commit {again['commit']}: expected a commit that has them")
    _, sections = results.load()
    (section,) = (section for section, content in sections.items() if name in content["rows"])
    file, row = results.FOLDER / f"{section}.yaml", sections[section]["rows"][name]
    row |= again
    before = file.read_text()
    file.write_text(results.dumped(sections[section]))
    try:
        results.PAGE.write_text(results.made())
    except ValueError:
        file.write_text(before)
        raise
    if "observed" in row:
        print(f"{name}: no command measures {', '.join(row['observed'])}, which stay as they were")


def refuse_record(name: str, row: dict[str, Any], options: list[str]) -> str:
    """Why the row can't be recorded; nothing if it can."""
    if not row.get("measure"):
        return f"--record: the figures of {name} are read by hand from what its command prints"
    if changed := [option for option in options if option.split("=")[0] not in HARMLESS]:
        return f"--record: {changed[0]} may change what {name} measures; accepted: {', '.join(HARMLESS)}, each with ="
    if commit().endswith("changes"):
        return f"--record: {', '.join(CODE)} have changes that no commit has, which would be named as the source"
    return ""


def listing(rows: dict[str, dict[str, Any]]) -> str:
    """All rows, with the time that their seeds take together and their first commands."""
    lines = []
    for name, row in rows.items():
        time_of_one = results.seconds(row)
        count = len(row["seeds"] or [0]) if of_each_seed(row) else 1
        total = results.duration(time_of_one and (count * time_of_one[0], time_of_one[1]), row.get("takes"))
        lines.append(f"{name:32} {total:>14}  {row['commands'][0]}")
    return "\n".join(lines)


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--list", action="store_true", help="print the rows and their times")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the row's own")
    parser.add_argument("--root", type=Path, help="keep the runs in this folder")
    parser.add_argument("--record", action="store_true", help="write what was measured into docs/results/")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, options = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    rows = {name: row for section in results.load()[1].values() for name, row in section["rows"].items()}
    if arguments.list:
        print(listing(rows))
    if unknown := set(arguments.rows) - rows.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such row; --list prints them")
    if not arguments.rows and not arguments.list:
        parser.error("which row? --list prints them")
    for name in arguments.rows:
        if arguments.record and (reason := refuse_record(name, rows[name], options)):
            parser.error(reason)
        if arguments.seeds and not of_each_seed(rows[name]):
            parser.error(f"--seeds: {name} runs all of its seeds by one command")
    root = (arguments.root or Path(tempfile.mkdtemp(prefix="reproduce-"))).absolute()
    for name in arguments.rows:
        print(f"{name}: in {root}", flush=True)  # where runs are kept if one fails
        again = reproduce(name, rows[name], arguments.seeds or rows[name]["seeds"] or [], root, options)
        print(f"\n{name}\n{beside(rows[name], again)}", flush=True)
        if arguments.record:
            record(name, again)
    if not arguments.root:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
