"""What every model is without its training: networks by name, averages of their weights, and what it was made of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn
from typing_extensions import Self

from lit_gen.kernels import guard_short, load_constants
from lit_gen.models.codec import Codec
from lit_gen.pretrained.specification import described_arguments
from lit_gen.training.averaging import ExponentialMovingAverage
from lit_gen.training.player import Player
from lit_gen.training.view import View


class GenerativeModel(nn.Module):
    """A generative model. The base holds no mathematics and, as all models here, knows no Trainer.

    Its constructor takes all that describes the model, how it is trained included: what a class of
    :mod:`lit_gen.modules` of the same name would train by it is kept, and is not used here.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``.
        ema_half_life: Half-life of the weight averages in images; None for none.
        ema_ramp_up: Its bound as a share of the images seen; None for none.

    Attributes:
        averages: Weight averages of networks by name.
        memories: State of options that learn from updates, by name.
        pack: Images that a discriminator judges as one.
        class_names: Of the classes of a conditional model, in the order of its labels.
        models: What the class models: ``images``, points included, or ``latents`` or ``codes`` of images.
        codec: The autoencoder of the latents or codes that it has learned, which makes pictures of them; None for
            images.
        hparams: The constructor's arguments as plain values, with ``_class_path``.

    Raises:
        ValueError: for a half-life that is not positive.
    """

    hparams: Any
    class_names: Sequence[str] = ()
    models: ClassVar[tuple[str, ...]] = ("images",)
    codec: Codec | None = None

    def __init__(
        self,
        image_shape: tuple[int, ...],
        ema_half_life: float | None,
        ema_ramp_up: float | None = None,
    ) -> None:
        if ema_half_life is not None and not ema_half_life > 0:
            raise ValueError(f"ema_half_life={ema_half_life}: a positive number of images, or null for no average")
        super().__init__()
        load_constants()
        self.ema_half_life, self.ema_ramp_up = ema_half_life, ema_ramp_up
        self.averages, self.memories = nn.ModuleDict(), nn.ModuleDict()
        self.image_shape = tuple(image_shape)
        self.pack = 1
        self._players: list[Player] = []
        self._remembered: dict[str, list[tuple[str, str]]] = {}
        self._keep_arguments()

    def _keep_arguments(self) -> None:
        """Keep what the constructor was given, as plain values in ``hparams``."""
        self.hparams = described_arguments(self)

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """Name the players, first the one that steps once per training batch, and the networks to average.

        All networks exist by now, and in a module that trains start from the weights of ``init_from`` if it is given.

        Raises:
            ValueError: for ``init_from`` in a model that doesn't train.
        """
        if init_from is not None:
            raise ValueError(
                f"init_from={init_from!r}: begins a training, which the classes of lit_gen.modules are for"
            )
        self._players = players
        if self.ema_half_life is not None:
            for name in averaged:
                network = self.get_submodule(name)
                self.averages[name] = ExponentialMovingAverage(network, self.ema_half_life, self.ema_ramp_up)

    def remember(self, name: str, option: Any, player: str, ending: str = "") -> None:
        """Keep the ``Memory`` of an option as ``memories[name]``, if it has one, told of this player's updates.

        Of values whose names have the ``ending``, those of one of several discriminators, it is told without it.
        """
        if (memory := option.memory() if hasattr(option, "memory") else None) is not None:
            self.memories[name] = memory
            self._remembered.setdefault(player, []).append((name, ending))

    def remember_view(self, view: View, name: str = "augmentation", ending: str = "") -> None:
        """Keep the ``Memory`` of what a discriminator's view augments by, if it has one, and give it to the view."""
        self.remember(name, view.augmentation, "discriminator", ending)
        view.memory = self.recall(name).get("memory")

    def recall(self, name: str) -> dict[str, Any]:
        """The memory of that name as the option's methods take it: ``{"memory": ...}``, or nothing if it has none."""
        return {"memory": self.memories[name]} if name in self.memories else {}

    @property
    def picture_shape(self) -> tuple[int, ...]:
        """That of the images it draws: ``image_shape``, or what its codec decodes latents to."""
        return self.image_shape if self.codec is None else self.codec.image_shape

    def pictures(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(N, *picture_shape)`` in [-1, 1] of what is modelled: itself, or decoded by the codec."""
        return x if self.codec is None else self.codec.decode(x).to(x.dtype if x.is_floating_point() else self.dtype)

    def from_pictures(self, images: torch.Tensor) -> torch.Tensor:
        """What is modelled of images ``(N, *picture_shape)`` in [-1, 1]: themselves, or encoded by the codec."""
        return images if self.codec is None else self.codec.encode(images)

    def as_input(self, x: torch.Tensor, name: str = "images") -> torch.Tensor:
        """What a network takes, on the model's device and in its precision.

        Raises:
            ValueError: for whole numbers, whose scale nobody can know.
        """
        if not x.is_floating_point():
            raise ValueError(
                f"{name} of {x.dtype}: a {type(self).__name__} takes floating-point values, pictures in [-1, 1]; "
                "bytes become such by x / 127.5 - 1"
            )
        return x.to(self.device, self.dtype)

    @property
    def device(self) -> torch.device:
        """That of the weights."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> Any:  # a torch.dtype; Lightning's own, with which a module is compatible, is written differently
        """That of the weights, however they were converted."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        raise RuntimeError(f"dtype={dtype}: weights are converted by `to(dtype)`")

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """As any module's; what comes to compute in 16 bits is guarded, whose trial costs nobody else a second."""
        super()._apply(fn, recurse)
        guard_short(self.dtype)
        return self

    def network(self, name: str) -> nn.Module:
        """The average of the network ``name`` if one is kept, else the network itself."""
        return self.get_submodule(f"averages.{name}.network" if name in self.averages else name)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within, all networks are in eval mode."""
        guard_short(self.dtype)
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
