"""Modes that the model's samples reach, during and after training, on data whose modes are known."""

from typing import Any

import lightning.pytorch as L
import torch

from lit_gen.metrics import MixtureCoverage, StackedCoverage, load_extractor, read_stacked
from lit_gen.metrics.coverage import Counted, Region
from lit_gen.training.randomness import mix

FAST_DEV_SAMPLES = 32


class ModeCoverage(L.Callback):
    """Counts the modes that ``num_samples`` samples reach and logs, for a split ``val`` or ``test``,

    - ``<split>/modes_<protocol>``: how many modes appear (higher is better),
    - ``<split>/high_quality_<protocol>``: the share of samples that lie in a mode (of mixtures only),
    - ``<split>/reverse_kl_<protocol>``: KL of their histogram to the uniform one, in nats (lower is better).

    On a mixture, whose data module knows ``means`` and ``std``, the protocol is ``<region>_<count>_<num_samples>`` (see
    `MixtureCoverage`). On Stacked MNIST it is ``mnist_<num_samples>``: the shipped classifier reads each channel.

    Sample i is the same at every evaluation's weights and on any number of processes; the global random state is left
    alone.

    Args:
        num_samples: samples to draw. PacGAN's protocol takes 2,500 on mixtures and 26,000 on Stacked MNIST. A
            ``fast_dev_run`` draws 32.
        region: what counts as in a mode, within 3σ of its mean: ``ball`` or ``box``.
        count: whose histogram ``reverse_kl`` compares, of the ``good`` samples or of ``all``.
        batch_size: samples drawn at once, by one process. It belongs to the noise: another size, other samples.
        seed: of the samples' noise.
    """

    logged: set[str] | None = None  # the scores' names, which only the first validation tells

    def __init__(
        self,
        num_samples: int = 2500,
        region: Region = "ball",
        count: Counted = "good",
        batch_size: int = 500,
        seed: int = 0,
    ) -> None:
        for name, number in {"num_samples": num_samples, "batch_size": batch_size}.items():
            if number < 1:
                raise ValueError(f"{name}={number}: at least 1 is needed")
        self.num_samples, self.region, self.count = num_samples, region, count
        self.batch_size, self.seed = batch_size, seed
        MixtureCoverage(torch.zeros(1, 1), 1.0, region, count)  # refuses wrong names now, not at the first validation

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse data whose modes aren't known."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if stage != "predict" and not _is_mixture(data) and not _is_stacked(data):
            raise ValueError(
                f"data={type(data).__name__}: ModeCoverage needs known modes: a data module with means and std "
                "(MixtureDataModule), or StackedMNISTDataModule"
            )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count at every validation."""
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count once."""
        self._log(trainer, pl_module, "test")

    @torch.no_grad()
    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        total = min(self.num_samples, FAST_DEV_SAMPLES) if trainer.fast_dev_run else self.num_samples  # type: ignore[attr-defined]
        coverage: MixtureCoverage | StackedCoverage
        if _is_mixture(data):
            coverage, reader = MixtureCoverage(data.means, data.std, self.region, self.count), None
            protocol = f"{self.region}_{self.count}_{total}"
        else:
            coverage, reader, protocol = StackedCoverage(), load_extractor("mnist"), f"mnist_{total}"
        coverage = coverage.to(pl_module.device) if pl_module.device.type == "cuda" else coverage
        broken = False
        for chunk in range(trainer.global_rank, -(-total // self.batch_size), trainer.world_size):
            generator = torch.Generator().manual_seed(mix(self.seed, "modes", chunk))
            size = min(self.batch_size, total - chunk * self.batch_size)
            samples = pl_module.sample(size, generator=generator)  # type: ignore[operator]
            if not samples.isfinite().all():
                broken = True
                break
            coverage.update(samples if reader is None else read_stacked(samples, reader.to(samples.device)))
        if trainer.strategy.reduce_boolean_decision(broken, all=False):  # every process stops, none waits for another
            raise ValueError(f"the model's samples are not finite at step {trainer.global_step}: the training diverged")
        for name, score in coverage.compute().items():
            pl_module.log(f"{split}/{name}_{protocol}", float(score), prog_bar=True, sync_dist=trainer.world_size > 1)


def _is_mixture(data: Any) -> bool:
    return hasattr(data, "means") and hasattr(data, "std")


def _is_stacked(data: Any) -> bool:
    return getattr(data, "name", None) == "stacked_mnist"
