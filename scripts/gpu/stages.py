"""The stages of `scripts/gpu.sh`, each run in a process of its own: `stages.py STAGE FILE SETTINGS`."""

import json
import logging
import subprocess
import sys
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))

from lit_gen import GAN
from lit_gen.metrics import InceptionFID, load_extractor
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.passes import as_extractor_takes, collect, samples_of
from lit_gen.metrics.scores import Comparison, compute_scores
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, ResNetGenerator
from lit_gen.value_ranges import to_signed
from pieces import Piece, Pieces, Settings, median_seconds, seconds_of, tf32
from rows import noise
from training import profiles, steps

ROOT = Path(__file__).parents[2]


def tests(s: Settings) -> list[Piece]:
    """Those that need a GPU; without one they skip themselves."""
    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text())
    names = ", ".join(str(path.relative_to(ROOT)) for path in files)
    return [Piece({"files": names}, lambda: marked(files, s.device))]


def marked(files: list[Path], device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-vv", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run([sys.executable, "-m", "pytest", *options, *map(str, files)], cwd=ROOT)
        if not report.exists():
            raise RuntimeError(f"pytest ended with status {done.returncode} and no report")
        counts, failures = counted(ElementTree.parse(report).getroot())
    if failures or done.returncode:
        raise RuntimeError(f"{len(failures)} of {sum(counts.values())} failed: {', '.join(failures)}")
    if device == "cuda" and not counts["passed"]:
        raise RuntimeError(f"all {counts['skipped']} were skipped")
    return counts


def counted(report: ElementTree.Element) -> tuple[dict[str, int], list[str]]:
    """How many of a JUnit report's tests passed, failed and were skipped; the names of those that failed."""
    counts, failures = {"passed": 0, "failed": 0, "skipped": 0}, []
    for case in report.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
            failures.append(case.get("name", "?"))
        else:
            counts["skipped" if case.find("skipped") is not None else "passed"] += 1
    return counts, failures


def sampling(s: Settings) -> list[Piece]:
    """Images a second of `sample`: the noise is drawn on the CPU, the images stay on the device."""
    kinds = {"DCGAN": DCGANGenerator, "residual": ResNetGenerator}
    precisions = ("float32", "TF32", "bfloat16")
    return [
        Piece({"generator": name, "precision": precision}, lambda kind=kind, p=precision: sampled(kind, p, s), 2)
        for name, kind in kinds.items()
        for precision in precisions
    ]


def sampled(kind: Callable[..., torch.nn.Module], precision: str, s: Settings) -> dict[str, Any]:
    torch.manual_seed(0)
    count = s.choose(4, 4096)
    if s.small:
        kind = partial(kind, width=8)
    with tf32(s.device, precision == "TF32"):
        model = GAN((3, 128, 128), generator=kind, discriminator=DCGANDiscriminator).to(s.device).eval()
        with torch.autocast(s.device, torch.bfloat16, enabled=precision == "bfloat16"):
            seconds = median_seconds(lambda: model.sample(count), s.device, s.choose(1, 3))
    return {"images": count, "seconds": seconds, "images_s": count / seconds}


def scores(s: Settings) -> list[Piece]:
    """Each part of comparing as many samples with as many images by the shipped CIFAR-10 features."""
    torch.manual_seed(0)
    model = GAN((3, 32, 32), generator=DCGANGenerator, discriminator=DCGANDiscriminator).to(s.device).eval()
    extractor, found = load_extractor("cifar10"), {}

    def features(side: str, read: Callable[[range], Any], extractor: Extractor, count: int) -> dict[str, Any]:
        def see() -> None:
            found[side] = collect(read, count, extractor, device=s.device).compute()

        seconds = seconds_of(see, s.device)
        return {"images": count, "seconds": seconds, "images_s": count / seconds}

    def compared(names: list[str]) -> dict[str, Any]:
        if len(found) < 2:
            raise RuntimeError("the features are missing, see above")
        values: dict[str, float] = {}
        comparison = Comparison(found["samples"], found["real"])
        seconds = seconds_of(lambda: values.update(compute_scores(names, comparison)), s.device)
        return {"seconds": seconds, "values": ", ".join(f"{name} {value:.4g}" for name, value in values.items())}

    fake, few = samples_of(model, extractor, s.images, 0, True), s.choose(8, s.images // 10)
    inception = InceptionFID((3, 32, 32), weights="random")
    pieces = [
        Piece({"part": "samples and their features"}, lambda: features("samples", fake, extractor, s.images), 5),
        Piece({"part": "features of real images"}, lambda: features("real", pixels(extractor), extractor, s.images), 5),
        *(Piece({"part": name}, lambda name=name: compared([name]), 5) for name in ("fd", "kid", "precision_recall")),
        Piece(
            {"part": "features of Inception's network, random weights"},
            lambda: features("inception", pixels(inception), inception, few),
            15,
        ),
    ]
    return pieces


def pixels(extractor: Extractor) -> Callable[[range], Any]:
    """Reads real images of 32 x 32 from the CPU's memory: random pixels, the same 10,000 again and again."""
    images = noise(32, 10_000)
    return lambda positions: (
        as_extractor_takes(to_signed(images[torch.tensor(positions) % len(images)], "uint8"), extractor),
        None,
    )


STAGES: dict[str, Callable[[Settings], list[Piece]]] = {
    "tests": tests,
    "steps": steps,
    "sampling": sampling,
    "scores": scores,
    "profile": profiles,
}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    name, file, settings = sys.argv[1:]
    given = Settings(**json.loads(settings))
    sys.exit(not Pieces(STAGES[name](given), Path(file)).run(given.until))


if __name__ == "__main__":
    main()
