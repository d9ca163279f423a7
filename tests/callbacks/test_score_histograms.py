import csv
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from datamodules import DigitsDataModule, MixtureDataModule, RecolouredDigitsDataModule, UnpairedDataModule
from lit_gen import CUT, GAN, VAE, CycleGAN, Pix2Pix
from lit_gen.callbacks import ScoreHistograms
from lit_gen.callbacks.publish import publish_histogram
from lit_gen.networks import MLPDiscriminator, MLPGenerator, PatchGAN, ResNetTranslator

SHAPE = (1, 8, 8)
MLP = {
    "latent_dim": 4,
    "generator": partial(MLPGenerator, width=8),
    "discriminator": partial(MLPDiscriminator, width=8),
}


def prepared(data):
    data.setup("fit")
    return data


def histogram(path):
    with path.open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return {step: [row for row in rows if row["step"] == step] for step in {row["step"] for row in rows}}


# ---- the file and the loggers


def test_the_file_holds_numpys_histogram_and_every_logger_gets_the_values(tmp_path):
    taken = []
    writer = SimpleNamespace(add_histogram=lambda *arguments: taken.append(arguments))
    trainer = SimpleNamespace(global_step=7, loggers=[SimpleNamespace(experiment=writer), SimpleNamespace()])
    values = torch.tensor([0.0, 1.0, 1.0, float("nan"), 4.0, float("inf")])
    publish_histogram(trainer, str(tmp_path), "scores", values)
    trainer.global_step = 9
    publish_histogram(trainer, str(tmp_path), "scores", torch.full((3,), 2.0))
    publish_histogram(trainer, str(tmp_path), "scores", torch.tensor([float("nan")]))
    read = histogram(tmp_path / "histograms/scores.csv")
    counts, edges = np.histogram([0, 1, 1, 4], bins=32)
    assert [row["count"] for row in read[7]] == counts.tolist()
    assert [row["low"] for row in read[7]] == edges[:-1].tolist()
    assert [row["high"] for row in read[7]] == edges[1:].tolist()
    assert sum(row["count"] for row in read[9]) == 3
    assert [(name, step) for name, _, step in taken] == [("histograms/scores", 7), ("histograms/scores", 9)]
    assert taken[0][1].tolist() == [0, 1, 1, 4]


# ---- the scores


def test_scores_of_the_validation_images_and_of_samples():
    data, module = prepared(DigitsDataModule()), GAN(SHAPE, **MLP)
    scores = ScoreHistograms(num_samples=100).scores(data, module)
    dataset = data.dataset("val")
    images = data.to_float(dataset.__getitems__([i * len(dataset) // 100 for i in range(100)])[0])
    torch.testing.assert_close(scores["real_scores"], module.discriminator.eval()(images))
    assert len(scores["fake_scores"]) == 100
    again = ScoreHistograms(num_samples=100).scores(data, module)
    assert torch.equal(scores["fake_scores"], again["fake_scores"])  # the same noise
    assert not torch.equal(scores["fake_scores"], ScoreHistograms(100, seed=1).scores(data, module)["fake_scores"])


def test_a_conditional_models_samples_have_the_images_labels():
    data, module = prepared(DigitsDataModule()), GAN(SHAPE, **MLP, num_classes=10, conditional=True)
    asked = []
    module.sample = lambda n, labels, generator: asked.append(labels) or torch.zeros(n, *SHAPE)
    scores = ScoreHistograms(num_samples=30).scores(data, module)
    images, labels = data.dataset("val").__getitems__(list(range(0, 300, 10)))
    assert torch.equal(asked[0], labels)
    assert torch.equal(scores["real_scores"], module.discriminator.eval()(data.to_float(images), labels))


def test_packed_samples_are_judged_together():
    scores = ScoreHistograms(num_samples=20).scores(prepared(DigitsDataModule()), GAN(SHAPE, **MLP, pack=3))
    assert {name: len(values) for name, values in scores.items()} == {"real_scores": 6, "fake_scores": 6}


def test_every_patch_of_a_translation_has_a_score():
    data = prepared(UnpairedDataModule(DigitsDataModule(), DigitsDataModule(), classes_a=[1], classes_b=[7]))
    module = CycleGAN(SHAPE, generator=partial(ResNetTranslator, width=4), discriminator=partial(PatchGAN, width=4))
    scores = ScoreHistograms(num_samples=6 * 16).scores(data, module)
    a = data.to_float(data.dataset("val").__getitems__([i * len(data.dataset("val")) // 6 for i in range(6)])["a"][0])
    assert scores.keys() == {f"{kind}_scores_{domain}" for kind in ("real", "fake") for domain in "ab"}
    with module.evaluating(), torch.no_grad():
        assert torch.equal(scores["real_scores_a"], module.discriminator_a(a))
        assert torch.equal(scores["fake_scores_b"], module.discriminator_b(module.translate(a, to="b")))


@pytest.mark.parametrize("kind", [Pix2Pix, CUT])
def test_one_discriminator_of_translations_judges_what_it_was_trained_on(kind):
    data = prepared(RecolouredDigitsDataModule(pairs=True))
    networks = {
        "generator": partial(ResNetTranslator, width=4, blocks=0),
        "discriminator": partial(PatchGAN, width=4, receptive_field=16),
    }
    module = kind(data.image_shape, **networks)
    scores = ScoreHistograms(num_samples=2 * 16).scores(data, module)
    batch = data.dataset("val").__getitems__([0, 150])
    a, b = (data.to_float(batch[domain][0]) for domain in "ab")
    with module.evaluating(), torch.no_grad():
        fake = module.translate(a)
        real, fake = (torch.cat([a, x], 1) if kind is Pix2Pix else x for x in (b, fake))
        expected = {"real_scores": module.discriminator(real), "fake_scores": module.discriminator(fake)}
    assert scores.keys() == expected.keys()
    assert all(torch.equal(scores[name], expected[name]) for name in scores)


# ---- in a fit


def fit(folder, module, data, watched=True, **settings):
    trainer = L.Trainer(
        accelerator="cpu", max_steps=4, val_check_interval=2, check_val_every_n_epoch=None, limit_val_batches=1,
        callbacks=[ScoreHistograms(num_samples=16)] if watched else [], logger=CSVLogger(folder, "", ""),
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, **settings,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return sorted(path.name for path in folder.glob("histograms/*"))


def test_each_validation_adds_to_the_files_and_training_is_the_same(tmp_path):
    weights = []
    for watched in (True, False):
        L.seed_everything(0, verbose=False)
        module = GAN(SHAPE, **MLP)
        files = fit(tmp_path / str(watched), module, DigitsDataModule(), watched)
        assert files == (["fake_scores.csv", "real_scores.csv"] if watched else [])
        weights.append(module.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    read = histogram(tmp_path / "True/histograms/real_scores.csv")
    assert {step: sum(row["count"] for row in rows) for step, rows in read.items()} == {2: 16, 4: 16}


def test_points_have_scores_and_other_models_none(tmp_path):
    assert fit(tmp_path / "a", GAN((2,), **MLP), MixtureDataModule()) == ["fake_scores.csv", "real_scores.csv"]
    assert fit(tmp_path / "b", VAE(SHAPE, latent_dim=2), DigitsDataModule()) == []
    assert fit(tmp_path / "c", GAN(SHAPE, **MLP), DigitsDataModule(), fast_dev_run=True) == []


def test_refuses():
    with pytest.raises(ValueError, match="num_samples=1: "):
        ScoreHistograms(num_samples=1)
