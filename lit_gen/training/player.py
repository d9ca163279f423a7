"""A player: networks that are stepped together, and how."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lit_gen.optimizers import AutoencoderAdam, GANAdam, OptimizerCallable, decay_groups
from lit_gen.schedulers import LRSchedulerCallable

if TYPE_CHECKING:  # a model that isn't trained needs no Lightning
    import lightning.pytorch as L
    from lightning.pytorch.core.optimizer import LightningOptimizer
from lit_gen.training.augmentation.base import Augmentation


@dataclass
class Player:
    """One side of the game.

    Args:
        name: Prefix of its arguments and of its logged values, e.g. ``generator``.
        networks: Names of the module's attributes that it owns.
        optimizer: Makes its optimizer from its parameters.
        scheduler: Makes its learning-rate scheduler, stepped after each of its updates.
        clip_norm: Largest norm of its whole gradient; larger ones are scaled down.
        accumulate: Number of parts in which a batch is taken, to save memory.
        freeze: Layers of each of its networks that keep their weights: the first so many, or by their names.
        matrices_decay_alone: Whether weight decay leaves embeddings, norms and biases out, as of transformers.

    Raises:
        ValueError: if a setting is out of range.
    """

    name: str
    networks: tuple[str, ...]
    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    freeze: int | Sequence[str] = 0
    matrices_decay_alone: bool = False

    parameters: list[nn.Parameter] = field(init=False, default_factory=list)
    torch_optimizer: torch.optim.Optimizer | None = field(init=False, default=None)
    lr_scheduler: LRScheduler | None = field(init=False, default=None)
    _steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"{self.name}_clip_norm={self.clip_norm}: a positive norm, or null for no clipping")
        if self.accumulate < 1:
            raise ValueError(f"{self.name}_accumulate={self.accumulate}: at least 1 part is needed")
        if isinstance(self.freeze, int) and self.freeze < 0:
            raise ValueError(f"{self.name}_freeze={self.freeze}: a number of layers, or their names")

    def __deepcopy__(self, memo: dict[int, Any]) -> Player:
        """A copy for the copied module: its parameters by ``memo``, what makes optimizers shared, none made yet."""
        twin = copy.copy(self)
        twin.parameters = copy.deepcopy(self.parameters, memo)
        twin.torch_optimizer = twin.lr_scheduler = None
        return twin

    def freeze_layers(self, module: nn.Module) -> None:
        """Freeze the layers that ``freeze`` says, before the optimizer is made; batch norms still follow their batches.

        Raises:
            ValueError: for a name that no network has, or a count that leaves nothing to train.
        """
        for network in self.networks if self.freeze else ():
            layers = dict(module.get_submodule(network).named_modules())
            weighty = [name for name, layer in layers.items() if name and has_own_weights(layer)]
            if isinstance(self.freeze, int):
                if self.freeze >= len(weighty):
                    kept = f"below the {len(weighty)} layers with weights of {network}"
                    raise ValueError(f"{self.name}_freeze={self.freeze}: a number {kept}")
                chosen = weighty[: self.freeze]
            else:
                chosen = [self.freeze] if isinstance(self.freeze, str) else list(self.freeze)
            for name in chosen:
                if not name or name not in layers:
                    told = f"{network} has {', '.join(weighty)}"
                    raise ValueError(f"{self.name}_freeze={name!r}: no such layer; {told}")
                layers[name].requires_grad_(False)

    def configuration(self, module: nn.Module) -> dict[str, Any]:
        """Collect the trainable parameters and make optimizer and scheduler, in Lightning's form."""
        self.parameters = [
            p for network in self.networks for p in module.get_submodule(network).parameters() if p.requires_grad
        ]
        if not self.parameters:
            raise ValueError(f"the {self.name} ({', '.join(self.networks)}) has no trainable parameters")
        self.torch_optimizer = self.new_optimizer(module)
        self.torch_optimizer.register_step_post_hook(self._count_step)
        if self.scheduler is None:
            return {"optimizer": self.torch_optimizer}
        scheduler = self.scheduler(self.torch_optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                f"{self.name}_scheduler=ReduceLROnPlateau needs a metric: take one that counts updates, "
                "such as torch.optim.lr_scheduler.LinearLR"
            )
        self.lr_scheduler = scheduler
        return {
            "optimizer": self.torch_optimizer,
            "lr_scheduler": {"scheduler": scheduler, "name": f"lr-{self.name}"},
        }

    def new_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of the trainable parameters, which are known by now."""
        if not self.matrices_decay_alone:
            return self.optimizer(self.parameters)
        layers = (layer for network in self.networks for layer in module.get_submodule(network).modules())
        return self.optimizer(decay_groups(self.parameters, layers))

    def clip(self, module: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Scale a gradient above ``clip_norm`` down to it, if ``optimizer`` is this player's."""
        if optimizer is not self.torch_optimizer or self.clip_norm is None:
            return
        if module.trainer.scaler is None:  # then fused optimizers, which unscale by themselves, may be clipped too
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        else:
            module.clip_gradients(optimizer, self.clip_norm, "norm")

    def step(self, optimizer: LightningOptimizer, counted: bool, permitted: bool) -> bool:
        """One step and its schedule's.

        Args:
            optimizer: Lightning's, of this player.
            counted: Whether this turn counts in global_step, which would add up the turns of all optimizers.
            permitted: Whether the step may be made; a turn counts all the same.

        Returns:
            Whether the step was made: a gradient scaler may leave it out too.
        """
        before = self._steps
        if not counted:  # the loop restores these hooks at each batch
            optimizer._on_before_step = optimizer._on_after_step = _nothing
        if permitted:
            optimizer.step()
        else:
            optimizer._on_before_step()
            optimizer._on_after_step()
        if self._steps > before and self.lr_scheduler is not None:
            self.lr_scheduler.step()
        return self._steps > before

    def _count_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        # A scaler calls a fused optimizer in any case, and tells it whether the gradient overflows.
        overflow: torch.Tensor | None = getattr(optimizer, "found_inf", None)
        self._steps += overflow is None or not overflow.any()


def _nothing() -> None:
    """In the place of a hook."""


def has_own_weights(layer: nn.Module) -> bool:
    """Whether a layer itself has weights, those under a parametrization such as spectral norm among them."""
    if isinstance(layer, parametrize.ParametrizationList):  # the part of such a layer that holds them
        return False
    return parametrize.is_parametrized(layer) or any(True for _ in layer.parameters(recurse=False))


@contextmanager
def alone(moving: list[Player], players: list[Player]) -> Iterator[None]:
    """Within, the weights of all players but the ``moving`` ones are frozen: no gradient of theirs is computed.

    What a user has frozen stays so.
    """
    own = {id(p) for player in moving for p in player.parameters}
    idle = [p for player in players for p in player.parameters if id(p) not in own and p.requires_grad]
    for parameter in idle:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in idle:
            parameter.requires_grad_(True)


def check_names(kind: type, given: Mapping[str, Any], options: type) -> None:
    """Refuse arguments of a constructor that are none of the fields of ``options``.

    Raises:
        TypeError: naming the first of them, what was perhaps meant, and what is accepted.
    """
    accepted = [field.name for field in fields(options)]
    for name in given:
        if name not in accepted:
            close = difflib.get_close_matches(name, accepted, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            own = [n for n in inspect.signature(kind).parameters if n not in ("players", "kwargs")]
            raise TypeError(f"{kind.__name__}: no argument {name}; {hint}accepted: {', '.join(own + accepted)}")


KEYS = ("optimizer", "scheduler", "clip_norm", "accumulate", "freeze")  # what each of the two has


@dataclass
class Adversaries:
    """What a generator and a discriminator are trained by, beside their networks.

    Args:
        generator_optimizer: Any class of torch.optim or lit_gen.optimizers.
        discriminator_optimizer: Likewise.
        generator_scheduler: Learning-rate schedule counted in generator updates, such as
            lit_gen.schedulers.ConstantThenLinear.
        discriminator_scheduler: Learning-rate schedule counted in discriminator updates.
        generator_clip_norm: Largest gradient norm.
        discriminator_clip_norm: Largest gradient norm.
        generator_accumulate: Parts in which a batch is taken, to save memory.
        discriminator_accumulate: Likewise.
        generator_freeze: Layers that keep the weights they start from, as those of ``init_from``: the first so many, or
            their names.
        discriminator_freeze: Likewise; the first ones are those next to the image (FreezeD, Mo et al. 2020,
            arXiv:2002.10964).
        augmentation: Random transformations of all images that a discriminator sees, real and generated, against
            overfitting to few images (``DiffAugment``, ``ADA``); null for none.
    """

    generator_optimizer: OptimizerCallable = GANAdam
    discriminator_optimizer: OptimizerCallable = GANAdam
    generator_scheduler: LRSchedulerCallable | None = None
    discriminator_scheduler: LRSchedulerCallable | None = None
    generator_clip_norm: float | None = None
    discriminator_clip_norm: float | None = None
    generator_accumulate: int = 1
    discriminator_accumulate: int = 1
    generator_freeze: int | list[str] = 0
    discriminator_freeze: int | list[str] = 0
    augmentation: Augmentation | None = None

    def player(self, name: Literal["generator", "discriminator"], *networks: str) -> Player:
        """One of the two, with the module's attributes that it owns."""
        own = {key: getattr(self, f"{name}_{key}") for key in KEYS}
        return Player(name, networks, **own)


@dataclass
class AutoencoderPlayers:
    """What an autoencoder and its discriminator are trained by, beside their networks.

    Args:
        autoencoder_optimizer: Any class of torch.optim or lit_gen.optimizers.
        discriminator_optimizer: Likewise.
        autoencoder_scheduler: Learning-rate schedule counted in updates.
        discriminator_scheduler: Likewise.
        autoencoder_clip_norm: Largest gradient norm.
        discriminator_clip_norm: Largest gradient norm.
        autoencoder_accumulate: Parts in which a batch is taken, to save memory.
        discriminator_accumulate: Likewise.
    """

    autoencoder_optimizer: OptimizerCallable = AutoencoderAdam
    discriminator_optimizer: OptimizerCallable = AutoencoderAdam
    autoencoder_scheduler: LRSchedulerCallable | None = None
    discriminator_scheduler: LRSchedulerCallable | None = None
    autoencoder_clip_norm: float | None = None
    discriminator_clip_norm: float | None = None
    autoencoder_accumulate: int = 1
    discriminator_accumulate: int = 1

    def player(self, name: Literal["autoencoder", "discriminator"], *networks: str) -> Player:
        """One of the two, with the module's attributes that it owns."""
        own = {key: getattr(self, f"{name}_{key}") for key in ("optimizer", "scheduler", "clip_norm", "accumulate")}
        return Player(name, networks, **own)
