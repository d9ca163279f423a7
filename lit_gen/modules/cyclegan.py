"""Unpaired translation between two domains of images."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lit_gen.losses import AdversarialLoss, LeastSquares
from lit_gen.modules.base import Batch, GenerativeModule
from lit_gen.modules.judge import Judge
from lit_gen.networks import Discriminator, PatchGAN, ResNetTranslator, Translator, couples_batch
from lit_gen.precision import float32_or_better
from lit_gen.training.augmentation.ada import followed
from lit_gen.training.image_pool import ImagePool
from lit_gen.training.player import Adversaries, check_names
from lit_gen.training.view import View

Domain = Literal["a", "b"]
TranslatorFactory = Callable[[tuple[int, ...]], Translator]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]

TRANSLATE_BATCH = 32  # images translated at once, which bounds the memory


class CycleGAN(GenerativeModule):
    """CycleGAN (Zhu et al. 2017, arXiv:1703.10593): two generators that undo each other.

    G: a → b is ``generator_ab`` and F: b → a ``generator_ba``. One training batch ``{"a": (images, labels), "b": …}``
    is one joint step of both generators on

        w [L_G(D_B(G(a))) + L_G(D_A(F(b)))]  +  λ [‖F(G(a)) − a‖₁ + ‖G(F(b)) − b‖₁]
            +  λ κ [‖G(b) − b‖₁ + ‖F(a) − a‖₁],

    norms being means over pixels, and then one joint step of both discriminators on real images and on that
    step's translations, exchanged with older ones from two image pools.

    Args:
        image_shape: ``(C, H, W)`` of both domains; on the command line it comes from the data module.
        generator: Makes each generator from (image_shape).
        discriminator: Makes each discriminator from (image_shape); one score an image or a patch.
        loss: What the players minimise; the mean over all scores.
        adversarial_weight: w. The paper's least squares have no ½ in the generator's term, `LeastSquares` has: 2
            restores the paper's proportions. The discriminators' loss has the ½ in both.
        cycle_weight: λ.
        identity_factor: κ, by which the identity terms' weight is a multiple of λ; 0 leaves them out.
        pool_size: Translations kept of each domain; 0 for none.
        ema_half_life: Half-life of the generators' weight averages in images of one domain; null for none.
            Translations outside training come from the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.
        **players: How both generators, and both discriminators, are trained: the arguments of ``Adversaries``.

    Raises:
        ValueError: for weights or sizes out of range.
    """

    options: ClassVar = (Adversaries,)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: TranslatorFactory = ResNetTranslator,
        discriminator: DiscriminatorFactory = PatchGAN,
        loss: AdversarialLoss = LeastSquares(),
        adversarial_weight: float = 2.0,
        cycle_weight: float = 10.0,
        identity_factor: float = 0.5,
        pool_size: int = 50,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        init_from: str | None = None,
        **players: Any,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up)
        weights = {
            "adversarial_weight": adversarial_weight,
            "cycle_weight": cycle_weight,
            "identity_factor": identity_factor,
        }
        for name, weight in weights.items():
            if not weight >= 0:
                raise ValueError(f"{name}={weight}: the weight of a loss can't be negative")
        if getattr(loss, "memory", None) is not None:
            raise ValueError(f"loss={type(loss).__name__}: CycleGAN's two discriminators have no memory for it")
        check_names(type(self), players, Adversaries)
        trained_by = Adversaries(**players)
        self.loss, self.adversarial_weight = loss, adversarial_weight
        self.cycle_weight, self.identity_factor = cycle_weight, identity_factor
        self.pools = {"a": ImagePool(pool_size), "b": ImagePool(pool_size)}
        self.generator_ab, self.generator_ba = generator(self.image_shape), generator(self.image_shape)
        self.discriminator_a, self.discriminator_b = discriminator(self.image_shape), discriminator(self.image_shape)
        self.views = {d: View(augmentation=trained_by.augmentation, image_shape=self.image_shape) for d in ("a", "b")}
        for domain, view in self.views.items():
            self.remember(name := f"augmentation_{domain}", view.augmentation, "discriminator", ending=f"_{domain}")
            view.memory = self.recall(name).get("memory")
        generators, discriminators = ("generator_ab", "generator_ba"), ("discriminator_a", "discriminator_b")
        self.define(
            [trained_by.player("generator", *generators), trained_by.player("discriminator", *discriminators)],
            averaged=list(generators),
            init_from=init_from,
        )

    def training_step(self, batch: dict[Domain, Batch], batch_idx: int) -> None:
        """Both generators, then both discriminators on what those have made and on older translations."""
        a, b = (images_of(batch, domain).to(self.dtype) for domain in ("a", "b"))
        made: list[tuple[Tensor, Tensor]] = []

        def generators(a: Tensor, b: Tensor, *view_numbers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, fakes = self.generator_loss(a, b, *view_numbers)
            made.append(fakes)
            return loss, values

        if not self.update("generator", generators, a, b, *self.view_numbers(a, b)):
            return  # their translations may be what is wrong
        fake_a, fake_b = (torch.cat(parts) for parts in zip(*made, strict=True))
        fake_a, fake_b = self.exchanged("a", fake_a), self.exchanged("b", fake_b)
        self.update("discriminator", self.discriminator_loss, a, b, fake_a, fake_b, *self.view_numbers(a, b))

    def view_numbers(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Random numbers of the discriminators' views of a, b, translations to a, and to b; none without augmentation.

        There are as many translations to a as images of b, and the reverse.
        """
        batches = ("a", a), ("b", b), ("a", b), ("b", a)
        drawn = [self.views[domain].numbers(x, self.random, self.images_seen) for domain, x in batches]
        return [numbers for numbers in drawn if numbers is not None]

    def seen(self, numbers: tuple[Tensor, ...], *images: Tensor) -> list[Tensor]:
        """Images of a, b, translations to a, and to b as the discriminators see them, by :meth:`view_numbers`."""
        if not numbers:
            return list(images)
        views = (self.views["a"], self.views["b"]) * 2
        return [view(x, own) for view, x, own in zip(views, images, numbers, strict=True)]

    def generator_loss(
        self, a: Tensor, b: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor]]:
        """The generators' joint loss, its terms without their weights, and the translations (F(b), G(a))."""
        if self.identity_factor > 0:
            fake_b, same_b = together(self.generator_ab, a, b)
            fake_a, same_a = together(self.generator_ba, b, a)
        else:
            fake_b, fake_a = self.generator_ab(a), self.generator_ba(b)
        seen_a, seen_b, seen_fake_a, seen_fake_b = self.seen(view_numbers, a, b, fake_a, fake_b)
        values = {
            "adversarial_ab": Judge(self.discriminator_b).generator_loss(self.loss, seen_fake_b, seen_b)[0],
            "adversarial_ba": Judge(self.discriminator_a).generator_loss(self.loss, seen_fake_a, seen_a)[0],
            "cycle_a": l1(self.generator_ba(fake_b), a),
            "cycle_b": l1(self.generator_ab(fake_a), b),
        }
        loss = self.adversarial_weight * (values["adversarial_ab"] + values["adversarial_ba"])
        loss = loss + self.cycle_weight * (values["cycle_a"] + values["cycle_b"])
        if self.identity_factor > 0:
            values |= {"identity_a": l1(same_a, a), "identity_b": l1(same_b, b)}
            loss = loss + self.cycle_weight * self.identity_factor * (values["identity_a"] + values["identity_b"])
        return loss, {"generator_loss": loss, **values}, (fake_a.detach(), fake_b.detach())

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D_A(a), D_A(fake a)) + L_D(D_B(b), D_B(fake b))."""
        a, b, fake_a, fake_b = self.seen(view_numbers, a, b, fake_a, fake_b)
        of_a, of_b = Judge(self.discriminator_a).both(a, fake_a), Judge(self.discriminator_b).both(b, fake_b)
        values = {
            "discriminator_a": self.loss.discriminator(of_a.real, of_a.fake),
            "discriminator_b": self.loss.discriminator(of_b.real, of_b.fake),
        }
        loss = values["discriminator_a"] + values["discriminator_b"]
        for domain, scores in {"a": of_a, "b": of_b}.items():
            told = followed(self.views[domain].memory, self.loss, scores.real, scores.fake, self.batch_mean)
            values |= {f"{name}_{domain}": value for name, value in told.items()}
        return loss, {"discriminator_loss": loss, **values}

    def exchanged(self, domain: Domain, fakes: Tensor) -> Tensor:
        """This process's translations, exchanged with the pool of its domain.

        Every process takes the translations of all, in their order in the global batch, through the same pool: it is
        that of one process, and the one in the checkpoint.
        """
        uniform = self.random.uniform(len(fakes), 2)
        rank, world_size = self.random.rank, self.random.world_size
        if world_size > 1:
            gathered: Any = self.all_gather((fakes, uniform))  # (process, position on it, *)
            fakes, uniform = (x.transpose(0, 1).flatten(0, 1) for x in gathered)
        return self.pools[domain](fakes, uniform)[rank::world_size]

    # ---- use

    @torch.no_grad()
    def translate(self, images: Tensor, to: Domain = "b") -> Tensor:
        """The images ``(N, *image_shape)`` in [-1, 1] in the domain ``to``, from averaged networks in eval mode.

        Raises:
            ValueError: for images of another shape, or a domain that is neither "a" nor "b".
        """
        if to not in ("a", "b"):
            raise ValueError(f"to={to!r}: 'a' or 'b'")
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(f"images of shape {tuple(images.shape)}: this CycleGAN takes (N, *{self.image_shape})")
        images = images.to(self.device, self.dtype)
        generator = self.network("generator_ab" if to == "b" else "generator_ba")
        with self.evaluating():
            parts = [generator(part) for part in images.split(TRANSLATE_BATCH)] if len(images) else [images]
        return torch.cat(parts)

    def cycle(self, images: Tensor, through: Domain = "b") -> Tensor:
        """The images ``(N, *image_shape)`` translated to the domain ``through`` and back again."""
        return self.translate(self.translate(images, to=through), to="a" if through == "b" else "b")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing by itself: callbacks score the translations."""

    test_step = validation_step

    def predict_step(self, batch: dict[Domain, Batch] | Batch, batch_idx: int) -> Tensor:
        """Translations of the batch's one domain; of images ``(images, labels)`` without a domain, to b."""
        to: Domain = "a" if isinstance(batch, dict) and "b" in batch else "b"
        return self.translate(images_of(batch, "a" if to == "b" else "b") if isinstance(batch, dict) else batch[0], to)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the pools beside the counters."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["lit_gen"]["pools"] = {domain: pool.state_dict() for domain, pool in self.pools.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the pools and the counters."""
        super().on_load_checkpoint(checkpoint)
        for domain, state in checkpoint.get("lit_gen", {}).get("pools", {}).items():
            self.pools[domain].load_state_dict(state)


def images_of(batch: Any, domain: Domain) -> Tensor:
    """The images of one domain.

    Raises:
        ValueError: if the batch doesn't come from two domains.
    """
    if not isinstance(batch, dict) or domain not in batch:
        raise ValueError("data: CycleGAN needs images of two domains, {'a': …, 'b': …}; take UnpairedDataModule")
    return batch[domain][0]


def together(network: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """network(x), network(y) of two batches, in one pass unless it compares the samples of a batch."""
    if couples_batch(network):
        return network(x), network(y)
    of_both = network(torch.cat([x, y.to(x.dtype)]))
    return of_both[: len(x)], of_both[len(x) :]


@float32_or_better
def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of two batches of images."""
    return (x - y).abs().mean()
