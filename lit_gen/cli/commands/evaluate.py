"""``lit-gen evaluate``: scores of generated images against real ones, whatever program made them."""

import argparse
import json
import sys
from typing import Any, NoReturn

import torch
from rich.console import Console
from rich.progress import Progress

from lit_gen.cli.commands.comparing import Compared, compare
from lit_gen.cli.commands.sides import is_statistics
from lit_gen.cli.commands.sources import add_reading, tell
from lit_gen.cli.processes import check_processes, own_device, process_group, start, started
from lit_gen.cli.support import rank_zero_note
from lit_gen.files import whole_file
from lit_gen.metrics.scores import SCORES, Comparison, ScoreOptions, check_names, compute_scores, few_data
from lit_gen.metrics.statistics import fingerprint_extractor
from lit_gen.pretrained.loading import check_device

BY_DEFAULT = ("fd", "kid", "precision_recall", "density_coverage", "diversity", "nn_test", "classes")
RANGES = ("uint8", "unit", "signed")


class Parser(argparse.ArgumentParser):
    """Leaves the report of an error, in one line, to the command line's own."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise ValueError(f"evaluate: {message}")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    names = ", ".join(SCORES)
    command = Parser(
        "lit-gen evaluate", description="Scores of generated images against real ones.", allow_abbrev=False
    )
    add = command.add_argument
    add(
        "real",
        help="real images: a folder, a file of arrays, a checkpoint (the data it learned), or .npz statistics",
    )
    add(
        "generated",
        help="generated images: a folder, a file of arrays, a model to draw samples from, or statistics",
    )
    add(
        "--extractor",
        default="auto",
        help="auto (shipped for the data), pixels, inception, a shipped name, a file of lit-gen extractor, "
        "torchvision:NAME[:FILE] or dinov2:FILE",
    )
    add("--scores", nargs="+", default=None, metavar="SCORE", help=f"all, or any of {names}")
    add("--num_samples", type=int, help="generated images (all; of a checkpoint as many as real ones, at most 10,000)")
    add("--split", default="test", choices=("train", "val", "test"), help="of data that have splits (test)")
    told = "range of float images: unit for [0, 1], signed for [-1, 1]; given twice, of the real and the generated ones"
    add("--values", action="append", choices=RANGES, help=told)
    add("--size", type=int, help="side to scale image files to (antialiased, centre crop); without it they stay")
    add_reading(command)
    add("--seed", type=int, default=0, help="of a checkpoint's samples, and of random subsets (0)")
    add("--batch_size", type=int, default=500, help="images at once (500)")
    add("--k", type=int, help="neighbours of precision, recall, density and coverage (3 and 5)")
    add("--subsets", type=int, default=100, help="of kid_subsets (100)")
    add("--subset_size", type=int, default=1000, help="of kid_subsets (1,000)")
    add("--capacity", type=int, default=10_000, help="features kept for scores of single images (10,000)")
    add("--trust", nargs="+", default=[], help="packages of your own whose classes a checkpoint names")
    add("--device", default="cpu", help="where networks run, e.g. cuda (cpu)")
    add("--processes", type=int, help="that share the images, on GPUs one each (torchrun's, else 1)")
    add("--cache", default="auto", help="folder for real features; auto: the user's cache; off: none")
    add("--statistics", metavar="FILE", help="write the real features to this .npz, with mu and sigma")
    add("--json", metavar="FILE", help="write scores and protocol to this file")
    return command


def run(arguments: list[str]) -> None:
    """Compare, and print a table.

    Raises:
        ValueError: an option out of range, images that don't fit each other or the extractor, or too few of them.
        FileNotFoundError: no such file or folder.
    """
    options = parser().parse_args(arguments)
    options.arguments = arguments
    if options.statistics and is_statistics(options.real):
        raise ValueError(f"--statistics {options.statistics}: {options.real} are statistics already")
    options.processes = started() if options.processes is None else options.processes
    check_processes(options.processes, options.device)
    options.device = own_device(options.device)
    check_device(options.device)
    options.values = options.values or ["uint8"]
    if len(options.values) > 2:
        raise ValueError(f"--values {' --values '.join(options.values)}: once for both sides, or once for each")
    for name in ("batch_size", "capacity", "num_samples", "size"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name} {value}: at least 1 is needed")
    score_options(options)
    if options.scores and "all" not in options.scores:
        check_names(options.scores)
    if options.processes > started():
        if status := start(["evaluate", *arguments], options.processes):
            sys.exit(status)
        return
    with process_group(options.device) as group:
        quiet = group.rank > 0 or not sys.stderr.isatty()
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bars:
            compared = compare(options, bars, group)
        if group.rank == 0:
            report_scores(options, compared)


def report_scores(options: argparse.Namespace, compared: Compared) -> None:
    """The scores, into the file that was asked for and as a table; beside them what was assumed or left out."""
    comparison = Comparison(compared.samples, compared.real, options.seed, score_options(options))
    lines, left_out = table(options.scores, comparison, compared)
    tell(*compared.sources)
    groups = list(dict.fromkeys(group for group, *_ in lines))
    for note in (*compared.notes, *left_out, *(f"warning: {line}" for line in few_data(groups, compared.real))):
        rank_zero_note(note)
    values = {name: value for _, name, value in lines}
    if options.json:
        write_json(options.json, {**protocol(options, compared), "scores": values})
    width = max(map(len, values))
    samples, known = (f"{n:,}" if n else "an unknown number of" for n in counts(compared))
    print(f"{options.generated}: {samples} images against {known} of {options.real}")
    for group, name, value in lines:
        print(f"{name:<{width}}  {f'{value:.6g}':>12}  {SCORES[group].describes}")


def score_options(options: argparse.Namespace) -> ScoreOptions:
    """What single scores are told."""
    return ScoreOptions(options.k, options.subsets, options.subset_size)


def counts(compared: Compared) -> tuple[int, int]:
    """Generated and real images; 0 where another program's statistics don't say."""
    return compared.samples.moments.count, compared.real.moments.count


def table(
    asked: list[str] | None, comparison: Comparison, compared: Compared
) -> tuple[list[tuple[str, str, float]], list[str]]:
    """The scores as (group, name, value), and why others of the default, or of ``all``, are left out.

    Raises:
        ValueError: a score that was asked for by its name can't be computed, or none can.
    """
    chosen = bool(asked) and "all" not in (asked or ())
    names = list(asked or BY_DEFAULT) if chosen or not asked else list(SCORES)
    lines: list[tuple[str, str, float]] = []
    reasons: dict[str, list[str]] = {}
    for group in dict.fromkeys(names):
        try:
            found = compute_scores([group], comparison)
        except ValueError as error:
            if chosen:
                raise ValueError(f"--scores {group}: {error}") from error
            reasons.setdefault(str(error), []).append(group)
            continue
        kept = SCORES[group].needs in ("rows", "labels")
        count = len(comparison.samples.rows) if kept else comparison.samples.moments.count
        lines += [(group, compared.score_name(name, count), value) for name, value in found.items()]
    if not lines:
        raise ValueError(next(iter(reasons)))
    left_out = [f"no {', '.join(groups)}: {reason}" for reason, groups in reasons.items()]
    if any(group == "classes" for group, *_ in lines) and compared.classes and not compared.known_classes:
        left_out.append("no label_accuracy: the extractor's classes are not known to be those of the images")
    return lines, left_out


def protocol(options: argparse.Namespace, compared: Compared) -> dict[str, Any]:
    """What the values depend on."""
    return {
        "real": options.real,
        "real_images": counts(compared)[1] or None,
        "generated": options.generated,
        "generated_images": counts(compared)[0] or None,
        "images_kept": [len(compared.real.rows), len(compared.samples.rows)],
        "classes": list(compared.classes),
        "split": options.split,
        "extractor": compared.extractor and compared.extractor.name,
        "extractor_sha256": compared.extractor and fingerprint_extractor(compared.extractor),
        "values": options.values[0] if len(options.values) == 1 else options.values,
        "size": options.size,
        "alpha": options.alpha,
        "white": options.white,
        "seed": options.seed,
        "batch_size": options.batch_size,
        "torch": torch.__version__,
    }


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write a file that is whole or absent."""
    with whole_file(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
