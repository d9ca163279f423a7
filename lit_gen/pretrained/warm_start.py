"""Networks that start from those of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lit_gen.pretrained.classes import heads_of_another_kind, of_mean_class
from lit_gen.pretrained.stored import locate, read_weights, stored_arguments

TOLD = 12  # tensors that a report names one by one
# Options of networks that change no function of the same tensors, or that their shapes and names tell.
TELLING_NOTHING = ("num_classes", "condition", "width", "init", "folded", "checkpointing")


def initialise(module: L.LightningModule, source: str) -> None:
    """Load the tensors of ``source`` that have the name and shape of one of ``module``'s, and say which they were.

    No class that the source names is imported. Networks that it doesn't have stay as they were initialised. Where it
    has other classes than the module, or one of them none, layers that take labels start from the mean class.

    Args:
        module: A module with all its networks.
        source: As ``lit_gen.from_pretrained`` takes it. Where weights are averaged, the averages are taken.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: for a damaged file, or if no weight matrix or kernel of a network that both have fits: it is
            another architecture.
    """
    path = locate(source)
    given = read_weights(path)
    own = {key: value for key, value in module.state_dict().items() if _network(key) != "memories"}  # of other data
    had_classes = any(key.endswith((".gain.weight", ".head.weight")) for key in given)
    of_classes = of_mean_class(module, given)
    given |= of_classes
    foreign = heads_of_another_kind(module, given)
    fitting = {
        key: value
        for key, value in given.items()
        if key in own and own[key].shape == value.shape and key not in foreign
    }
    taken, left, misfits = [], [], []
    for network in _networks(own):
        keys = [key for key in own if _network(key) == network]
        fit = [key for key in keys if key in fitting]
        kernels = [key for key in keys if own[key].ndim > 1] or keys  # a bias may have the same shape by chance
        if any(key in fitting for key in kernels):
            taken.append(f"{network} {len(fit)} of {len(keys)} tensors")
            left += [f"{key} ({_difference(own[key], given.get(key))})" for key in keys if key not in fitting]
        elif network in _networks(given):
            first = kernels[0]
            misfits.append(f"{network} (e.g. {first}: {_difference(own[first], given.get(first))})")
        else:
            left.append(f"{network} (absent there)")
    kind, there = type(module).__name__, ", ".join(_networks(given))
    if misfits or not taken:
        told = f"nothing fits of {' and of '.join(misfits)}" if misfits else f"it has {there}"
        raise ValueError(f"init_from={source!r}: another architecture than this {kind}'s, {told}")
    module.load_state_dict(fitting, strict=False)
    more = [f"and {len(left) - TOLD} more"] if len(left) > TOLD else []
    report = f"init_from {source}: {', '.join(taken)}"
    if of_classes.keys() & fitting.keys():
        report += ", classes at the mean of its own" if had_classes else ", each class as its images without"
    report += f"; left as initialised: {', '.join(left[:TOLD] + more)}" if left else ""
    rank_zero_info(report)
    if other := _other_options(_networks(own), module.hparams, stored_arguments(path)):
        rank_zero_warn(f"init_from={source!r}: the same weights make another function here: {', '.join(other)}")


def _other_options(networks: list[str], own: Any, stored: Any) -> list[str]:
    """Options of networks by which both were described, and which differ."""
    found = []
    for name in (name for name in own if any(network.startswith(name) for network in networks)):
        here, there = (_arguments(described.get(name)) for described in (own, stored))
        differing = [key for key in here if key in there and key not in TELLING_NOTHING and here[key] != there[key]]
        found += [f"{name}.{key} is {here[key]!r}, {there[key]!r} there"[:100] for key in differing]
    return found


def _arguments(described: Any) -> dict[str, Any]:
    """Of a network's description; none of other values."""
    arguments = described.get("init_args") if isinstance(described, Mapping) else None
    return dict(arguments) if isinstance(arguments, Mapping) else {}


def _network(key: str) -> str:
    return key.partition(".")[0]


def _networks(state: dict[str, Tensor]) -> list[str]:
    return list(dict.fromkeys(map(_network, state)))


def _difference(own: Tensor, given: Tensor | None) -> str:
    if given is None:
        return "absent there"
    if own.shape == given.shape:
        return "of another kind there"
    return f"shape {tuple(own.shape)} here, {tuple(given.shape)} there"
