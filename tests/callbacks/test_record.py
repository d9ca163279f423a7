import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from datamodules import DigitsDataModule
from lit_gen import VAE, from_pretrained
from lit_gen.callbacks import RunRecord


class Interrupt(L.Callback):
    """Raises an exception after a number of steps."""

    def __init__(self, step, exception):
        self.step, self.exception = step, exception

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise self.exception


def fit(folder, *callbacks, module=None, **settings):
    module = module or VAE((1, 8, 8), latent_dim=2)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=3, callbacks=[*callbacks, RunRecord()], logger=CSVLogger(folder, "", ""),
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, **settings,
    )  # fmt: skip
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=8))
    return module


def test_the_trained_model_with_its_card(tmp_path):
    module = fit(tmp_path)
    z = torch.randn(3, 2)
    assert torch.equal(from_pretrained(tmp_path / "model").decode(z), module.eval().decode(z))
    card = (tmp_path / "model/README.md").read_text()
    for told in ("- **data**: Digits", "- **steps**: 3", "- **images_seen**: 24", "- **lit_gen**: "):
        assert told in card


def test_a_second_fit_takes_its_place(tmp_path):
    fit(tmp_path)
    module = fit(tmp_path, module=VAE((1, 8, 8), latent_dim=5))
    assert from_pretrained(tmp_path / "model").latent_dim == module.latent_dim == 5


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_fit_leaves_its_model(stop, tmp_path):
    with pytest.raises(SystemExit):
        fit(tmp_path, Interrupt(2, stop))
    assert "- **steps**: 2" in (tmp_path / "model/README.md").read_text()


def test_a_failed_fit_or_a_fast_dev_run_leaves_none(tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        fit(tmp_path, Interrupt(2, RuntimeError("broken")))
    fit(tmp_path, fast_dev_run=True)
    assert not (tmp_path / "model").exists()


def test_a_model_that_no_plain_values_describe_is_said(tmp_path):
    module = VAE((1, 8, 8), latent_dim=2)
    module.hparams["encoder"] = object()
    with pytest.warns(UserWarning, match="the model is only in checkpoints"):
        fit(tmp_path, module=module)
    assert not (tmp_path / "model").exists()
