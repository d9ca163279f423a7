import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch

from datamodules import DigitsDataModule
from lit_gen import GAN, VAE
from lit_gen.callbacks import AtomicCheckpointIO, Evaluate, LatentDiagnostics, RunCheckpoint
from lit_gen.losses import R1, Hinge
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator

SHAPE = (1, 8, 8)


def gan(**kwargs):
    small = {
        "latent_dim": 4,
        "generator": partial(MLPGenerator, width=8, depth=1),
        "discriminator": partial(MLPDiscriminator, width=8, depth=1),
    }
    return GAN(SHAPE, **{**small, **kwargs})


def vae():
    return VAE(SHAPE, 4, partial(MLPEncoder, width=8, depth=1), partial(MLPDecoder, width=8, depth=1))


def fit(module, folder, steps, callbacks, **kwargs):
    warnings.simplefilter("ignore")
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=callbacks,
        plugins=[AtomicCheckpointIO()], check_val_every_n_epoch=None, **kwargs,
    )  # fmt: skip
    trainer.fit(module, datamodule=DigitsDataModule())
    return trainer


def step(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_last_is_saved_at_its_pace_and_at_the_end(tmp_path):
    steps = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            path = tmp_path / "checkpoints/last.ckpt"
            steps.append(step(path) if path.exists() else 0)

    fit(gan(), tmp_path, 7, [RunCheckpoint(every_n_steps=3), Watch()], limit_val_batches=0)
    # Lightning runs checkpoint callbacks after all others: the last batch's save is seen below.
    assert steps == [0, 0, 0, 3, 3, 3, 6]
    assert step(tmp_path / "checkpoints/last.ckpt") == 7


def test_last_epoch_is_an_end_too(tmp_path):
    warnings.simplefilter("ignore")
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, default_root_dir=tmp_path, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[RunCheckpoint(every_n_steps=1000)],
    )  # fmt: skip
    trainer.fit(gan(), datamodule=DigitsDataModule(batch_size=400))
    assert step(tmp_path / "checkpoints/last.ckpt") == 4  # 1,197 digits: two batches of 400 an epoch


def test_best_is_the_best_score(tmp_path):
    scores = iter([5.0, 3.0, 4.0])
    saved = []

    class Score(L.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.log("val/score", next(scores))

    checkpoint = RunCheckpoint(monitor="val/score")
    fit(gan(), tmp_path, 6, [Score(), checkpoint], val_check_interval=2)
    assert step(tmp_path / "checkpoints/best.ckpt") == 4
    assert checkpoint.best_score == 3.0
    stored = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    saved = next(state for key, state in stored.items() if "RunCheckpoint" in key)
    assert saved == {"best_score": 3.0}


class Untrained(L.Callback):
    """Fails at the first training batch: errors that come before are seen in its place."""

    logged = frozenset()

    def on_train_batch_start(self, *_):
        raise RuntimeError("training began")


@pytest.mark.parametrize("build", [gan, vae])
@pytest.mark.parametrize("monitor", ["val/nonsense", "fd_digits_10", "val/fd_digits_1000"])
def test_an_unknown_score_is_refused_before_training(tmp_path, monitor, build):
    callbacks = [RunCheckpoint(monitor=monitor), Evaluate(num_samples=10), Untrained()]
    with pytest.raises(ValueError, match=rf"checkpoint.monitor={monitor}: no .*val/fd_digits_10") as raised:
        fit(build(), tmp_path, 2, callbacks, val_check_interval=2)
    assert ("val/nelbo_nats" in str(raised.value)) == (build is vae)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("monitor", ["val/fd_digits_10", "val/nelbo_nats", "updates/vae", "train/loss"])
def test_a_score_of_the_module_or_of_a_callback_is_accepted(tmp_path, monitor):
    callbacks = [RunCheckpoint(monitor=monitor), Evaluate(num_samples=10), Untrained()]
    with pytest.raises(RuntimeError, match="training began"):
        fit(vae(), tmp_path, 2, callbacks, val_check_interval=2)


@pytest.mark.parametrize("other", [L.Callback, LatentDiagnostics, partial(Evaluate, num_samples=10, at_start=False)])
def test_where_a_callback_may_log_anything_the_first_validation_decides(tmp_path, other):
    class Anyones(L.Callback):
        """A user's."""

    callbacks = [RunCheckpoint(monitor="val/nonsense"), Anyones() if other is L.Callback else other()]
    trainer = partial(fit, vae(), tmp_path, 2, callbacks, val_check_interval=2)
    with pytest.raises(ValueError, match=r"monitor=val/nonsense.*val/nelbo_nats"):
        trainer()
    assert step(tmp_path / "checkpoints/last.ckpt") == 2


def test_the_batch_validated_before_training_changes_nothing_in_it(tmp_path):
    weights = []
    for monitor in (None, "val/nelbo_nats"):
        torch.manual_seed(0)
        module = vae()
        fit(module, tmp_path, 4, [RunCheckpoint(monitor=monitor)], val_check_interval=2)
        weights.append(module.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_interval_out_of_range():
    with pytest.raises(ValueError, match="every_n_steps=0"):
        RunCheckpoint(every_n_steps=0)


@pytest.mark.parametrize("build", [gan, vae, partial(gan, penalty=R1(weight=2.0), loss=Hinge(), n_critic=2)])
def test_checkpoint_is_enough_to_build_the_module_again(tmp_path, build):
    module = build()
    fit(module, tmp_path, 2, [RunCheckpoint()], limit_val_batches=0)
    path = tmp_path / "checkpoints/last.ckpt"
    again = type(module).load_from_checkpoint(path, weights_only=True)
    assert type(again) is type(module)
    assert again.hparams.keys() == module.hparams.keys()
    assert again.images_seen == module.images_seen == 128
    for (name, a), b in zip(module.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    samples = [m.sample(5, generator=torch.Generator().manual_seed(0)) for m in (module, again)]
    assert torch.equal(*samples)


def test_no_extractor_in_the_checkpoint(tmp_path):
    fit(gan(), tmp_path, 2, [RunCheckpoint(), Evaluate(num_samples=10)], val_check_interval=2)
    keys = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert {key.partition(".")[0] for key in keys} == {"generator", "discriminator", "averages"}


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"value": 1}, path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"value": 2}, path)
    assert torch.load(path) == {"value": 1}
    assert list(tmp_path.iterdir()) == [path]
