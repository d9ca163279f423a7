"""``lit-gen extractor``: a feature extractor of one's own images, for scores that need no download."""

import argparse
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lit_gen
from lit_gen.cli.commands.named_data import NAMED, named_data
from lit_gen.cli.commands.sources import Source, add_reading, read_source, tell
from lit_gen.cli.support import rank_zero_note
from lit_gen.cli.words import CommandParser
from lit_gen.metrics.classifiers import SHIPPED, DataSetClassifier, save_extractor
from lit_gen.metrics.extractor_training import AMONG, FEWEST, accuracy, train_extractor
from lit_gen.pretrained.loading import check_device

HELD_OUT = 10  # of data without further splits every tenth image is held out, by a fixed permutation
BATCH = 500  # images that are read at once
LARGEST = 2**31  # bytes of the images that are kept in memory; of more a random part is taken

Part = tuple[Tensor, Tensor | None]


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    command = CommandParser("extractor", "Trains a small network on your images, for scores to look through.")
    add = command.add_argument
    add(
        "data",
        help=f"a folder, .zip, shards or table of images, an .npz or .npy file, a checkpoint (its data); {NAMED}",
    )
    add("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    add("--name", help="what scores will carry, as in fd_NAME_1000; by default from the file's")
    add("--root", help="folder or file of data that are named")
    add("--labels", default="auto", choices=("auto", "none"), help="none: learn without them (auto: learn the classes)")
    add("--split", default="train", choices=("train", "val", "test"), help="to learn, of data that have splits (train)")
    add("--values", default="uint8", choices=("uint8", "unit", "signed"), help="range of float images")
    add("--size", type=int, help="side to scale image files to (antialiased, centre crop)")
    add("--channels", type=int, choices=(1, 3), help="1 for grey, of folders that are named by a class and --root")
    add_reading(command)
    add("--epochs", type=int, help="by default the recipe's: up to a quarter of an hour on one core")
    add("--seed", type=int, default=0, help="of weights and order (0)")
    add("--threads", type=int, default=1, help="the weights depend on their number (1)")
    add("--device", default="cpu", help="where it trains, e.g. cuda (cpu)")
    add("--trust", nargs="+", default=[], help="packages of your own whose data a checkpoint names")
    return command


def run(arguments: list[str]) -> None:
    """Train, and write the file.

    Raises:
        ValueError: an option out of range, data that are no images, or too few of them.
        FileNotFoundError: no such file or folder.
    """
    options = parser().parse_args(arguments)
    name = _check(options)
    data = _data(options)
    if len(data.image_shape) != 3:
        raise ValueError(f"{options.data}: an extractor needs images, not points")
    (images, labels), held_out = _parts(data, options)
    begun = time.perf_counter()
    network, recipe = train_extractor(
        images,
        labels,
        name,
        class_names=() if labels is None else tuple(data.class_names),
        epochs=options.epochs,
        seed=options.seed,
        threads=options.threads,
        device=options.device,
        say=lambda line: print(line, flush=True),
    )
    found = {split: accuracy(network, *part) for split, part in held_out.items()}
    shape = "x".join(map(str, network.image_shape))
    digest = save_extractor(
        network,
        options.out,
        data=data.path if isinstance(data, Source) else type(data).__name__,
        protocol=f"images of {shape} in [-1, 1], rounded to 8 bits, not resized",
        objective="views" if labels is None else "classes",
        recipe=recipe,
        images={"train": len(images), **{split: len(part[0]) for split, part in held_out.items()}},
        lit_gen=lit_gen.__version__,
        **{f"{split}_accuracy": round(share, 4) for split, share in found.items()},
    )
    if isinstance(data, Source):
        tell(data)
    _report(network, found, {split: len(part[0]) for split, part in held_out.items()})
    print(f"{time.perf_counter() - begun:.0f} s; {options.out}: {Path(options.out).stat().st_size} bytes")
    print(f"sha256 {digest}")


def _report(network: DataSetClassifier, found: dict[str, float], counts: dict[str, int]) -> None:
    """The accuracies on held-out images, beside what chance would reach."""
    for split, share in found.items():
        chance = 1 / (network.num_classes or min(counts[split], AMONG))
        of = "views told from those of others" if network.num_classes is None else "images classified right"
        told = split.replace("_", " ")
        print(f"{told} accuracy {100 * share:.2f} % of {counts[split]} {of} (by chance {100 * chance:.3g} %)")
        if share < 2 * chance:
            rank_zero_note(f"warning: {told} accuracy is near chance: distances in these features say little")


def _check(options: argparse.Namespace) -> str:
    """The extractor's name; refuses options out of range before anything is read."""
    if not options.out.endswith(".safetensors"):
        raise ValueError(f"--out {options.out}: the name must end in .safetensors")
    name = options.name or re.sub("[^A-Za-z0-9_.-]", "-", Path(options.out).name.removesuffix(".safetensors"))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"--name {name}: scores carry it, so letters, digits, '_', '.' and '-' are accepted")
    if name in SHIPPED and options.name is None:
        raise ValueError(f"--out {options.out}: {name} is the name of a shipped extractor; give another by --name")
    for option, least in {"epochs": 1, "threads": 1, "size": 1, "seed": 0}.items():
        if (value := getattr(options, option)) is not None and value < least:
            raise ValueError(f"--{option} {value}: at least {least} is needed")
    check_device(options.device)
    return name


def _data(options: argparse.Namespace) -> Any:
    """The images of a path, or the data module of a name."""
    named = named_data(options)
    if named is not None:
        return named
    reading = (options.values, options.size, options.trust, options.alpha, options.white)
    return read_source(options.data, options.split, *reading)


def _parts(data: Any, options: argparse.Namespace) -> tuple[Part, dict[str, Part]]:
    """Images and labels to learn, and those of splits to measure on; without such a split a tenth is held out."""
    labelled = data.num_classes >= 2 and options.labels == "auto"
    learned = _gathered(data, options.split, labelled)
    if len(learned[0]) < FEWEST:
        raise ValueError(f"{options.data}: {len(learned[0])} images to learn; at least {FEWEST} are needed")
    others = () if isinstance(data, Source) else [split for split in ("test", "val") if split != options.split]
    held_out = {split: _gathered(data, split, labelled) for split in others if len(data.dataset(split))}
    if held_out:
        return learned, held_out
    order = torch.randperm(len(learned[0]), generator=torch.Generator().manual_seed(0))
    cut = len(order) // HELD_OUT
    kept, out = (tuple(None if x is None else x[rows] for x in learned) for rows in (order[cut:], order[:cut]))
    return kept, {"held_out": out}  # type: ignore[dict-item, return-value]


def _gathered(data: Any, split: Any, labelled: bool) -> Part:
    """All images of a split as tensors, or as many of them as memory is spent on, by a fixed permutation."""
    dataset = data.dataset(split)
    rows, images, labels = list(range(len(dataset))), [], []
    most = LARGEST // max(1, dataset.__getitems__([0])[0].nbytes) if rows else 0
    if len(rows) > most > 0:
        rows = sorted(torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most].tolist())
        rank_zero_note(f"{most:,} of {len(dataset):,} images are taken, which are {LARGEST / 2**30:g} GiB")
    for start in range(0, len(rows), BATCH):
        part, classes = dataset.__getitems__(rows[start : start + BATCH])
        images.append(part if part.dtype == torch.uint8 else data.to_float(part))
        labels.append(classes)
    return torch.cat(images), torch.cat(labels) if labelled else None
