"""Scores of samples against data, as `torchmetrics.Metric`s and plain functions, and the networks they look through."""

from lit_gen.metrics.classes import ClassCoverage
from lit_gen.metrics.coverage import MixtureCoverage, StackedCoverage, read_stacked, reverse_kl
from lit_gen.metrics.extractors import (
    SHIPPED,
    Extractor,
    IdentityExtractor,
    SmallCNN,
    load_extractor,
    save_extractor,
)
from lit_gen.metrics.frechet import frechet_distance
from lit_gen.metrics.moments import FeatureMoments, Moments

__all__ = [
    "SHIPPED",
    "ClassCoverage",
    "Extractor",
    "FeatureMoments",
    "IdentityExtractor",
    "MixtureCoverage",
    "Moments",
    "SmallCNN",
    "StackedCoverage",
    "frechet_distance",
    "load_extractor",
    "read_stacked",
    "reverse_kl",
    "save_extractor",
]
