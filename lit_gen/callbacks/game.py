"""What goes wrong between the two players of a GAN, measured at each validation and said in words."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from lit_gen.callbacks.alarms import AlarmCallback
from lit_gen.callbacks.game_measures import auc, gradient_ratio, mean_distance, share_clipped, substitutes
from lit_gen.callbacks.overfitting import memorisation
from lit_gen.losses import WeightClip
from lit_gen.modules.gan import GAN

# What is measured -> what it means beyond its threshold, and what to try.
ADVICE = {
    "gradient_ratio": "the generator's loss is flat where the discriminator rejects the samples; "
    "try NonSaturating in place of Minimax, or hold the discriminator back by R1 or instance_noise",
    "auc": "the discriminator ranks all data above all samples, which is normal only while these are poor; "
    "if they stay so, try R1, instance_noise or a smaller discriminator learning rate",
    "spread": "the samples are far more alike than the data, the generator has collapsed; "
    "try R1, pack=2, a discriminator with minibatch='stddev' or smaller learning rates",
    "overfitting": "the discriminator takes held-out images for generated ones, it knows the training images by heart; "
    "samples may improve for a while all the same, and where a score against held-out images no longer does, "
    "try augmentation (ADA, DiffAugment), regularizer=LeCam, more images or an earlier checkpoint",
    "copy_ratio": "samples lie far nearer to training images than held-out images do, as copies or blurs of them; "
    "try augmentation (ADA, DiffAugment), more images or an earlier checkpoint",
    "gradient_norm": "the player's steps explode; try a smaller learning rate, its clip_norm or a penalty such as R1",
    "clipped": "the bound, not the data, sets the critic's weights; try WGANGP or a smaller learning rate",
}


class GameWarning(UserWarning):
    """An alarm of :class:`GameMonitor`."""


class GameMonitor(AlarmCallback[str]):
    """Watches a :class:`lit_gen.modules.GAN` and warns when the game fails; does nothing on other modules.

    At each validation of a fit (or epoch, of data without validation) it logs

    - ``game/gradient_ratio``: mean ‖∂L_G/∂G(z)‖ of a sample over that of the non-saturating loss at the same scores;
      s(t) / (1 − s(t)) for ``Minimax`` at the score t, 1 for ``NonSaturating`` (Goodfellow et al. 2014,
      arXiv:1406.2661, section 3; Arjovsky and Bottou 2017, arXiv:1701.04862, section 2.2),
    - ``game/auc``: share of the pairs of a real image and a sample that the discriminator orders rightly, ties half;
      unlike accuracy it needs no score to be a logit,
    - ``game/spread``: mean distance between two samples over that between two real images, in pixels,
    - ``game/overfitting``: (E D(training) − E D(held-out)) / (E D(training) − E D(samples)), 0 if the discriminator
      scores held-out images as it does the training images, 1 if as samples (r_v of Karras et al. 2020,
      arXiv:2006.06676, equation 1); 0 as long as its auc on training images is below 0.75,
    - ``game/copy_ratio``: median distance of a sample to the nearest training image over that of a held-out image, in
      pixels; about 1 for new images (only of images, and with a validation split, as the former),
    - ``game/<player>_gradient_norm``: of the player's last step, as clipped and averaged over the processes,
    - ``game/clipped``: share of the critic's weights at the bound of ``WeightClip``.

    An alarm is one sentence, a :class:`GameWarning` said when it begins and again only after it has gone away. The
    training weights play, in float32, as copies: training is not touched. Batch norms take the batch's statistics, all
    other layers are in eval mode. Every process measures the same and waits for none.

    Args:
        num_samples: real images, spread evenly over the validation split (else the training split), and samples.
        patience: validations in a row beyond their threshold before ``gradient_ratio``, ``auc``, ``overfitting`` and
            ``copy_ratio`` alarm.
        min_gradient_ratio: alarm below it; 0.1 is ``Minimax`` at s(D(G(z))) = 0.09. 0 for never.
        max_auc: alarm at it or above: at 1, which is normal early in training. Above 1 for never.
        min_spread: alarm below it; untrained networks have about 0.1. 0 for never.
        max_overfitting: alarm above it; ADA's target keeps it at about a half. 1 or more for never.
        min_copy_ratio: alarm below it. 0 for never.
        num_neighbours: training images, spread evenly, among which the nearest is looked for; 0 to look for none.
        max_gradient_norm: alarm above it, and always at a norm that is not finite.
        max_clipped: alarm above it. 1 for never.

    Attributes:
        alarms: (step, name of the quantity, sentence) of all alarms so far.

    Raises:
        ValueError: for less than 2 samples, a patience below 1, or a threshold that is negative or no number.
    """

    _warning = GameWarning

    def __init__(
        self,
        num_samples: int = 64,
        patience: int = 5,
        min_gradient_ratio: float = 0.1,
        max_auc: float = 1.0,
        min_spread: float = 0.05,
        max_gradient_norm: float = 1000.0,
        max_clipped: float = 0.9,
        max_overfitting: float = 0.7,
        min_copy_ratio: float = 0.5,
        num_neighbours: int = 2000,
    ) -> None:
        super().__init__()
        if num_samples < 2:
            raise ValueError(f"num_samples={num_samples}: a distance needs at least 2 samples")
        if patience < 1:
            raise ValueError(f"patience={patience}: at least 1 validation is needed")
        self.thresholds = {  # by what is measured, their arguments' names and values
            "gradient_ratio": ("min_gradient_ratio", min_gradient_ratio),
            "auc": ("max_auc", max_auc),
            "spread": ("min_spread", min_spread),
            "gradient_norm": ("max_gradient_norm", max_gradient_norm),
            "clipped": ("max_clipped", max_clipped),
            "overfitting": ("max_overfitting", max_overfitting),
            "copy_ratio": ("min_copy_ratio", min_copy_ratio),
        }
        for name, threshold in self.thresholds.values():
            if not threshold >= 0:
                raise ValueError(f"{name}={threshold}: a number, at least 0, is needed")
        if num_neighbours < 0:
            raise ValueError(f"num_neighbours={num_neighbours}: a number of training images, 0 for none")
        self.num_samples, self.patience, self.num_neighbours = num_samples, patience, num_neighbours
        self._norms: dict[str, Tensor] = {}  # of the last gradients

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a fit without data to look at."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and isinstance(pl_module, GAN) and not hasattr(data, "dataset"):
            raise ValueError(f"datamodule={data}: GameMonitor needs one of datamodules, whose dataset(split) it reads")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the norms of the gradients, which validation removes."""
        for player in pl_module._players if isinstance(pl_module, GAN) else []:
            if gradients := [p.grad for p in player.parameters if p.grad is not None]:
                self._norms[f"{player.name}_gradient_norm"] = get_total_norm(gradients)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure at each validation of a fit."""
        if isinstance(pl_module, GAN) and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._observe(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure after each epoch where there is no validation."""
        if isinstance(pl_module, GAN) and not sum(trainer.num_val_batches):
            self._observe(trainer, pl_module)

    def _observe(self, trainer: L.Trainer, module: GAN) -> None:
        quantities = {**self._play(trainer, module), **{name: norm.item() for name, norm in self._norms.items()}}
        if isinstance(module.constraint, WeightClip):
            quantities["clipped"] = share_clipped(module.discriminator, module.constraint.bound)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        quantities |= memorisation(data, module, self.num_samples, self.num_neighbours)
        for name, value in quantities.items():
            module.log(f"game/{name}", value, on_step=False, on_epoch=True, rank_zero_only=True)  # no reduction
            self.judge(trainer.global_step, name, value)

    def judge(self, step: int, name: str, value: float) -> None:
        """Count a quantity's measurements beyond its threshold, and say so when they become an alarm."""
        kind = "gradient_norm" if name.endswith("gradient_norm") else name
        argument, threshold = self.thresholds[kind]
        relation = "below" if argument.startswith("min") else "at least" if kind == "auc" else "not within"
        beyond = {"below": value < threshold, "at least": value >= threshold, "not within": not value <= threshold}
        patience = self.patience if kind in ("gradient_ratio", "auc", "overfitting", "copy_ratio") else 1
        if self._begins(name, beyond[relation], patience):
            bound = f"{relation} {argument}={threshold:g}" + (f" for {patience} validations" if patience > 1 else "")
            sentence = f"Step {step}: game/{name} is {value:.4g}, {bound}: {ADVICE[kind]}."
            self._say(step, name, sentence)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _play(self, trainer: L.Trainer, module: GAN) -> dict[str, float]:
        """One batch of the game, played by copies."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset = data.dataset("val" if len(data.dataset("val")) >= max(2, module.pack) else "train")
        count = min(max(self.num_samples, module.pack), len(dataset)) // module.pack * module.pack
        images, labels = dataset.__getitems__([i * len(dataset) // count for i in range(count)])
        images = data.to_float(images.to(module.device)).float().clone()
        y = module.labels_of((images, labels.to(module.device)))
        with substitutes(module) as twin:
            samples = twin.generator(twin.noise(count).float(), *y).detach()
            packs = [twin.view.packing.pack(x) for x in (images, samples)]
            seen = [twin.view(x, twin.view.numbers(x, twin.random, twin.images_seen)).float() for x in packs]
            real, fake = seen[0], seen[1].requires_grad_()
            real_scores, fake_scores, _ = twin.judge(*y).both(real, fake)
            ratio = gradient_ratio(twin.loss, real_scores, fake_scores, fake)
            spread = mean_distance(samples) / mean_distance(images)
            return {"gradient_ratio": ratio, "auc": auc(real_scores, fake_scores), "spread": spread}
