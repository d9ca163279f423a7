"""Posterior collapse, found at validations and said in words."""

import lightning.pytorch as L

from lit_gen.callbacks.alarms import AlarmCallback
from lit_gen.callbacks.held_out import latent_units
from lit_gen.modules.variational import VariationalModule


class CollapseWarning(UserWarning):
    """An alarm of :class:`PosteriorCollapse`."""


class PosteriorCollapse(AlarmCallback[int]):
    """Watches the stochastic layers of a variational autoencoder and warns when one carries nothing of x.

    A layer has collapsed where q(z|x) is all but the prior: with less than ``min_active_units`` active units, by one
    of the definitions of :class:`lit_gen.metrics.LatentUnits`, or a KL divergence below ``min_kl_nats``. An alarm names
    the layer in one sentence, a :class:`CollapseWarning` said when it begins and again only after it has gone away. At
    each validation of a fit ``latents/collapsed`` logs the number of collapsed layers. Other modules are left alone.

    Args:
        min_active_units: Alarm below it; 0 for never.
        min_kl_nats: Alarm below it, in nats for the whole layer; 0 for never.
        patience: Validations in a row before an alarm: early in training, or in a warm-up, nothing is active yet.
        num_images: Images of the validation split, spread evenly over it.
        samples: Samples of q an image.
        seed: Of their noise.

    Attributes:
        alarms: (step, layer from 1, sentence) of all alarms so far.

    Raises:
        ValueError: for less than 2 images, or numbers out of their range.
    """

    _warning = CollapseWarning
    _counts = "collapsed"

    def __init__(
        self,
        min_active_units: int = 1,
        min_kl_nats: float = 0.1,
        patience: int = 2,
        num_images: int = 500,
        samples: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_images < 2:
            raise ValueError(f"num_images={num_images}: a variance needs at least 2 images")
        for name, value in {"patience": patience, "samples": samples}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: PosteriorCollapse needs at least 1")
        for name, threshold in {"min_active_units": min_active_units, "min_kl_nats": min_kl_nats}.items():
            if not threshold >= 0:
                raise ValueError(f"{name}={threshold}: a threshold can't be negative")
        self.min_active_units, self.min_kl_nats, self.patience = min_active_units, min_kl_nats, patience
        self.num_images, self.samples, self.seed = num_images, samples, seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a fit without held-out images."""
        if isinstance(pl_module, VariationalModule) and trainer.datamodule is None:  # type: ignore[attr-defined]
            raise ValueError("datamodule=None: PosteriorCollapse needs a data module's held-out images")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge each layer at each validation of a fit."""
        if not isinstance(pl_module, VariationalModule) or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        layers = latent_units(trainer, pl_module, "val", self.num_images, self.samples, seed=self.seed)
        collapsed = 0.0
        for i, layer in enumerate(layers, 1):
            collapsed += self.judge(trainer.global_step, i, len(layers), layer.moments.shape[1], layer.compute())
        pl_module.log("latents/collapsed", collapsed, sync_dist=trainer.world_size > 1)

    def judge(self, step: int, layer: int, layers: int, units: int, values: dict[str, float]) -> bool:
        """Whether a layer has collapsed, by the values of ``LatentUnits``; it is said when it becomes an alarm."""
        active = min(values["active_units"], values.get("active_units_kl", values["active_units"]))
        reasons = []
        if active < self.min_active_units:
            reasons.append(f"{active:.0f} of {units} units are active, below min_active_units={self.min_active_units}")
        if values["kl_nats"] < self.min_kl_nats:
            reasons.append(f"its KL divergence is {values['kl_nats']:.3g} nats, below min_kl_nats={self.min_kl_nats:g}")
        if self._begins(layer, bool(reasons), self.patience):
            name = f"stochastic layer {layer} of {layers} (1 is nearest to x)" if layers > 1 else "the latent layer"
            sentence = (
                f"Step {step}: {name} has collapsed, its posterior is all but the prior: {' and '.join(reasons)}, for "
                f"{self.patience} validations; try a warm-up of the KL divergence, a smaller beta, free_bits"
                + (" or Ladder or TopDown as hierarchy." if layers > 1 else " or a weaker decoder.")
            )
            self._say(step, layer, sentence)
        return bool(reasons)
