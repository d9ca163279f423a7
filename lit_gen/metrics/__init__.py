"""Scores of samples against data, as `torchmetrics.Metric`s and plain functions, and the networks they look through."""

from lit_gen.metrics.classes import ClassCoverage
from lit_gen.metrics.classifiers import (
    SHIPPED,
    DataSetClassifier,
    SmallCNN,
    SmallResNet,
    load_extractor,
    save_extractor,
)
from lit_gen.metrics.coverage import MixtureCoverage, StackedCoverage, read_stacked, reverse_kl
from lit_gen.metrics.divergences import js_divergence, kl_divergence
from lit_gen.metrics.extractors import Extractor, IdentityExtractor, ModuleExtractor, Pixels
from lit_gen.metrics.fast_extractor import FastExtractor
from lit_gen.metrics.frechet import frechet_distance
from lit_gen.metrics.inception_fid import InceptionFID
from lit_gen.metrics.moments import FeatureMoments, Moments
from lit_gen.metrics.transport import sinkhorn, sliced_wasserstein, wasserstein

__all__ = [
    "SHIPPED",
    "ClassCoverage",
    "DataSetClassifier",
    "Extractor",
    "FastExtractor",
    "FeatureMoments",
    "IdentityExtractor",
    "InceptionFID",
    "MixtureCoverage",
    "ModuleExtractor",
    "Moments",
    "Pixels",
    "SmallCNN",
    "SmallResNet",
    "StackedCoverage",
    "frechet_distance",
    "js_divergence",
    "kl_divergence",
    "load_extractor",
    "read_stacked",
    "reverse_kl",
    "save_extractor",
    "sinkhorn",
    "sliced_wasserstein",
    "wasserstein",
]
