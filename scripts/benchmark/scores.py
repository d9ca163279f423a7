"""The scores' speed beside torchmetrics and scipy, and the memory of a feature pass.

`scripts/benchmark scores` calls it. Sides take turns on the same numbers; medians of this process' CPU seconds, ratios,
and how far the results are apart. The memory is the most that a process of its own ever held.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import scipy.linalg
import torch
from torch import Tensor

from lit_gen.metrics import FeatureBank, Moments, frechet_of_moments, kernel_distance, kernel_within
from measure import cpu_seconds, interleaved, peak_kib

DIM = 2048


def scores(rounds: int) -> None:
    frechet(rounds)
    kernel(rounds)
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
    """All pairs of 5,000 and 5,000 features, and of 10,000, against torchmetrics' 100 subsets of 1,000."""
    from torchmetrics.image.kid import poly_mmd

    for n in (5000, 10_000):
        samples, real = features(n, 0), features(n, 1)
        within = kernel_within(real)

        def subsets(samples: Tensor = samples, real: Tensor = real, n: int = n) -> float:
            # KernelInceptionDistance.compute from the features on.
            pairs = (tuple(x[torch.randperm(n)[:1000]] for x in (samples, real)) for _ in range(100))
            return float(torch.stack([poly_mmd(x, y) for x, y in pairs]).mean())

        sides = {
            f"ours, all pairs of {n:,}, the real ones' known": lambda samples=samples, real=real, within=within: (
                kernel_distance(samples, real, within)
            ),
            f"ours, all pairs of {n:,}, nothing known": lambda samples=samples, real=real: kernel_distance(
                samples, real
            ),
            "torchmetrics, 100 subsets of 1,000": subsets,
        }
        compare(f"Kernel distance, d = 2048, n = {n:,}", sides, rounds)


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
    stream(int(sys.argv[1]))
