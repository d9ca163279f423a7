"""The scores' speed beside torchmetrics, scipy, prdc and torch-fidelity, and the memory of a feature pass.

`scripts/benchmark scores` calls it. Sides take turns on the same numbers; medians of this process' CPU seconds, ratios,
and how far the results are apart. Memory is what a process of its own held at most. prdc (which needs
scikit-learn) and torch-fidelity take part where they are installed.
"""

import contextlib
import importlib.util
import io
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import scipy.linalg
import torch
from torch import Tensor

from lit_gen.metrics import FeatureBank, Moments, Neighbours, frechet_of_moments, kernel_distance, kernel_within
from measure import cpu_seconds, interleaved, kib, peak_kib

DIM = 2048


def scores(rounds: int) -> None:
    frechet(rounds)
    kernel(rounds)
    neighbours(rounds)
    peaks()
    memory()


def features(n: int, seed: int) -> Tensor:
    """Rows like Inception's: not negative, correlated, with variances over four decades."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(99)) / DIM**0.5
    rows = torch.randn(n, DIM, generator=generator) * torch.logspace(0, -2, DIM)
    return (0.4 + 0.01 * seed + rows @ mix).relu()


def compare(title: str, sides: dict[str, Callable[[], float]], rounds: int) -> None:
    """Times the sides in turn and prints a row for each; the first is ours."""
    values = {}

    def keep(name: str) -> None:
        values[name] = sides[name]()

    seconds = interleaved({name: partial(cpu_seconds, keep, name) for name in sides}, rounds)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    first = next(iter(sides))
    print(title)
    for name in sides:
        difference = abs(values[name] - values[first])
        print(
            f"  {name:<44} {medians[name]:8.2f} s  {medians[name] / medians[first]:6.2f} x  value {values[name]:.9g}, "
            f"{difference:.1e} from the first",
            flush=True,
        )


def frechet(rounds: int) -> None:
    """The solve alone, between moments of 5,000 rows of 2,048 features, the real factor known and not."""
    from torchmetrics.image.fid import _compute_fid

    moments = [Moments.of_rows(features(5000, seed)) for seed in (0, 1)]
    given = [(m.mean, m.covariance) for m in moments]
    real = Moments(*given[1], count=5000)
    _ = real.factor

    def by_sqrtm() -> float:
        (mean1, cov1), (mean2, cov2) = given
        root = scipy.linalg.sqrtm(cov1.numpy() @ cov2.numpy())
        return float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace()) - 2 * root.trace().real

    sides = {
        "ours, real factor known": lambda: float(frechet_of_moments(Moments(*given[0], count=5000), real)),
        "ours, nothing known": lambda: float(
            frechet_of_moments(Moments(*given[0], count=5000), Moments(*given[1], count=5000))
        ),
        "torchmetrics (eigvals of the product)": lambda: float(_compute_fid(*given[0], *given[1])),
        "scipy sqrtm of the product": by_sqrtm,
    }
    compare("Fréchet distance, d = 2048, full rank", sides, rounds)


def kernel(rounds: int) -> None:
    """All pairs of 5,000 and 5,000 features, and of 10,000, against torchmetrics' 100 subsets of 1,000.

    An evaluation knows the real ones' pairs from its second time on, and both sides' moments from the Fréchet distance.
    """
    from torchmetrics.image.kid import poly_mmd

    for n in (5000, 10_000):
        samples, real = features(n, 0), features(n, 1)
        scatters = tuple(Moments.of_rows(rows).covariance * (n - 1) for rows in (samples, real))
        within = kernel_within(real)

        def subsets(samples: Tensor = samples, real: Tensor = real, n: int = n) -> float:
            # KernelInceptionDistance.compute from the features on.
            pairs = (tuple(x[torch.randperm(n)[:1000]] for x in (samples, real)) for _ in range(100))
            return float(torch.stack([poly_mmd(x, y) for x, y in pairs]).mean())

        sides = {
            f"ours, all pairs of {n:,}, as in an evaluation": partial(kernel_distance, samples, real, within, scatters),
            f"ours, all pairs of {n:,}, the real ones' known": partial(kernel_distance, samples, real, within),
            f"ours, all pairs of {n:,}, nothing known": partial(kernel_distance, samples, real),
            "torchmetrics, 100 subsets of 1,000": subsets,
        }
        compare(f"Kernel distance, d = 2048, n = {n:,}", sides, rounds)


def ours(samples: Tensor, real: Tensor) -> dict[str, float]:
    """Precision and recall of 3 and of 5 neighbours, density and coverage of 5."""
    of_five = Neighbours(samples, real)
    other = {f"{name}_k5": value for name, value in of_five.precision_recall(5).items()}
    return of_five.precision_recall() | of_five.density_coverage() | other


def prdc(samples: Tensor, real: Tensor) -> dict[str, float]:
    """All four of 5 neighbours."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(real.numpy(), samples.numpy(), 5)
    return {f"{name}_k5" if name in ("precision", "recall") else name: float(found[name]) for name in found}


def torch_fidelity(samples: Tensor, real: Tensor) -> dict[str, float]:
    """Precision and recall of 3 neighbours."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(samples, real, verbose=False)
    return {name: found[name] for name in ("precision", "recall")}


def torch_fidelity_kernel(samples: Tensor, real: Tensor) -> dict[str, float]:
    """The kernel distance of 100 subsets of 1,000."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    found: dict[str, float] = kid_features_to_metric(samples, real, verbose=False)
    return found


Side = Callable[[Tensor, Tensor], dict[str, float]]
NEIGHBOURS: dict[str, Side] = {
    "ours": ours,
    "prdc": prdc,
    "torch_fidelity": torch_fidelity,
}


def neighbours(rounds: int) -> None:
    """Precision, recall, density and coverage of 10,000 and 10,000 features."""
    sides = {name: side for name, side in NEIGHBOURS.items() if name == "ours" or importlib.util.find_spec(name)}
    samples, real, values = features(10_000, 0), features(10_000, 1), {}

    def keep(name: str) -> None:
        values[name] = sides[name](samples, real)

    seconds = interleaved({name: partial(cpu_seconds, keep, name) for name in sides}, rounds)
    print("Precision, recall, density, coverage, d = 2048, n = 10,000")
    for name in sides:
        spent, first = (statistics.median(seconds[each]) for each in (name, "ours"))
        apart = max(abs(value - values["ours"][key]) for key, value in values[name].items())
        rounded = ", ".join(f"{key} {value:.7g}" for key, value in values[name].items())
        print(
            f"  {name:<16} {spent:8.2f} s  {spent / first:6.2f} x  at most {apart:.1e} from ours: {rounded}",
            flush=True,
        )
    if missing := NEIGHBOURS.keys() - sides.keys():
        print(f"  left out, not installed: {', '.join(sorted(missing))}")


def all_pairs(samples: Tensor, real: Tensor) -> dict[str, float]:
    """The kernel distance of all pairs, nothing known."""
    return {"kernel_distance": float(kernel_distance(samples, real))}


PEAKS: dict[str, dict[str, Side]] = {
    "precision, recall, density, coverage": NEIGHBOURS,
    "kernel distance": {"ours": all_pairs, "torch_fidelity": torch_fidelity_kernel},
}


def peaks() -> None:
    """What each side's process held at most above 10,000 and 10,000 features and its imports."""
    print("Peak memory above the features, d = 2048, n = 10,000")
    for what, sides in PEAKS.items():
        for name in sides:
            if name == "ours" or importlib.util.find_spec(name):
                command = [sys.executable, __file__, what, name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(f"  {what}, {name}: {done.stdout.strip()} MiB", flush=True)


def peak(what: str, name: str) -> None:
    """Prints what one side needs above what was there before, its imports and products of a small set included."""
    side = PEAKS[what][name]
    side(features(1200, 2), features(1200, 3))
    samples, real = features(10_000, 0), features(10_000, 1)
    before = kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, that of making the features, is forgotten
    side(samples, real)
    print(f"{(peak_kib() - before) / 1024:.0f}")


def memory() -> None:
    """The peak of processes that stream 10,000 and 50,000 images of 64 features through a bank."""
    print("Peak memory of a pass, 64 features, 10,000 rows kept")
    for n in (2000, 10_000, 50_000, 200_000):
        done = subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True)
        print(f"  {n:>7,} images: {done.stdout.strip()} MiB", flush=True)


def stream(n: int) -> None:
    """One pass; prints what it needed above what was there before."""
    bank, generator = FeatureBank(64, num_classes=10), torch.Generator().manual_seed(0)
    before = peak_kib()
    for start in range(0, n, 500):
        logits = torch.randn(500, 10, generator=generator)
        bank.update(torch.randn(500, 64, generator=generator), torch.arange(start, start + 500), logits)
    bank.compute()
    print(f"{(peak_kib() - before) / 1024:.1f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    peak(*sys.argv[1:]) if sys.argv[2:] else stream(int(sys.argv[1]))
