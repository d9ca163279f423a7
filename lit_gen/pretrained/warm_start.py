"""Networks that start from those of a trained model."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lit_gen.pretrained.classes import of_mean_class
from lit_gen.pretrained.stored import locate, read_weights

TOLD = 12  # tensors that a report names one by one


def initialise(module: nn.Module, source: str) -> None:
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
    given = read_weights(locate(source))
    own = {key: value for key, value in module.state_dict().items() if _network(key) != "memories"}  # of other data
    of_classes = of_mean_class(module, given)
    given |= of_classes
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
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
    mean = ", classes at the mean of its own" if of_classes.keys() & fitting.keys() else ""
    report = f"init_from {source}: {', '.join(taken)}{mean}"
    rank_zero_info(report + (f"; left as initialised: {', '.join(left[:TOLD] + more)}" if left else ""))


def _network(key: str) -> str:
    return key.partition(".")[0]


def _networks(state: dict[str, Tensor]) -> list[str]:
    return list(dict.fromkeys(map(_network, state)))


def _difference(own: Tensor, given: Tensor | None) -> str:
    return "absent there" if given is None else f"shape {tuple(own.shape)} here, {tuple(given.shape)} there"
