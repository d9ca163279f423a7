"""What scores look through: fixed maps from images to feature vectors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.kernels import guard_convolutions


class Extractor(nn.Module, ABC):
    """A fixed map from images to feature vectors, read by `extract`.

    An extractor is a measuring instrument, kept outside every LightningModule. Where one is made a part of another
    module all the same, its weights stay out of that module's state, so that no checkpoint ever holds them.

    Attributes:
        name: what metrics carry in their own names: another map, another name.
        frechet: how the Fréchet distance of these features is called, before the name: ``fid`` for the features of
            the Fréchet inception distance as published, ``fd`` for all others.
        image_shape: ``(C, H, W)`` or ``(D,)`` of what it takes.
        num_features: D of the features ``(N, D)``.
        num_classes: number of class scores, None where it doesn't classify.
        class_names: what they are called; empty where that isn't known.
        resizes: whether it brings images of any size, grey or in colour, to its own by a named protocol.
    """

    name: str
    frechet: str = "fd"
    image_shape: tuple[int, ...]
    num_features: int
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    resizes: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_keep_own_weights)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)`` of images ``(N, *image_shape)`` in [-1, 1]."""

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class scores ``(N, num_classes)``; the scores are None where there are no classes."""
        return self(images), None

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether images of a shape ``(C, H, W)``, or points ``(D,)``, can be given."""
        return tuple(shape) == self.image_shape or (self.resizes and len(shape) == 3 and shape[0] in (1, 3))

    def knows(self, class_names: Sequence[str]) -> bool:
        """Whether class score i is that of the class i of these names; numbers stand for any of as many classes."""
        names = tuple(class_names)
        numbers = tuple(map(str, range(len(names))))
        return len(names) == self.num_classes and (not self.class_names or names in (self.class_names, numbers))

    @torch.inference_mode()
    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """`classify` as scores need it: float32 whatever the images' type, autocast off, eval mode, inference mode.

        Raises:
            ValueError: images of another shape than the extractor was made for (they are never resized in silence).
        """
        if not self.takes(images.shape[1:]):
            raise ValueError(
                f"images of shape {tuple(images.shape)}: extractor {self.name!r} takes (N, *{self.image_shape})"
            )
        guard_convolutions()
        self.eval()
        with torch.autocast(images.device.type, enabled=False):
            return self.classify(images.float())

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> Any:
        """The extractor's own weights; nothing of it as a part of another module, whose state it is not."""
        if prefix:
            return kwargs["destination"]
        return super().state_dict(*args, prefix=prefix, **kwargs)


def _keep_own_weights(extractor: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Whatever loads into a surrounding module finds the extractor's weights as they are."""
    if prefix:
        state.update({prefix + key: value for key, value in extractor.state_dict().items()})


class IdentityExtractor(Extractor):
    """The data themselves as features: for points ``(N, D)``, and for small images flattened."""

    name = "identity"

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.num_features = math.prod(image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """The images as rows."""
        return images.flatten(1)


class Pixels(IdentityExtractor):
    """Flattened pixels in [-1, 1]: distances that no network has a part in.

    Args:
        image_shape: ``(C, H, W)``.

    Raises:
        ValueError: points, which have no pixels.
    """

    name = "pixels"

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        if len(image_shape) != 3:
            raise ValueError(f"image_shape={tuple(image_shape)}: Pixels needs (C, H, W); points have IdentityExtractor")
        super().__init__(image_shape)


class ModuleExtractor(Extractor):
    """Any module's output ``(N, *)``, flattened, as features.

    The module is frozen and put into eval mode; its device and weights are its own.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)`` of the images it takes in [-1, 1].
        network: the module; called with images ``(N, *image_shape)``.
        name: what metrics will carry; it should say which weights these are.

    Raises:
        ValueError: a network that doesn't turn such images into one row each, or an empty name.
    """

    def __init__(self, image_shape: tuple[int, ...], network: nn.Module, name: str) -> None:
        super().__init__()
        if not name:
            raise ValueError("name='': metrics carry the extractor's name, so it needs one")
        self.name, self.image_shape = name, tuple(image_shape)
        self.network = network.eval().requires_grad_(False)
        self.num_features = self._count_features()

    def forward(self, images: Tensor) -> Tensor:
        """The module's output as rows."""
        return self.network(images).flatten(1)

    def _count_features(self) -> int:
        parameter = next(self.network.parameters(), torch.zeros(()))
        images = torch.zeros(2, *self.image_shape, device=parameter.device)
        network = type(self.network).__name__
        try:
            with torch.inference_mode():
                output = self.network(images)
        except RuntimeError as error:
            raise ValueError(f"network={network}: fails on images {tuple(images.shape)}: {error}") from error
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != 2:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"network={network}: gives {shape} for images {tuple(images.shape)}, needed is (2, *)")
        return output[0].numel()
