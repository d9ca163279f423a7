"""Scores of samples against data, as `torchmetrics.Metric`s and plain functions, and the networks they look through."""

from lit_gen.metrics.bank import FeatureBank, Features
from lit_gen.metrics.classes import ClassCoverage
from lit_gen.metrics.classifiers import (
    SHIPPED,
    DataSetClassifier,
    SmallCNN,
    SmallResNet,
    load_extractor,
    save_extractor,
)
from lit_gen.metrics.codes import CodeUsage
from lit_gen.metrics.coverage import MixtureCoverage, StackedCoverage, read_stacked, reverse_kl
from lit_gen.metrics.divergences import js_divergence, kl_divergence
from lit_gen.metrics.extractor_training import train_extractor
from lit_gen.metrics.extractors import Extractor, IdentityExtractor, ModuleExtractor, Pixels
from lit_gen.metrics.fast_extractor import FastExtractor
from lit_gen.metrics.frechet import class_frechet, frechet_distance, frechet_infinity, frechet_of_moments
from lit_gen.metrics.inception import InceptionScore
from lit_gen.metrics.inception_fid import InceptionFID
from lit_gen.metrics.kernel import kernel_distance, kernel_distance_of_subsets, kernel_within
from lit_gen.metrics.likelihood.annealed import annealed_importance_sampling, sigmoid_schedule
from lit_gen.metrics.likelihood.importance import (
    ImportanceWeights,
    MeanPerImage,
    effective_sample_size,
    importance_sampling,
)
from lit_gen.metrics.likelihood.latent import AggregatePosterior, LatentUnits
from lit_gen.metrics.manifold import Neighbours
from lit_gen.metrics.memorisation import memorisation_distance, memorisation_informed
from lit_gen.metrics.moments import FeatureMoments, Moments
from lit_gen.metrics.path_length import feature_distance, perceptual_path_length
from lit_gen.metrics.pickled import read_pickled
from lit_gen.metrics.published import PublishedExtractor, published_extractor
from lit_gen.metrics.scores import SCORES, Comparison, ScoreOptions, compute_scores
from lit_gen.metrics.statistics import Protocol, read_statistics, write_statistics
from lit_gen.metrics.transport import sinkhorn, sliced_wasserstein, wasserstein
from lit_gen.metrics.two_sample import LinearClassifier, class_transfer, logistic_two_sample_test
from lit_gen.metrics.vendi import vendi_score
from lit_gen.value_ranges import to_signed

__all__ = [
    "SCORES",
    "SHIPPED",
    "AggregatePosterior",
    "ClassCoverage",
    "CodeUsage",
    "Comparison",
    "DataSetClassifier",
    "Extractor",
    "FastExtractor",
    "FeatureBank",
    "FeatureMoments",
    "Features",
    "IdentityExtractor",
    "ImportanceWeights",
    "InceptionFID",
    "InceptionScore",
    "LatentUnits",
    "LinearClassifier",
    "MeanPerImage",
    "MixtureCoverage",
    "ModuleExtractor",
    "Moments",
    "Neighbours",
    "Pixels",
    "Protocol",
    "PublishedExtractor",
    "ScoreOptions",
    "SmallCNN",
    "SmallResNet",
    "StackedCoverage",
    "annealed_importance_sampling",
    "class_frechet",
    "class_transfer",
    "compute_scores",
    "effective_sample_size",
    "feature_distance",
    "frechet_distance",
    "frechet_infinity",
    "frechet_of_moments",
    "importance_sampling",
    "js_divergence",
    "kernel_distance",
    "kernel_distance_of_subsets",
    "kernel_within",
    "kl_divergence",
    "load_extractor",
    "logistic_two_sample_test",
    "memorisation_distance",
    "memorisation_informed",
    "perceptual_path_length",
    "published_extractor",
    "read_pickled",
    "read_stacked",
    "read_statistics",
    "reverse_kl",
    "save_extractor",
    "sigmoid_schedule",
    "sinkhorn",
    "sliced_wasserstein",
    "to_signed",
    "train_extractor",
    "vendi_score",
    "wasserstein",
    "write_statistics",
]
