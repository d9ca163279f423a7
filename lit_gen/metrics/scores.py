"""All scores by name, computed from the features of samples and of data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

from torch import Tensor

from lit_gen.metrics.bank import Features
from lit_gen.metrics.frechet import class_frechet, frechet_infinity, frechet_of_moments
from lit_gen.metrics.kernel import kernel_distance, kernel_distance_of_subsets
from lit_gen.metrics.manifold import Neighbours
from lit_gen.metrics.memorisation import memorisation_informed
from lit_gen.metrics.two_sample import class_transfer, logistic_two_sample_test
from lit_gen.metrics.vendi import vendi_score

NEIGHBOURS = 5  # that scores by neighbours need at least
ENOUGH_NEIGHBOURS = 1000  # data; among 300 digits the balls of precision hold a quarter of uniform noise

Need = Literal["moments", "rows", "labels", "classes"]


@dataclass(frozen=True)
class ScoreOptions:
    """What a score's name carries where it isn't as published.

    Args:
        k: neighbours of precision, recall, density and coverage, in place of 3 and 5: ``precision_k7``.
        subsets: pairs of subsets of ``kid_subsets``.
        subset_size: features of each; of others than 100 of 1,000, ``kid_subsets_50x500``.

    Raises:
        ValueError: fewer than 1 neighbour or subset, or than 2 features.
    """

    k: int | None = None
    subsets: int = 100
    subset_size: int = 1000

    def __post_init__(self) -> None:
        for name, value, least in (
            ("k", self.k, 1),
            ("subsets", self.subsets, 1),
            ("subset_size", self.subset_size, 2),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: at least {least} is needed")


PUBLISHED = ScoreOptions()


class Comparison:
    """Features of samples and of real data, with what several scores share.

    Args:
        samples: of the generated images.
        real: of the data.
        seed: of the scores' own random choices.
        options: of single scores.
    """

    def __init__(self, samples: Features, real: Features, seed: int = 0, options: ScoreOptions = PUBLISHED) -> None:
        self.samples, self.real, self.seed, self.options = samples, real, seed, options

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """The features kept of the samples and of the data."""
        for side, features in (("real", self.real), ("generated", self.samples)):
            if len(features.rows) == 0:
                raise ValueError(
                    f"the {side} statistics hold mean and covariance alone; scores of single images need features"
                )
        return self.samples.rows, self.real.rows

    @property
    def labelled(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features and classes of the samples and of the data."""
        if not (self.samples.labelled and self.real.labelled):
            side = "real images" if self.samples.labelled else "samples"
            raise ValueError(f"the {side} have no labels, which this score needs")
        samples, real = self.rows
        return samples, self.samples.labels, real, self.real.labels

    @property
    def classified(self) -> Features:
        """The samples, of which a classifier has said the classes."""
        if self.samples.classes is None:
            raise ValueError("the extractor doesn't classify, which this score needs")
        return self.samples

    @cached_property
    def neighbours(self) -> Neighbours:
        """Nearest neighbours within and between the sets."""
        return Neighbours(*self.rows, k=max(NEIGHBOURS, self.options.k or 0))


@dataclass(frozen=True)
class Score:
    """A group of scores that are computed together.

    Attributes:
        compute: from a comparison to values by name.
        needs: ``moments`` of all images; ``rows``, the features kept; ``labels`` of samples and data; or ``classes``,
            which a classifier finds.
        describes: in a few words.
        neighbours: by nearest neighbours, whose distances say little among few data.
    """

    compute: Callable[[Comparison], dict[str, float]]
    needs: Need
    describes: str
    neighbours: bool = False


def _inception(c: Comparison) -> dict[str, float]:
    if c.classified.inception is None:
        raise ValueError(
            f"inception_score of {c.samples.moments.count} samples: at least 10 are needed, one for each part"
        )
    return c.classified.inception


def _class_frechet(c: Comparison) -> dict[str, float]:
    distances = class_frechet(*c.labelled, class_names=c.real.class_names)
    return {"fd_class_mean": sum(distances.values()) / len(distances), "fd_class_worst": max(distances.values())}


def _kernel_of_subsets(c: Comparison) -> dict[str, float]:
    subsets, size = c.options.subsets, c.options.subset_size
    mean, deviation = kernel_distance_of_subsets(*c.rows, subsets=subsets, size=size, seed=c.seed)
    usual = (subsets, size) == (PUBLISHED.subsets, PUBLISHED.subset_size)
    name = "kid_subsets" if usual else f"kid_subsets_{subsets}x{size}"
    return {name: mean, f"{name}_std": deviation}


def _by_neighbours(
    compute: Callable[[Neighbours, int], dict[str, float]], usual: int, c: Comparison
) -> dict[str, float]:
    """Scores by k neighbours; other numbers than the published one are in the names."""
    k = c.options.k or usual
    scores = compute(c.neighbours, k)
    return scores if k == usual else {f"{name}_k{k}": value for name, value in scores.items()}


def _vendi(c: Comparison) -> dict[str, float]:
    return {"vendi": vendi_score(c.rows[0]), "vendi_real": vendi_score(c.rows[1])}


SCORES: dict[str, Score] = {
    "fd": Score(
        lambda c: {"fd": float(frechet_of_moments(c.samples.moments, c.real.moments))},
        "moments",
        "Fréchet distance; lower is better",
    ),
    "fd_infinity": Score(
        lambda c: {"fd_infinity": frechet_infinity(c.rows[0], c.real.moments, seed=c.seed)},
        "rows",
        "Fréchet distance read at infinitely many samples",
    ),
    "fd_class": Score(_class_frechet, "labels", "Fréchet distance within each class: mean and worst"),
    "kid": Score(
        lambda c: {"kid": kernel_distance(*c.rows, c.real.kernel_within, (c.samples.scatter, c.real.scatter))},
        "rows",
        "kernel distance over all pairs; lower is better",
    ),
    "mifd": Score(
        lambda c: {"mifd": memorisation_informed(*c.rows, c.samples.moments, c.real.moments)},
        "rows",
        "Fréchet distance over the memorisation distance, if below 0.1; lower is better",
    ),
    "kid_subsets": Score(_kernel_of_subsets, "rows", "kernel distance over subsets, 100 of 1,000 as published"),
    "inception_score": Score(_inception, "classes", "Inception score in 10 parts; higher is better"),
    "classes": Score(
        lambda c: dict(c.classified.classes or {}), "classes", "classes found, and how sure the classifier is"
    ),
    "precision_recall": Score(
        partial(_by_neighbours, Neighbours.precision_recall, 3),
        "rows",
        "precision and recall, k = 3 as published",
        True,
    ),
    "density_coverage": Score(
        partial(_by_neighbours, Neighbours.density_coverage, 5),
        "rows",
        "density and coverage, k = 5 as published",
        True,
    ),
    "memorisation": Score(
        lambda c: c.neighbours.memorisation(), "rows", "authenticity, and share of near copies", True
    ),
    "diversity": Score(lambda c: c.neighbours.diversity(), "rows", "mean pairwise distance over the data's"),
    "vendi": Score(_vendi, "rows", "how many different ones there are in effect, of samples and of data"),
    "nn_test": Score(
        lambda c: c.neighbours.two_sample_test(), "rows", "1-nearest-neighbour two-sample test; 0.5 is best"
    ),
    "logistic_test": Score(
        lambda c: logistic_two_sample_test(*c.rows, seed=c.seed), "rows", "linear two-sample test; 0.5 is best"
    ),
    "class_transfer": Score(lambda c: class_transfer(*c.labelled), "labels", "GAN-train and GAN-test, linear"),
}
"""The groups of scores by the names that ``compute_scores`` and ``--scores`` take."""


def few_data(names: Sequence[str], real: Features) -> list[str]:
    """Lines that say of which scores the data are too few to be read, and how many are needed.

    Args:
        names: groups of scores.
        real: the data's features.
    """
    count, dim, kept = real.moments.count, len(real.moments.mean), len(real.rows)
    lines = []
    if (of_moments := [name for name in names if name in ("fd", "fd_infinity", "mifd")]) and 0 < count <= dim:
        lines.append(
            f"{', '.join(of_moments)} against {count:,} real images: too few for the covariance of {dim:,} features; "
            f"at least {dim + 1:,} are needed"
        )
    if (of_rows := [name for name in names if SCORES[name].neighbours]) and 0 < kept < ENOUGH_NEIGHBOURS:
        lines.append(
            f"{', '.join(of_rows)} against {kept:,} real images: neighbours so far apart say little; at least "
            f"{ENOUGH_NEIGHBOURS:,} are needed"
        )
    return lines


def check_names(names: Sequence[str]) -> None:
    """Refuse names of scores that don't exist.

    Raises:
        ValueError: names them and what is accepted.
    """
    if unknown := [name for name in names if name not in SCORES]:
        raise ValueError(f"scores={', '.join(unknown)}: accepted are {', '.join(SCORES)}")


def compute_scores(names: Sequence[str], comparison: Comparison) -> dict[str, float]:
    """The values of the groups of scores ``names``, in their order.

    Raises:
        ValueError: an unknown name, or features that a score can't be computed from (too few, or without labels).
    """
    check_names(names)
    return {name: float(value) for group in names for name, value in SCORES[group].compute(comparison).items()}


def protocol_name(score: str, extractor: str, count: int, frechet: str = "fd") -> str:
    """``<score>_<extractor>_<count>``: what a value depends on is in its name.

    Args:
        score: its plain name.
        extractor: the extractor's.
        count: samples; whole thousands from ten of them on are written 10k, 50k.
        frechet: ``fid`` and ``sfid`` for the features of the published Fréchet inception distances alone, else ``fd``.
    """
    number = f"{count // 1000}k" if count >= 10_000 and count % 1000 == 0 else str(count)
    return f"{score.replace('fd', frechet, 1) if score.startswith(('fd', 'mifd')) else score}_{extractor}_{number}"
