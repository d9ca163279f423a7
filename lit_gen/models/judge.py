"""The discriminator as losses, penalties, unrolled steps and monitors meet it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lit_gen.losses import AdversarialLoss
from lit_gen.networks import couples_batch
from lit_gen.training.view import View


class Scores(NamedTuple):
    """Raw scores ``(N,)`` or of patches, of real and of generated images; class scores ``(2N, num_classes)`` if any."""

    real: Tensor
    fake: Tensor
    classes: Tensor | None = None


class Judge(nn.Module):
    """x → D(x, y): raw scores of images alone, with the labels y given.

    Args:
        discriminator: D.
        labels: y ``(N,)`` of a conditional D. For k N images, such as real and generated ones in a pass, they are
            repeated.
        classifies: Whether D also classifies, as an AC-GAN's does; it then gets no labels.
        shared_pass: Whether real and generated images may share a pass, as they may unless D compares the samples of
            a batch; None to look.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        labels: Tensor | None = None,
        classifies: bool = False,
        shared_pass: bool | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.labels, self.classifies = labels, classifies
        self.shared_pass = not couples_batch(discriminator) if shared_pass is None else shared_pass

    def forward(self, x: Tensor) -> Tensor:
        """Raw scores ``(k N,)``."""
        return self.score(x)[0]

    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw scores ``(k N,)``, and class scores ``(k N, num_classes)`` if D classifies."""
        if self.classifies:
            scores, classes = self.discriminator.classify(x)  # type: ignore[operator]
            return scores, classes
        y = () if self.labels is None else (self.labels.repeat(len(x) // len(self.labels)),)
        return self.discriminator(x, *y), None

    def both(self, real: Tensor, fake: Tensor) -> Scores:
        """Scores of two batches, by one pass if they may share it."""
        fake = fake.to(real.dtype)
        if self.shared_pass:
            scores, classes = self.score(torch.cat([real, fake]))
            return Scores(scores[: len(real)], scores[len(real) :], classes)
        (of_real, first), (of_fake, second) = self.score(real), self.score(fake)
        return Scores(of_real, of_fake, None if first is None or second is None else torch.cat([first, second]))

    def generator_loss(
        self, loss: AdversarialLoss, fake: Tensor, real: Tensor | None, **memory: Any
    ) -> tuple[Tensor, Tensor | None]:
        """L_G(D(G(z))), or L_G(D(G(z)), D(x)) of a loss that compares them; class scores of the fakes if any.

        Real images have a pass of their own, which keeps no graph: D is frozen, and x has no gradient.
        """
        compared = (self.score(real)[0],) if loss.needs_real and real is not None else ()
        of_fake, classes = self.score(fake)
        return loss.generator(of_fake, *compared, **memory), classes


class Viewed(nn.Module):
    """x → D(view of x): scores of images as they are, for derivatives in them through the view.

    Args:
        judge: D.
        view: What D sees of images.
        numbers: The view's, a row for each image, or pack.
    """

    def __init__(self, judge: Judge, view: View, numbers: Tensor | None) -> None:
        super().__init__()
        self.judge, self.view, self.numbers = judge, view, numbers

    def forward(self, x: Tensor) -> Tensor:
        """Raw scores ``(N,)`` of images, or packs, ``(N, *)``."""
        return self.judge(self.view(x, self.numbers))


class BothViewed(Viewed):
    """D of real images and, behind them in one batch, generated ones, each through the view's numbers for them.

    Attributes:
        halves: D of real, and of generated images alone.
    """

    def __init__(self, judge: Judge, view: View, real: Tensor, fake: Tensor) -> None:
        super().__init__(judge, view, torch.cat([real, fake]))
        self.halves = tuple(Viewed(judge, view, numbers) for numbers in (real, fake))
