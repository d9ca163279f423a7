"""What callbacks look at and draw of a model on a device without float64: the values are the CPU's."""

import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from fake_device import second_device, trainer_on
from plain_gan import SEED

from datamodules import DigitsDataModule, MixtureDataModule, RecolouredDigitsDataModule
from lit_gen import GAN, VAE, CycleGAN, HierarchicalVAE, metrics
from lit_gen.callbacks import (
    Evaluate,
    EvaluateTranslation,
    GameMonitor,
    LatentDiagnostics,
    ModeCoverage,
    PosteriorCollapse,
    SampleGrid,
    ScoreHistograms,
    TranslationGrid,
)
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator, PatchGAN, ResNetTranslator

MLP = {
    "generator": partial(MLPGenerator, width=8, depth=1),
    "discriminator": partial(MLPDiscriminator, width=8, depth=1),
}
VAE_MLP = {"encoder": partial(MLPEncoder, width=8, depth=1), "decoder": partial(MLPDecoder, width=8, depth=1)}


CONVOLUTIONS = {
    "generator": partial(ResNetTranslator, width=2, blocks=1, norm="none"),
    "discriminator": partial(PatchGAN, width=2),
}


def scored_all():
    """All scores, of few images."""
    names = [name for name in metrics.SCORES if name not in ("kid_subsets", "class_transfer", "fd_class")]
    return Evaluate(num_samples=40, batch_size=40, scores=names, capacity=40, cache=None)


def latents(**options):
    return LatentDiagnostics(num_images=20, samples=2, nll_samples=4, **options)


WATCHED = {
    "gan": lambda: (GAN((1, 8, 8), 4, **MLP), DigitsDataModule(), [scored_all(), SampleGrid(4), ScoreHistograms(20)]),
    "game": lambda: (GAN((1, 8, 8), 4, **MLP), DigitsDataModule(), [GameMonitor(20)]),
    "modes": lambda: (GAN((2,), 4, **MLP), MixtureDataModule(num_points=200), [ModeCoverage(20), SampleGrid(20)]),
    "vae": lambda: (
        VAE((1, 8, 8), 4, **VAE_MLP),
        DigitsDataModule(),
        [latents(ais_steps=3, ais_chains=2), PosteriorCollapse(num_images=20), SampleGrid(4)],
    ),
    "hierarchy": lambda: (HierarchicalVAE((1, 8, 8)), DigitsDataModule(), [latents(), SampleGrid(4)]),
    "cyclegan": lambda: (
        CycleGAN((3, 8, 8), **CONVOLUTIONS),
        RecolouredDigitsDataModule(batch_size=64),
        [EvaluateTranslation("identity"), TranslationGrid(4)],
    ),
}


@pytest.mark.parametrize("name", WATCHED)
def test_callbacks_look_from_there(name, tmp_path):
    warnings.simplefilter("ignore")
    options = {
        "max_steps": 2, "limit_val_batches": 2, "val_check_interval": 2, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": tmp_path,
    }  # fmt: skip
    found = []
    for there in (False, True):
        torch.manual_seed(0)
        module, data, callbacks = WATCHED[name]()
        module.seed = SEED
        with second_device() as device:
            trainer = (
                trainer_on(device, callbacks=callbacks, **options)
                if there
                else L.Trainer(accelerator="cpu", devices=1, callbacks=callbacks, **options)
            )
            trainer.fit(module, datamodule=data)
            timed = "evaluate/share"
            found.append({key: value.item() for key, value in trainer.callback_metrics.items() if key != timed})
    assert found[1] == pytest.approx(found[0], rel=1e-2, abs=1e-2, nan_ok=True)
    assert any(key.startswith(("val/", "game/")) for key in found[0])
