"""Runs trainings as a program of its own, so that Lightning's launcher can start it once more for each process.

    python training_script.py FOLDER DEVICES JOBS

JOBS is a JSON list of {"name", "module", "batch_size", "max_steps"[, "ckpt_path"][, "trainer"]}, the last one options
of the Trainer. Every process writes what it holds at the end of a job to FOLDER/<name>.rank<r>.pt, checkpoints go to
FOLDER/<name>/checkpoints.
"""

import json
import logging
import sys
import warnings
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import torch
from torch.optim.lr_scheduler import ExponentialLR

from datamodules import DigitsDataModule, RecolouredDigitsDataModule
from lit_gen import GAN, IWAE, VAE, WGAN, WGANGP, CycleGAN, HierarchicalVAE
from lit_gen.callbacks import AtomicCheckpointIO, RunCheckpoint
from lit_gen.losses import DRAGAN, R1, RelativisticPairing
from lit_gen.losses import IWAE as IWAEBound
from lit_gen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    Ladder,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    PatchGAN,
    ResNetTranslator,
)
from lit_gen.schedulers import ConstantThenLinear

SHAPE = (1, 8, 8)
MLP = {
    "latent_dim": 4,
    "generator": partial(MLPGenerator, width=16, depth=1),
    "discriminator": partial(MLPDiscriminator, width=16, depth=1),
    "ema_half_life": 200,
}
BUILD = {
    "GAN": lambda: GAN(SHAPE, **MLP, penalty=R1(weight=1.0)),
    "WGAN": lambda: WGAN(SHAPE, **MLP, n_critic=3),
    "WGANGP": lambda: WGANGP(SHAPE, **MLP, n_critic=2, generator_clip_norm=1.0, discriminator_accumulate=2),
    "ACGAN": lambda: GAN(
        SHAPE,
        latent_dim=4,
        generator=partial(MLPGenerator, width=16, depth=1, condition="embedding"),
        discriminator=partial(MLPDiscriminator, width=16, depth=1, condition="auxiliary"),
        num_classes=10,
        conditional=True,
        n_critic=2,
        penalty=R1(weight=1.0),
        ema_half_life=200,
    ),
    "VAE": lambda: VAE(
        SHAPE,
        latent_dim=4,
        encoder=partial(MLPEncoder, width=16, depth=1),
        decoder=partial(MLPDecoder, width=16, depth=1),
        ema_half_life=200,
    ),
    "IWAE": lambda: IWAE(
        SHAPE,
        latent_dim=4,
        encoder=partial(MLPEncoder, width=16, depth=1),
        decoder=partial(MLPDecoder, width=16, depth=1),
        objective=IWAEBound(samples=3),
        ema_half_life=200,
    ),
    "HierarchicalVAE": lambda: HierarchicalVAE(
        SHAPE, hierarchy=partial(Ladder, latent_dims=(3, 2), widths=(16, 8)), ema_half_life=200
    ),
    # Everything that is drawn or grouped by position. Pairs leave the last bias without gradient, whose rounding errors
    # Adam would blow up.
    "PacGAN": lambda: GAN(
        SHAPE,
        **MLP,
        pack=2,
        loss=RelativisticPairing(),
        penalty=DRAGAN(variance=0.1, interval=3),
        instance_noise=0.1,
        instance_noise_images=1000,
        discriminator_optimizer=partial(torch.optim.SGD, lr=0.05),
    ),
    # Everything that a checkpoint must hold: batch statistics, averages, two optimizers with schedules.
    "DCGAN": lambda: GAN(
        SHAPE,
        latent_dim=4,
        generator=partial(DCGANGenerator, width=4),
        discriminator=partial(DCGANDiscriminator, width=4),
        n_critic=3,
        generator_scheduler=partial(ExponentialLR, gamma=0.9),
        discriminator_scheduler=partial(ExponentialLR, gamma=0.95),
        ema_half_life=200,
    ),
    # Batch norm in every place that has one: with and without classes, over vectors and maps, in both players.
    "BatchNorm": lambda: GAN(
        SHAPE,
        latent_dim=4,
        generator=partial(DCGANGenerator, width=4, condition="batch_norm"),
        discriminator=partial(MLPDiscriminator, width=8, depth=2, norm="batch"),
        num_classes=10,
        conditional=True,
        ema_half_life=200,
    ),
    # Pools that fill up within the run, and schedules. Adam would blow up rounding errors of the biases in front of
    # instance norm, which have no gradient.
    "CycleGAN": lambda: CycleGAN(
        (3, *SHAPE[1:]),
        generator=partial(ResNetTranslator, width=4, blocks=1),
        discriminator=partial(PatchGAN, width=4),
        pool_size=100,
        generator_optimizer=partial(torch.optim.SGD, lr=0.002),
        discriminator_optimizer=partial(torch.optim.SGD, lr=0.002),
        generator_scheduler=partial(ConstantThenLinear, constant=15, decay=50),
        discriminator_scheduler=partial(ConstantThenLinear, constant=5, decay=50),
        ema_half_life=200,
    ),
}
DATA = {"CycleGAN": RecolouredDigitsDataModule}


def run(folder: Path, devices: int, job: dict) -> None:
    L.seed_everything(7, verbose=False)
    module = BUILD[job["module"]]()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        max_steps=job["max_steps"],
        max_epochs=-1,
        val_check_interval=10,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder / job["name"],
        callbacks=[RunCheckpoint(every_n_steps=1000)],
        plugins=[AtomicCheckpointIO()],
        **job.get("trainer", {}),
    )
    data = DATA.get(job["module"], DigitsDataModule)(batch_size=job["batch_size"], flip=job["module"] in DATA)
    trainer.fit(module, datamodule=data, ckpt_path=job.get("ckpt_path"), weights_only=True)
    held = {
        "weights": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "counters": {"images_seen": module.images_seen, "updates": module.updates, "step": trainer.global_step},
    }
    torch.save(held, folder / f"{job['name']}.rank{trainer.global_rank}.pt")


def run_all(folder: Path, devices: int, jobs: list[dict]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for job in jobs:
        run(folder, devices, job)


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
