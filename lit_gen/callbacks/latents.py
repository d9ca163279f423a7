"""What a variational autoencoder's latents carry, and how likely it finds held-out images: numbers and pictures."""

from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_gen.callbacks.held_out import (
    FAST_DEV_IMAGES,
    count_images,
    held_out,
    images_at_once,
    latent_units,
)
from lit_gen.callbacks.latent_pictures import layer_grid, reconstruction_grid, traversal_grid
from lit_gen.callbacks.marginal import annealed_log_likelihood, importance_weights
from lit_gen.callbacks.nth_validation import NthValidationCallback
from lit_gen.callbacks.publish import publish
from lit_gen.metrics import (
    AggregatePosterior,
    LatentUnits,
    MeanPerImage,
)
from lit_gen.metrics.likelihood.latent import own_posterior
from lit_gen.modules.hierarchical_vae import HierarchicalVAE
from lit_gen.modules.vae import VAE
from lit_gen.modules.variational import VariationalModule
from lit_gen.precision import float64_device

CHUNK = 48  # samples of z an image for each pass of the networks, at least; a multiple of 16


class LatentDiagnostics(NthValidationCallback):
    """Looks into a variational autoencoder at validations and in ``lit-gen test``; does nothing on other modules.

    For ``num_images`` images, spread evenly over the split ``val`` or ``test``, it logs

    - ``<split>/latent_kl_nats``, ``active_units``, ``active_units_kl``: see :class:`lit_gen.metrics.LatentUnits`,
    - ``<split>/mutual_information_nats``, ``aggregate_kl_nats``: see :class:`lit_gen.metrics.AggregatePosterior`,
    - ``<split>/nll_is<k>``: −log p(x) by ``nll_samples`` = k samples of q, ``ess_is<k>``, their effective number, and
      ``bpd_is<k>``, bits a pixel value, where the likelihood has them,
    - ``<split>/nll_ais<T>``, ``bpd_ais<T>``: the same by annealed importance sampling of ``ais_steps`` = T steps,

    of L > 1 stochastic layers the first five as ``…_1``, nearest to x, to ``…_L``. A likelihood's name for how it
    binarises follows (``nll_is500_dynamic``), and the number of images, where it isn't the whole split
    (``nll_is500_dynamic_n1000``). For a conditional model it is p(x | label).

    Pictures go to ``reconstructions``, ``traversals`` and, for a hierarchy, ``layers`` in the run's folder, and to
    the loggers: images above their reconstructions; an image's code with each of its most active units moved from
    −3 to 3; what each layer of a hierarchy adds to those above.

    Each image has random numbers of its own: batches, processes and memory change nothing, and the global random
    state is left alone.

    Args:
        num_images: Images to look at; null for all of the split.
        every_n_epochs: Look at every n-th validation of a fit.
        samples: Samples of q an image for units and divergences.
        nll_samples: k, 0 for none.
        ais_steps: T, 0 for none. For one stochastic layer only. The cost is that of 11 T ``ais_chains`` gradients of
            the decoder for each image, and of 44 T to find step sizes.
        ais_chains: Chains an image.
        memory_mib: Bounds what is decoded at once, in rough numbers.
        pictures: Whether to draw.
        seed: Of all noise.

    Raises:
        ValueError: for numbers out of their range, or annealing of a hierarchy.
    """

    logged: set[str] | None = None  # the scores' names, which only the first validation tells

    def __init__(
        self,
        num_images: int | None = 1000,
        every_n_epochs: int = 1,
        samples: int = 4,
        nll_samples: int = 0,
        ais_steps: int = 0,
        ais_chains: int = 16,
        memory_mib: int = 256,
        pictures: bool = True,
        seed: int = 0,
    ) -> None:
        at_least_one = {"every_n_epochs": every_n_epochs, "samples": samples, "ais_chains": ais_chains}
        for name, value in {"num_images": num_images or 1, "memory_mib": memory_mib, **at_least_one}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: LatentDiagnostics needs at least 1")
        for name, value in {"nll_samples": nll_samples, "ais_steps": ais_steps}.items():
            if value < 0:
                raise ValueError(f"{name}={value}: a number, or 0 for none")
        super().__init__(every_n_epochs)
        self.num_images, self.samples = num_images, samples
        self.nll_samples, self.ais_steps, self.ais_chains = nll_samples, ais_steps, ais_chains
        self.memory_mib, self.pictures, self.seed = memory_mib, pictures, seed

    # ---- when

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what can't be measured before anything runs."""
        if not isinstance(pl_module, VariationalModule):
            rank_zero_info(f"LatentDiagnostics: a {type(pl_module).__name__} has no inference network to look at.")
            return
        if trainer.datamodule is None:  # type: ignore[attr-defined]
            raise ValueError("datamodule=None: LatentDiagnostics needs a data module's held-out images")
        if self.ais_steps > 0 and not isinstance(pl_module, VAE):
            raise ValueError(
                f"ais_steps={self.ais_steps}: annealing is for one stochastic layer, not a {type(pl_module).__name__}; "
                "take nll_samples"
            )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at every n-th validation of a fit, and every one outside it."""
        if not trainer.sanity_checking and self._is_due(trainer):
            self._look(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the test split."""
        self._look(trainer, pl_module, "test")

    # ---- what

    def _look(self, trainer: L.Trainer, module: L.LightningModule, split: str) -> None:
        if not isinstance(module, VariationalModule):
            return
        with torch.inference_mode(False), torch.no_grad(), module.evaluating():
            units = latent_units(trainer, module, split, self.num_images, self.samples, self.memory_mib, self.seed)
            values = {**self._layers(trainer, module, split, units), **self._likelihoods(trainer, module, split)}
            for name, value in values.items():
                module.log(f"{split}/{name}", value, sync_dist=trainer.world_size > 1)
            self._draw(trainer, module, split, units)

    def _layers(
        self, trainer: L.Trainer, module: VariationalModule, split: str, units: list[LatentUnits]
    ) -> dict[str, float]:
        """The values of each stochastic layer."""
        values = [unit.compute() for unit in units]
        for layer in values:
            layer["latent_kl_nats"] = layer.pop("kl_nats")
        for i, aggregate in self._aggregates(trainer, module, split).items():
            values[i].update(aggregate.compute())
        suffixes = [f"_{i}" for i in range(1, len(values) + 1)] if len(values) > 1 else [""]
        return {f"{name}{s}": v for s, layer in zip(suffixes, values, strict=True) for name, v in layer.items()}

    def _aggregates(self, trainer: L.Trainer, module: VariationalModule, split: str) -> dict[int, AggregatePosterior]:
        """Of the layers whose posterior depends on x alone."""
        aggregates: dict[int, AggregatePosterior] = {}
        for batch in self._batches(trainer, module, split, samples=2):
            noise = batch.random.normal(2, module.noise_dim).to(batch.x)  # two, to see which posteriors differ by them
            layers = module.terms(batch.x, noise, *batch.labels).layers
            for i, layer in enumerate(layers):
                if own_posterior(layer) is not None:
                    top = i == len(layers) - 1
                    aggregates.setdefault(i, AggregatePosterior(top).to(float64_device(module.device))).update(layer)
        return aggregates

    def _likelihoods(self, trainer: L.Trainer, module: VariationalModule, split: str) -> dict[str, float]:
        """−log p(x), by the methods asked for."""
        values: dict[str, float] = {}
        device, suffix = float64_device(module.device), self._suffix(trainer, module, split)
        if self.nll_samples > 0:
            samples = min(self.nll_samples, CHUNK) if trainer.fast_dev_run else self.nll_samples  # type: ignore[attr-defined]
            nll, effective = MeanPerImage().to(device), MeanPerImage().to(device)
            for batch in self._batches(trainer, module, split, min(samples, CHUNK)):
                at_once = images_at_once(module, 1, self.memory_mib) // len(batch.x)
                weights = importance_weights(module, batch, samples, at_once)
                nll.update(-weights.log_likelihood)
                effective.update(weights.effective_sample_size)
            values |= self._named(module, f"is{samples}{suffix}", float(nll.compute()))
            values[f"ess_is{samples}{suffix}"] = float(effective.compute())
        if self.ais_steps > 0 and isinstance(module, VAE):
            steps = min(self.ais_steps, 4) if trainer.fast_dev_run else self.ais_steps  # type: ignore[attr-defined]
            nll = MeanPerImage().to(device)
            for batch in self._batches(trainer, module, split, 4 * self.ais_chains):  # a graph is kept
                nll.update(-annealed_log_likelihood(module, batch, steps, self.ais_chains))
            values |= self._named(module, f"ais{steps}{suffix}", float(nll.compute()))
        return values

    def _named(self, module: VariationalModule, protocol: str, nll: float) -> dict[str, float]:
        values = {f"nll_{protocol}": nll}
        if module.likelihood.log_bin_width is not None:
            values[f"bpd_{protocol}"] = module.likelihood.bits_per_dim(nll)
        return values

    def _suffix(self, trainer: L.Trainer, module: VariationalModule, split: str) -> str:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        protocol, count = module.likelihood.protocol, count_images(trainer, split, self.num_images)
        return (f"_{protocol}" if protocol else "") + (f"_n{count}" if count < len(data.dataset(split)) else "")

    def _batches(self, trainer: L.Trainer, module: VariationalModule, split: str, samples: int) -> Any:
        batch_size = min(250, images_at_once(module, samples, self.memory_mib))
        return held_out(trainer, module, split, self.num_images, batch_size, self.seed)

    def _draw(self, trainer: L.Trainer, module: VariationalModule, split: str, units: list[LatentUnits]) -> None:
        directory = trainer.log_dir  # a collective
        variances = [unit.variance for unit in units]
        if not self.pictures or trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        if len(module.picture_shape) != 3 or module.picture_shape[0] not in (1, 3):
            return
        name = f"step_{trainer.global_step:06d}" if trainer.state.fn == "fit" else split
        batch = next(iter(held_out(trainer, module, split, FAST_DEV_IMAGES * trainer.world_size * 4, 32, self.seed)))
        pictures: dict[str, Tensor] = {}
        if isinstance(module, VAE):
            pictures["reconstructions"] = reconstruction_grid(batch.images, module, *batch.labels)
            pictures["traversals"] = traversal_grid(
                batch.images[:1], variances[0], module, *(y[:1] for y in batch.labels)
            )
        elif isinstance(module, HierarchicalVAE):
            pictures["layers"] = layer_grid(batch.images, module, self.seed)
        for folder, picture in pictures.items():
            publish(trainer, directory, folder, name, picture)
