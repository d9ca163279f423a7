"""Weights of a model of some classes, for a model of other classes or of none, which start from the mean class."""

from collections.abc import Mapping

from torch import Tensor, nn

from lit_gen.networks.conditioning import FeatureDiscriminator, Projection
from lit_gen.networks.layers import BATCH_NORMS, ConditionalBatchNorm

PARAMETERS = {"gain": "weight", "bias": "bias"}  # of conditional batch norm, and of a plain one


def of_mean_class(module: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a module's layers take from those of layers of other classes, by the module's own names.

    - Batch norm: the mean gain and bias over the source's classes, for each class of its own if it has any, and the
      source's running statistics; a source without classes gives each class its gain and bias.
    - Projection: the mean embedding for each class; without classes it joins the score's weight, which then gives the
      mean of the source's scores over its classes.

    Where as many classes meet as many, nothing is taken: their tensors fit as they are.
    """
    found: dict[str, Tensor] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, ConditionalBatchNorm):
            found |= _of_classes(name, layer, given)
        elif isinstance(layer, BATCH_NORMS):
            found |= _of_none(name, layer, given)
        elif isinstance(layer, FeatureDiscriminator):
            found |= _of_scores(name, layer, given)
    return found


def heads_of_another_kind(module: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    """Weights of classifiers where the source has projections, or the other way: of one shape, with another meaning."""
    return {
        f"{name}.head.weight"
        for name, layer in module.named_modules()
        if isinstance(layer, FeatureDiscriminator)
        and f"{name}.head.weight" in given
        and isinstance(layer.head, Projection) == _classifies(name, given)
    }


def _classifies(name: str, given: Mapping[str, Tensor]) -> bool:
    """Whether the source's head gives classes, which a projection does without a bias."""
    return f"{name}.head.bias" in given


def _of_classes(name: str, layer: ConditionalBatchNorm, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    buffers = {f"{name}.norm.{key}": f"{name}.{key}" for key, _ in layer.norm.named_buffers()}
    found = {key: given[source] for key, source in buffers.items() if source in given}
    for own, plain in PARAMETERS.items():
        key, shape = f"{name}.{own}.weight", getattr(layer, own).weight.shape
        source = given.get(key, given.get(f"{name}.{plain}"))
        if source is not None and source.shape != shape:
            found[key] = _mean(source).expand(shape[0], -1)
    return found


def _of_none(name: str, layer: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if f"{name}.gain.weight" not in given:
        return {}
    means = {f"{name}.{plain}": f"{name}.{own}.weight" for own, plain in PARAMETERS.items()}
    found = {key: _mean(given[source])[0] for key, source in means.items() if source in given}
    buffers = {f"{name}.{key}": f"{name}.norm.{key}" for key, _ in layer.named_buffers()}
    return found | {key: given[source] for key, source in buffers.items() if source in given}


def _of_scores(name: str, layer: FeatureDiscriminator, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    embeddings, score = given.get(f"{name}.head.weight"), given.get(f"{name}.score.weight")
    if embeddings is None or _classifies(name, given):  # which is no part of the score
        return {}
    if isinstance(layer.head, Projection):
        shape = layer.head.weight.shape
        return {f"{name}.head.weight": _mean(embeddings).expand(shape[0], -1)} if embeddings.shape != shape else {}
    return {f"{name}.score.weight": score.float() + _mean(embeddings)} if score is not None else {}


def _mean(source: Tensor) -> Tensor:
    """Over the classes, ``(1, features)``."""
    return source.float().reshape(-1, source.shape[-1]).mean(0, keepdim=True)
