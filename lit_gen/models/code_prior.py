"""Priors of the codes of a discrete autoencoder, by which it draws new images."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_gen.distributions.categorical import check_sharpening, quantile, sharpened
from lit_gen.models.codec import check_indices
from lit_gen.models.sampling import SAMPLE_BATCH, LatentVariableModel
from lit_gen.networks import CodeNetwork, CodeTransformer
from lit_gen.optimizers import OptimizerCallable, TransformerAdamW
from lit_gen.precision import at_least_float32
from lit_gen.schedulers import LRSchedulerCallable, WarmUp
from lit_gen.training.player import Player

NetworkFactory = Callable[[tuple[int, int], int], CodeNetwork]


class CodePrior(LatentVariableModel):
    """Autoregressive prior of codes (Esser et al. 2021, arXiv:2012.09841, section 3.2), conditional if told to be:

        log p(k | y) = Σ_i log p(k_i | k_<i, y),

    over the h w codes of an image row by row, of a VQ, FSQ or LFQ autoencoder whose folder of ``lit-gen encode
    --indices`` the data come from. It minimises −log p in nats, a mean over codes and images.

    A sample is a function of one normal number a code, whose quantile is drawn: z has h w dimensions.

    Args:
        image_shape: ``(h, w)`` of an image's codes; on the command line it comes from the data module.
        num_codes: How many codes there are to choose from; likewise.
        network: Makes the network from ((h, w), num_codes).
        temperature: Divisor of the logits of samples; likelihoods are those of temperature 1.
        top_k: Most probable codes at each position that samples come from; null for all.
        top_p: Share of the probability, of the most probable codes, that samples come from; null for all.
        optimizer: Any class of torch.optim or lit_gen.optimizers; what it decays are the matrices alone, neither
            embeddings nor norms nor biases.
        scheduler: Learning-rate schedule counted in updates; null for a constant rate.
        clip_norm: Largest gradient norm; null for any.
        accumulate: Parts in which a batch is taken, to save memory.
        ema_half_life: Half-life of the network's weight averages in images; null for none. Samples and validation use
            the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        num_classes: Classes of the data, 0 if they have none; on the command line it comes from the data module.
        conditional: Whether to model p(k | y): the network takes ``num_classes`` and labels too.
        init_from: Trained model whose weights the network starts from, as ``lit_gen.from_pretrained`` takes it.

    Raises:
        ValueError: for data that are no codes, numbers out of range, or labels that don't exist.
    """

    models: ClassVar[tuple[str, ...]] = ("codes",)
    smooth: ClassVar[bool] = False

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_codes: int,
        network: NetworkFactory = CodeTransformer,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        optimizer: OptimizerCallable = TransformerAdamW,
        scheduler: LRSchedulerCallable | None = WarmUp,
        clip_norm: float | None = 1.0,
        accumulate: int = 1,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        num_classes: int = 0,
        conditional: bool = False,
        init_from: str | None = None,
    ) -> None:
        if len(image_shape) != 2 or num_codes < 2:
            raise ValueError(
                f"image_shape={tuple(image_shape)}, num_codes={num_codes}: {type(self).__name__} models codes (h, w), "
                "at least 2 of them; lit-gen encode MODEL DATA --indices writes such data"
            )
        latent_dim = math.prod(image_shape)
        super().__init__(image_shape, latent_dim, num_classes, conditional, ema_half_life, ema_ramp_up, bounded=False)
        check_sharpening(temperature, top_k, top_p)
        self.num_codes, self.temperature, self.top_k, self.top_p = num_codes, temperature, top_k, top_p
        self.prior = network((image_shape[0], image_shape[1]), num_codes, **self.condition)
        player = Player("prior", ("prior",), optimizer, scheduler, clip_norm, accumulate, matrices_decay_alone=True)
        self.define([player], averaged=["prior"], init_from=init_from)

    def active(self) -> Any:
        """The network itself in training, else its average if one is kept."""
        return self.prior if self.training else self.network("prior")

    def as_input(self, x: Tensor, name: str = "codes") -> Tensor:
        """Codes int64 ``(N, h, w)`` on the model's device.

        Raises:
            ValueError: for codes of another shape, or no whole numbers.
        """
        if x.is_floating_point() or tuple(x.shape[1:]) != self.image_shape:
            height, width = self.image_shape
            told = f"{name} of {x.dtype} {tuple(x.shape)}: this {type(self).__name__} takes"
            raise ValueError(f"{told} whole numbers (N, {height}, {width})")
        return x.to(self.device, torch.int64)

    # ---- likelihoods

    def code_nats(self, indices: Tensor, *labels: Tensor) -> Tensor:
        """−log p(k_i | k_<i, y) of each code, ``(N, h, w)`` in nats, float32 or better.

        Args:
            indices: int64 ``(N, h, w)``.
            *labels: ``(N,)`` if conditional.
        """
        logits = at_least_float32(self.active()(indices.flatten(1), *labels))
        return F.cross_entropy(logits.flatten(0, 1), indices.flatten(), reduction="none").view(indices.shape)

    @torch.no_grad()
    def log_prob(self, indices: Tensor, *labels: Tensor) -> Tensor:
        """log p(k | y) of images' codes, exact, ``(N,)`` in nats, from averaged weights if any in eval mode.

        Args:
            indices: int64 ``(N, h, w)`` from 0 to ``num_codes`` − 1.
            *labels: ``(N,)`` if conditional.

        Raises:
            ValueError: for codes of another shape or kind, or out of range.
        """
        check_indices(indices, self.image_shape, self.num_codes)
        indices = self.as_input(indices)
        parts = zip(*(x.to(self.device).split(SAMPLE_BATCH) for x in (indices, *labels)), strict=True)
        with self.evaluating():
            return torch.cat([-self.code_nats(*part).sum((1, 2)) for part in parts])

    def measures(self, nats: Tensor) -> dict[str, Tensor]:
        """Of nats a code: ``nats_per_code``, ``bits_per_code``, and ``bits_per_pixel`` of the images they stand for."""
        values = {"nats_per_code": nats, "bits_per_code": nats / math.log(2)}
        if self.codec is not None:
            pixels = math.prod(self.codec.image_shape[1:])
            values["bits_per_pixel"] = values["bits_per_code"] * self.latent_dim / pixels
        return values

    # ---- samples

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The codes int64 ``(N, h, w)`` at the quantiles Φ(z) of their distributions, z ``(N, h w)`` ~ N(0, I).

        One position after the other, from the averaged network if averages are kept.
        """

        def choose(logits: Tensor, position: int) -> Tensor:
            return quantile(sharpened(logits, self.temperature, self.top_k, self.top_p), z[:, position])

        network: Any = self.network("prior")
        return network.drawn(len(z), choose, labels).unflatten(1, self.image_shape)
