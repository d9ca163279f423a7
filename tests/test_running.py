"""Training and scoring in one call each, as a notebook's user meets them."""

import logging
import warnings
from functools import partial

import lightning.pytorch as L
import pytest
import torch

import lit_gen
from datamodules import DigitsDataModule, RecolouredDigitsDataModule
from lit_gen import GAN, VAE, CycleGAN, evaluate, fit
from lit_gen.callbacks import Evaluate, LatentDiagnostics
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator, ResNetTranslator

SHAPE = (1, 8, 8)
PLAYERS = {"generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8)}
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}
CPU = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_three_lines_train_sample_and_evaluate_without_noise_or_files(elsewhere, caplog, capsys):
    caplog.set_level(logging.INFO)
    data, model = DigitsDataModule(), VAE(SHAPE, 4, **CODERS, ema_half_life=100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained = lit_gen.fit(model, data, max_epochs=1, accelerator="cpu")
        images = model.sample(64)
        scores = lit_gen.evaluate(model, data, num_samples=100, accelerator="cpu")
    assert trained is model
    assert model.updates == {"vae": 1197 // 64}
    assert images.shape == (64, *SHAPE)
    assert {"test/fd_digits_100", "test/classes_digits_100", "test/nelbo_nats"} <= scores.keys()
    assert all(isinstance(value, float) for value in scores.values())
    assert not [str(warning.message) for warning in caught]
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("lightning")]
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "done: step 18" in captured.out
    assert not list(elsewhere.iterdir())


def test_scores_are_those_of_the_command(elsewhere):
    torch.manual_seed(0)
    data, model = DigitsDataModule(), GAN(SHAPE, 4, **PLAYERS, num_classes=10, conditional=True)
    for split in ("val", "test"):
        found = evaluate(model, data, split, scores=("fd", "precision_recall"), num_samples=50, seed=3, **CPU)
        callback = Evaluate(num_samples=50, scores=["fd", "precision_recall"], seed=3)
        trainer = L.Trainer(logger=False, callbacks=[callback], enable_model_summary=False, **CPU)
        run = trainer.validate if split == "val" else trainer.test
        (expected,) = run(model, datamodule=data, verbose=False)
        assert found == expected
        assert {f"{split}/fd_digits_50", f"{split}/precision_digits_50"} <= found.keys()


def test_the_mode_of_the_networks_and_the_global_random_numbers_stay(elsewhere):
    model = VAE(SHAPE, 4, **CODERS)
    model.train()
    state = torch.get_rng_state()
    evaluate(model, DigitsDataModule(), extractor=None, **CPU)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_translations_and_callbacks(elsewhere):
    model = CycleGAN((3, 8, 8), partial(ResNetTranslator, width=4, blocks=1))
    scores = evaluate(model, RecolouredDigitsDataModule(), "val", extractor=None, **CPU)
    assert scores["val/identity_map_error"] == pytest.approx(1.0919, abs=1e-3)
    vae = VAE(SHAPE, 4, **CODERS)
    diagnosed = evaluate(vae, DigitsDataModule(), callbacks=[LatentDiagnostics(num_images=50)], extractor=None, **CPU)
    assert "test/active_units" in diagnosed


def test_the_framework_s_messages_come_back(elsewhere):
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = logger.filters[:], warnings.filters[:]
    evaluate(VAE(SHAPE, 4, **CODERS), DigitsDataModule(), extractor=None, **CPU)
    assert (logger.filters, warnings.filters) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, data: fit(model, data), "max_steps=None, max_epochs=None"),
        (lambda model, data: evaluate(model, data, "train"), "split='train': 'val' or 'test'"),
        (lambda model, data: evaluate(model, data, scores=["fids"]), "scores=fids: accepted are fd"),
        (lambda model, data: evaluate(model, data, extractor="mnist", **CPU), r"made for image_shape=\(1, 28, 28\)"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(GAN(SHAPE, 4, **PLAYERS), DigitsDataModule())
