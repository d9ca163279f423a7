"""``lit-gen evaluate``: scores of generated images against real ones, whatever program made them."""

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from lit_gen.callbacks.evaluate import choose_extractor
from lit_gen.cli.commands.sources import add_reading, read_source, same_classes, tell
from lit_gen.files import whole_file
from lit_gen.metrics.bank import Features
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.passes import collect, images_of, real_features, samples_of
from lit_gen.metrics.scores import SCORES, Comparison, check_names, compute_scores, protocol_name
from lit_gen.metrics.statistics import DAMAGE, fingerprint_extractor, read_statistics
from lit_gen.pretrained.loading import from_pretrained
from lit_gen.pretrained.shipped import list_pretrained

BY_DEFAULT = ("fd", "kid", "precision_recall", "density_coverage", "diversity", "nn_test", "classes")
MOST_SAMPLES = 10_000  # drawn from a checkpoint, unless more are asked for


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
    add("real", help="real images: a folder, .npz or .npy, a checkpoint (the data it learned), or .npz statistics")
    add("generated", help="generated images: a folder, .npz or .npy, or a model to draw samples from")
    add(
        "--extractor",
        default="auto",
        help="auto (shipped for the data), pixels, inception, a shipped name, or a file",
    )
    add("--scores", nargs="+", default=None, metavar="SCORE", help=f"all, or any of {names}")
    add("--num_samples", type=int, help="generated images (all; of a checkpoint as many as real ones, at most 10,000)")
    add("--split", default="test", choices=("train", "val", "test"), help="of data that have splits (test)")
    add("--values", default="uint8", choices=("uint8", "unit", "signed"), help="range of float images: [0, 1], [-1, 1]")
    add("--size", type=int, help="side to scale image files to (antialiased, centre crop); without it they stay")
    add_reading(command)
    add("--seed", type=int, default=0, help="of a checkpoint's samples, and of random subsets (0)")
    add("--batch_size", type=int, default=500, help="images at once (500)")
    add("--capacity", type=int, default=10_000, help="features kept for scores of single images (10,000)")
    add("--trust", nargs="+", default=[], help="packages of your own whose classes a checkpoint names")
    add("--device", default="cpu", help="where networks run, e.g. cuda (cpu)")
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
    if options.statistics and is_statistics(options.real):
        raise ValueError(f"--statistics {options.statistics}: {options.real} are statistics already")
    for name in ("batch_size", "capacity", "num_samples", "size"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name} {value}: at least 1 is needed")
    if options.scores and "all" not in options.scores:
        check_names(options.scores)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        real, samples, extractor, sources = compare(options, bars)
    comparison, values, lines = Comparison(samples, real, options.seed), {}, []
    for group in groups(options.scores, comparison):
        count = len(samples.rows) if SCORES[group].needs in ("rows", "labels") else samples.moments.count
        for score, value in compute_scores([group], comparison).items():
            name = protocol_name(score, extractor.name, count, extractor.frechet)
            values[name] = value
            lines.append((name, f"{value:.6g}", SCORES[group].describes))
    tell(*sources)
    if options.json:
        write_json(options.json, {**protocol(options, real, samples, extractor), "scores": values})
    width = max(len(name) for name, *_ in lines)
    known = real.moments.count or "an unknown number"
    print(f"{options.generated}: {samples.moments.count} images against {known} of {options.real}")
    for name, value, describes in lines:
        print(f"{name:<{width}}  {value:>12}  {describes}")


def compare(options: argparse.Namespace, bars: Progress) -> tuple[Features, Features, Extractor, list[Any]]:
    """Features of the real and of the generated images, the extractor they are of, and the sources read."""
    model: Any = load(options) if is_model(options.generated) else None
    statistics = is_statistics(options.real)
    reading = (options.split, options.values, options.size, options.trust, options.alpha, options.white)
    data: Any = None if statistics else read_source(options.real, *reading)
    generated: Any = None if model else read_source(options.generated, *reading)
    if generated is not None and data is not None:
        same_classes(generated, data.class_names)
    described = data or generated
    if described is None and options.generated.endswith(".ckpt"):
        described = read_source(options.generated, *reading)
    elif described is None and model is not None:
        described = SimpleNamespace(image_shape=model.image_shape, name="images")
    extractor = find_extractor(options.extractor, described, model or generated)
    place: dict[str, Any] = {"batch_size": options.batch_size, "capacity": options.capacity, "device": options.device}
    if statistics:
        real = read_statistics(options.real, extractor=extractor).to(options.device)
    else:
        total = require(len(data.dataset(options.split)), options.real)
        bar = bars.add_task("real images", total=total)
        cache = None if options.cache == "off" else options.cache
        real = real_features(
            data,
            options.split,
            extractor,
            cache=cache,
            keep=options.statistics,
            advance=lambda n: bars.advance(bar, n),
            **place,
        )
    if model is not None:
        model = model.to(options.device)
        count = options.num_samples or min(real.moments.count or MOST_SAMPLES, MOST_SAMPLES)
        read = samples_of(model, extractor, count, options.seed, eight_bits=True)
    else:
        total = require(len(generated.dataset(options.split)), options.generated)
        count = options.num_samples or total
        if count > total:
            raise ValueError(f"--num_samples {count}: {options.generated} holds {total} images")
        read = images_of(generated, options.split, extractor, options.device)
    bar = bars.add_task("generated images", total=count)
    bank = collect(read, count, extractor, advance=lambda n: bars.advance(bar, n), **place)
    return real, bank.compute(), extractor, [source for source in (data, generated) if source is not None]


def is_model(path: str) -> bool:
    """Whether samples are to be drawn: from a checkpoint, a folder of `save_pretrained` or a shipped model."""
    folder = Path(path)
    return (
        path.endswith(".ckpt")
        or (folder / "config.json").is_file()
        or (not folder.exists() and path in list_pretrained())
    )


def load(options: argparse.Namespace) -> Any:
    """The model to draw samples from."""
    model = from_pretrained(options.generated, trusted=options.trust)
    if not hasattr(model, "sample"):
        raise ValueError(f"{options.generated}: a {type(model).__name__} draws no samples")
    return model


def is_statistics(path: str) -> bool:
    """Whether a file holds the mean and covariance of features in place of images."""
    if not path.endswith(".npz") or not Path(path).is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"mu", "sigma"} <= set(archive.files)
    except DAMAGE as error:
        raise ValueError(f"{path}: truncated or damaged, not a readable .npz file ({error})") from None


def require(count: int, path: str) -> int:
    """The number of images, if it is enough for a covariance."""
    if count < 2:
        raise ValueError(f"{path}: {count} images in this split; scores need at least 2")
    return count


def find_extractor(name: str, real: Any, generated: Any) -> Extractor:
    """The extractor named, or the one shipped for the data; both sides must have its shape."""
    extractor = choose_extractor(name, real)
    if extractor is None:
        raise ValueError("--extractor auto: none is shipped for these images; name one, or 'identity' for the pixels")
    shape = tuple(generated.image_shape)
    if shape[1:] != extractor.image_shape[1:] or (
        shape != extractor.image_shape and (shape[0], extractor.image_shape[0]) != (1, 3)
    ):
        raise ValueError(
            f"generated images of shape {shape}: extractor {extractor.name!r} takes {extractor.image_shape}"
        )
    return extractor


def groups(asked: list[str] | None, comparison: Comparison) -> list[str]:
    """The scores to compute: those asked for; by default, and of ``all``, those that these features can give."""
    if asked and "all" not in asked:
        return asked
    few = min(len(comparison.samples.rows), len(comparison.real.rows))
    possible = {
        "moments": True,
        "rows": few > 5,
        "labels": few > 5 and comparison.samples.labelled and comparison.real.labelled,
        "classes": comparison.samples.classes is not None,
    }
    enough = {
        "kid_subsets": few >= 1000,
        "fd_infinity": few >= 20,
        "inception_score": bool(comparison.samples.inception),
    }
    names = [
        name for name in (SCORES if asked else BY_DEFAULT) if possible[SCORES[name].needs] and enough.get(name, True)
    ]
    for name in sorted(set(SCORES) - set(names)) if asked else []:
        print(f"lit-gen: note: no {name}: too few images, or no labels or classes", file=sys.stderr)
    return names


def protocol(options: argparse.Namespace, real: Features, samples: Features, extractor: Extractor) -> dict[str, Any]:
    """What the values depend on."""
    return {
        "real": options.real,
        "real_images": real.moments.count or None,
        "generated": options.generated,
        "generated_images": samples.moments.count,
        "images_kept": [len(real.rows), len(samples.rows)],
        "split": options.split,
        "extractor": extractor.name,
        "extractor_sha256": fingerprint_extractor(extractor),
        "values": options.values,
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
