"""Features of both sides of ``lit-gen evaluate``: an extractor that takes the two, one list of their classes."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.progress import Progress
from torch import Tensor

from lit_gen.cli.commands.class_lists import ClassList, Labels, one_list
from lit_gen.cli.commands.sides import Side, sides
from lit_gen.cli.commands.sources import read_source
from lit_gen.cli.processes import Processes
from lit_gen.metrics.bank import NO_LABEL, Features
from lit_gen.metrics.choosing import choose_extractor, proposal, shipped_for
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.passes import Read, collect, images_of, real_features, samples_of
from lit_gen.metrics.scores import protocol_name
from lit_gen.metrics.statistics import read_statistics

MOST_SAMPLES = 10_000  # drawn from a checkpoint, unless more are asked for


@dataclass(frozen=True)
class Compared:
    """Features of both sides.

    Attributes:
        samples: of the generated images.
        real: of the real ones; both have their labels as places in `classes`.
        extractor: that they are of; None for two files of statistics.
        sources: images that were read, to be told of.
        classes: names of the classes; empty without labels.
        known_classes: whether the extractor classifies into them.
        notes: what was assumed or left out.
    """

    samples: Features
    real: Features
    extractor: Extractor | None
    sources: tuple[Any, ...] = ()
    classes: tuple[str, ...] = ()
    known_classes: bool = False
    notes: tuple[str, ...] = ()

    def score_name(self, score: str, count: int) -> str:
        """A score's name with the protocol."""
        if self.extractor is None:
            return protocol_name(score, "statistics", count) if count else f"{score}_statistics"
        return protocol_name(score, self.extractor.name, count, self.extractor.frechet)


def compare(options: argparse.Namespace, bars: Progress, group: Processes) -> Compared:
    """Read both sides, and collect their features, each process its share of them. A collective.

    Raises:
        ValueError: sides that don't fit each other or the extractor, or too few images.
        FileNotFoundError: no such file or folder.
    """
    real, made = group.in_step(lambda: sides(options))
    if made.kind == "statistics" and options.num_samples is not None:
        raise ValueError(f"--num_samples {options.num_samples}: {made.path} are statistics")
    if real.kind == made.kind == "statistics":
        return _two_statistics(options)
    extractor = group.in_step(lambda: find_extractor(options, real, made))
    place: dict[str, Any] = {
        "batch_size": options.batch_size,
        "capacity": options.capacity,
        "device": options.device,
        "rank": group.rank,
        "world_size": group.world_size,
        "in_step": group.in_step,
    }
    of_real, real_labels = _real(options, real, extractor, {**place, "agree": group.agree}, bars)
    if made.kind == "statistics":
        of_made = read_statistics(made.path, extractor=extractor).to(options.device)
        classes = _classes(real_labels, _stored_labels(made.path, of_made), extractor)
        of_made = of_made.relabelled(classes.generated, classes.names)
    else:
        classes = _classes(real_labels, made.labels(options.trust), extractor)
        of_made = _generated(options, made, extractor, place, classes, of_real.moments.count, bars)
    sources = tuple(side.read for side in (real, made) if side.kind == "images")
    return Compared(
        of_made,
        of_real.relabelled(classes.real, classes.names),
        extractor,
        sources,
        classes.names,
        classes.known,
        (*_scaled_twice(options, extractor), *classes.notes),
    )


def find_extractor(options: argparse.Namespace, real: Side, made: Side) -> Extractor:
    """The extractor named, or the one shipped for the data; it takes the images of both sides.

    Grey images count as colour where the other side's are, and the sizes may differ if the extractor resizes.
    """
    described: Any = real.read
    if described is None and made.path.endswith(".ckpt"):
        described = read_source(made.path, options.split, options.values[0], options.size, options.trust)
    elif described is None:
        described = SimpleNamespace(image_shape=made.image_shape, name=getattr(made.read, "name", "images"))
    shape, colour = tuple(described.image_shape), [side for side in (real, made) if _channels(side) == 3]
    if options.extractor in ("pixels", "identity") and len(shape) == 3 and colour:
        described = SimpleNamespace(image_shape=(3, *shape[1:]), name=described.name)
    if options.extractor == "auto" and len(shape) == 3 and shipped_for(described.name, shape) is None:
        raise ValueError(f"--extractor auto: none is shipped for these images; {_proposed(options, shape)}")
    extractor = choose_extractor(options.extractor, described)
    assert extractor is not None
    for kind, side in (("real", real), ("generated", made)):
        given = side.image_shape
        if given is None or extractor.takes(given) or (_channels(side) == 1 and extractor.takes((3, *given[1:]))):
            continue
        raise ValueError(f"{kind} images of shape {given}: extractor {extractor.name!r} takes {extractor.image_shape}")
    return extractor


def _proposed(options: argparse.Namespace, shape: tuple[int, ...]) -> str:
    """The command again with an extractor that takes the images, and the one that trains one of the real images."""
    given = [word for word in options.arguments if word != "--extractor=auto"]
    if "--extractor" in given:
        place = given.index("--extractor")
        del given[place : place + 2]
    again = shlex.join(["lit-gen", "evaluate", *given, "--extractor", proposal(shape)])
    reading = {"size": None, "white": None, "alpha": "white"}
    words = [f"--{name}={getattr(options, name)}" for name, usual in reading.items() if getattr(options, name) != usual]
    words += [f"--values={options.values[0]}"] * (options.values[0] != "uint8")
    own = f"own_{Path(options.real).stem}.safetensors"
    train = shlex.join(["lit-gen", "extractor", options.real, *words, "--out", own])
    return f"name one, `{again}`, or train one, `{train}`"


def _channels(side: Side) -> int | None:
    shape = side.image_shape
    return shape[0] if shape is not None and len(shape) == 3 else None


def _scaled_twice(options: argparse.Namespace, extractor: Extractor) -> list[str]:
    if options.size is None or not extractor.resizes:
        return []
    return [f"--size {options.size}: files are scaled to it, and then by the extractor {extractor.name!r} to its own"]


def _real(
    options: argparse.Namespace, side: Side, extractor: Extractor, place: dict[str, Any], bars: Progress
) -> tuple[Features, Labels]:
    if side.kind == "statistics":
        features = read_statistics(side.path, extractor=extractor).to(options.device)
        return features, _stored_labels(side.path, features)
    bar = bars.add_task("real images", total=_enough(side, options.split) / place["world_size"])
    features = real_features(
        side.read,
        options.split,
        extractor,
        cache=None if options.cache == "off" else options.cache,
        keep=options.statistics,
        advance=lambda n: bars.advance(bar, n),
        **place,
    )
    return features, side.labels(options.trust)


def _generated(
    options: argparse.Namespace,
    side: Side,
    extractor: Extractor,
    place: dict[str, Any],
    classes: ClassList,
    real_count: int,
    bars: Progress,
) -> Features:
    if side.kind == "samples":
        model = side.read.to(options.device)
        count = options.num_samples or min(real_count or MOST_SAMPLES, MOST_SAMPLES)
        drawn = (classes.generated >= 0).nonzero()[:, 0].tolist() or None
        read = samples_of(model, extractor, count, options.seed, eight_bits=True, classes=drawn)
    else:
        total = _enough(side, options.split)
        count = options.num_samples or total
        if count > total:
            raise ValueError(f"--num_samples {count}: {side.path} holds {total} images")
        read = images_of(side.read, options.split, extractor, options.device)
    bar = bars.add_task("generated images", total=count / place["world_size"])
    bank = collect(
        _renumbered(read, classes.generated),
        count,
        extractor,
        known_classes=classes.known,
        advance=lambda n: bars.advance(bar, n),
        **place,
    )
    features = bank.compute()
    features.class_names = classes.names
    return features


def _renumbered(read: Read, numbers: Tensor) -> Read:
    def renumbered(positions: range) -> tuple[Tensor, Tensor | None]:
        images, labels = read(positions)
        return images, None if labels is None or len(numbers) == 0 else numbers[labels.cpu()]

    return renumbered


def _two_statistics(options: argparse.Namespace) -> Compared:
    """Two files of statistics, whose features are what they are."""
    if options.extractor != "auto":
        raise ValueError(f"--extractor {options.extractor}: both files hold features already; leave it out")
    real, made = read_statistics(options.real), read_statistics(options.generated)
    if len(real.moments.mean) != len(made.moments.mean):
        raise ValueError(
            f"{options.generated}: statistics of {len(made.moments.mean)} features; those of {options.real} are of "
            f"{len(real.moments.mean)}"
        )
    extractors = {side.protocol["extractor"] for side in (real, made) if side.protocol is not None}
    if len(extractors) > 1:
        raise ValueError(f"{options.real} and {options.generated}: statistics of different extractors")
    classes = one_list(_stored_labels(options.real, real), _stored_labels(options.generated, made))
    return Compared(
        made.relabelled(classes.generated, classes.names).to(options.device),
        real.relabelled(classes.real, classes.names).to(options.device),
        None,
        classes=classes.names,
        notes=classes.notes,
    )


def _classes(real: Labels, made: Labels, extractor: Extractor) -> ClassList:
    return one_list(real, made, extractor.class_names, extractor.num_classes)


def _stored_labels(path: str, features: Features) -> Labels:
    """What a file of statistics says of its labels."""
    occurring = tuple(label for label in features.labels.unique().tolist() if label != NO_LABEL)
    numbers = tuple(map(str, range(max(occurring, default=-1) + 1)))
    names = features.class_names if len(features.class_names) >= len(numbers) else numbers
    if not occurring:
        return Labels(path)
    return Labels(path, names, names != tuple(map(str, range(len(names)))), occurring)


def _enough(side: Side, split: str) -> int:
    """The number of images, if it is enough for a covariance."""
    count = len(side.read.dataset(split))
    if count < 2:
        raise ValueError(f"{side.path}: {count} images in this split; scores need at least 2")
    return count
