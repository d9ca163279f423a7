"""Models of latents: they train on them as on images, and their codec goes with them wherever they go."""

import shutil
from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from latent_folders import LATENTS, NETWORKS, codec, encoded
from PIL import Image

import lit_gen
from datamodules import DigitsDataModule, LatentDataModule
from lit_gen.callbacks import Evaluate
from lit_gen.callbacks.score_histograms import ScoreHistograms
from lit_gen.cli.app import main
from lit_gen.cli.commands.export import part_of
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.distributions import Bernoulli, Gaussian, OptimalSigmaGaussian, default_likelihood
from lit_gen.networks import (
    DCGANGenerator,
    FixupGenerator,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetGenerator,
)

SMALL = {"latent_dim": 3, "bounded": False}
PLAYERS = {"generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8)}
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}
MODELS = {
    "GAN": lambda: lit_gen.GAN(LATENTS, **SMALL, **PLAYERS),
    "conditional GAN": lambda: lit_gen.GAN(LATENTS, **SMALL, **PLAYERS, num_classes=10, conditional=True),
    "WGANGP": lambda: lit_gen.WGANGP(LATENTS, **SMALL, **PLAYERS),
    "VAE": lambda: lit_gen.VAE(LATENTS, **SMALL, **CODERS),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return encoded(tmp_path_factory.mktemp("encoded"))


@pytest.fixture
def own_root(root, tmp_path):
    return shutil.copytree(root, tmp_path / "latents")


def fitted(name, root, **options):
    torch.manual_seed(0)
    options = {"enable_progress_bar": False, "max_steps": 6, **options}
    return lit_gen.fit(MODELS[name](), LatentDataModule(str(root), batch_size=16), **options)


def drawn(model, **options):
    return model.sample(5, generator=torch.Generator().manual_seed(1), **options)


@pytest.mark.parametrize("name", MODELS)
def test_models_of_latents_draw_pictures_wherever_they_go(name, own_root, tmp_path):
    model = fitted(name, own_root)
    images, latents = drawn(model), drawn(model, decode=False)
    assert (images.shape[1:], latents.shape[1:]) == ((1, 8, 8), LATENTS)
    assert images.abs().max() <= 1
    assert torch.equal(images, model.codec.decode(latents))
    assert model.picture_shape == (1, 8, 8)
    assert model.sample(0).shape == (0, 1, 8, 8)
    lit_gen.save_pretrained(model, tmp_path / "model")
    shutil.rmtree(own_root)
    for training in (True, False):
        again = lit_gen.from_pretrained(
            shutil.copytree(tmp_path / "model", tmp_path / f"{training}"), training=training
        )
        assert torch.equal(drawn(again), images)
        assert again.codec.encoded == model.codec.encoded.at(tmp_path / f"{training}" / "codec")


def test_the_codec_is_no_part_of_the_model_and_is_never_trained(root):
    model = fitted("GAN", root)
    before = {key: value.clone() for key, value in model.codec.model.state_dict().items()}
    assert {key.split(".")[0] for key in model.state_dict()} == {"generator", "discriminator", "averages"}
    own = {id(p) for p in model.parameters()}
    assert not any(p.requires_grad or id(p) in own for p in model.codec.model.parameters())
    model.train()
    assert not any(part.training for part in model.codec.model.modules())
    drawn(model)
    assert all(torch.equal(value, before[key]) for key, value in model.codec.model.state_dict().items())


def trainer(steps, folder, **options):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return L.Trainer(max_steps=steps, default_root_dir=folder, accelerator="cpu", **{**quiet, **options})


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(root, tmp_path):
    path, samples = tmp_path / "middle.ckpt", []

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step == 3:
                trainer.save_checkpoint(path)
                samples.append(drawn(module))

    models = []
    for options, start in (({"callbacks": [Save()]}, None), ({}, path)):
        L.seed_everything(0, verbose=False)
        models.append(MODELS["conditional GAN"]())
        data = LatentDataModule(str(root), batch_size=16, flip=True)
        trainer(6, tmp_path, limit_val_batches=0, **options).fit(models[-1], datamodule=data, ckpt_path=start)
    whole, resumed = (model.state_dict() for model in models)
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())
    assert torch.equal(drawn(lit_gen.from_pretrained(path, training=False)), samples[0])


def test_a_checkpoint_says_where_its_codec_was_and_refuses_another(own_root, tmp_path):
    model = MODELS["GAN"]()
    run = trainer(2, tmp_path)
    run.fit(model, datamodule=LatentDataModule(str(own_root), batch_size=16))
    run.save_checkpoint(tmp_path / "run.ckpt")
    other = encoded(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"holds other latents than the .* was trained on: codec=") as caught:
        trainer(4, tmp_path).fit(
            MODELS["GAN"](), datamodule=LatentDataModule(str(other)), ckpt_path=tmp_path / "run.ckpt"
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="LatentDataModule holds other latents than the GAN was trained on: codec="):
        lit_gen.fit(model, LatentDataModule(str(other)), max_steps=1, enable_progress_bar=False)
    shutil.rmtree(own_root)
    with pytest.raises(FileNotFoundError, match=r"latents/codec/config\.json: missing") as caught:
        lit_gen.from_pretrained(tmp_path / "run.ckpt", training=False)
    assert "\n" not in str(caught.value)


def test_a_codec_that_was_changed_in_a_models_folder_is_refused(root, tmp_path):
    lit_gen.save_pretrained(fitted("GAN", root), tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "codec")
    lit_gen.save_pretrained(codec(seed=1), tmp_path / "model" / "codec")
    with pytest.raises(ValueError, match="the codec has changed since it encoded the images"):
        lit_gen.from_pretrained(tmp_path / "model", training=False)


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        (lambda: lit_gen.GAN(LATENTS, 3, **PLAYERS), "latents", "bounded=True: LatentDataModule holds latents"),
        (
            lambda: lit_gen.GAN((4, 4, 1), 3, bounded=False, **PLAYERS),
            "codes",
            "GAN models images or latents, and these",
        ),
        (
            lambda: lit_gen.AutoencoderKL((1, 8, 8), discriminator=None, **NETWORKS),
            "latents",
            "LatentDataModule: a AutoencoderKL models images, and these are latents",
        ),
    ],
)
def test_data_that_a_model_does_not_model_are_refused_in_one_line(root, tmp_path, model, data, told):
    folder = root if data == "latents" else encoded(tmp_path, "codes")
    with pytest.raises(ValueError, match=told) as caught:
        lit_gen.fit(model(), LatentDataModule(str(folder)), max_steps=1, enable_progress_bar=False)
    assert "\n" not in str(caught.value)


def test_a_model_of_latents_refuses_images(root):
    model = fitted("GAN", root)
    with pytest.raises(ValueError, match="DigitsDataModule: the GAN was trained on latents, and these are images"):
        lit_gen.fit(model, DigitsDataModule(), max_steps=1, enable_progress_bar=False)


@pytest.mark.parametrize("kind", [MLPGenerator, DCGANGenerator, ResNetGenerator, FixupGenerator])
def test_generators_of_latents_have_no_bounds_and_those_of_images_do(kind):
    torch.manual_seed(0)
    model = lit_gen.GAN((4, 8, 8), 3, kind, bounded=False)
    images = kind((4, 8, 8), 3).eval()
    images.load_state_dict(model.generator.state_dict())
    z = 100 * torch.randn(16, 3)
    with torch.no_grad():
        free = model.generator.eval()(z)
        torch.testing.assert_close(images(z), free.tanh())
    assert lit_gen.GAN((4, 8, 8), 3, kind).generator.bounded


def test_a_likelihood_of_latents_adds_no_noise_and_clips_nothing():
    model, x = lit_gen.VAE(LATENTS, **SMALL, **CODERS), 5 * torch.randn(3, *LATENTS)
    assert isinstance(model.likelihood, OptimalSigmaGaussian)
    assert isinstance(default_likelihood((1, 8, 8), bounded=False), OptimalSigmaGaussian)
    assert isinstance(default_likelihood((1, 8, 8)), Bernoulli)
    assert torch.equal(model.likelihood.observe(x, torch.rand_like(x)), x)
    assert torch.equal(model.likelihood.mean(x), x)
    assert model.likelihood.log_bin_width is None
    learned = lit_gen.VAE(LATENTS, likelihood=partial(Gaussian, sigma=0.5), **SMALL, **CODERS).likelihood
    expected = torch.distributions.Normal(torch.zeros(()), 0.5).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(learned.log_prob(x, torch.zeros_like(x)), expected)
    with pytest.raises(ValueError, match=r"likelihood=Bernoulli: of pixels in \[-1, 1\]"):
        lit_gen.VAE(LATENTS, likelihood=Bernoulli, **SMALL, **CODERS)


def test_scores_in_fit_compare_decoded_samples_with_the_real_pictures(root):
    scorer = Evaluate("pixels", num_samples=20, scores=["fd"], cache="off")
    latents, pictures = LatentDataModule(str(root), batch_size=16), DigitsDataModule()
    model = fitted("GAN", root)
    measured = lit_gen.evaluate(model, latents, "val", extractor="pixels", num_samples=20)

    class Drawing(L.LightningModule):
        sample, image_shape = model.sample, (1, 8, 8)

        def validation_step(self, batch, batch_idx):
            """Nothing but samples."""

    run = trainer(1, ".", callbacks=[scorer])
    (expected,) = run.validate(Drawing(), datamodule=pictures, verbose=False)
    assert measured["val/fd_pixels_20"] == pytest.approx(expected["val/fd_pixels_20"], rel=1e-6)
    with pytest.raises(ValueError, match="keeps the pictures of the held-out splits alone"):
        latents.pictures.dataset("train")


def test_histograms_judge_latents(root):
    model = fitted("GAN", root)
    scores = ScoreHistograms().scores(LatentDataModule(str(root)), model)
    assert {len(part) for part in scores.values()} == {256}


def test_an_exported_generator_makes_pictures(root):
    model = fitted("conditional GAN", root)
    z, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 5, 9])
    part = part_of(model, None, "model")
    assert part.describe()["image_shape"] == [1, 8, 8]
    assert any(name.startswith("codec.decoder.") for name in part.state_dict())
    torch.testing.assert_close(part(z, labels), model.generate(z, labels), atol=1e-5, rtol=0)


def test_a_vae_of_latents_encodes_pictures(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = fitted("VAE", root)
    lit_gen.save_pretrained(model, "vae")
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.savez("pictures.npz", images=pictures)
    main(["encode", "vae", "pictures.npz", "--out", "z.npz"])
    images = torch.from_numpy(pictures[:, None] / 127.5 - 1).float()
    torch.testing.assert_close(torch.from_numpy(np.load("z.npz")["latents"]), model.encode(model.codec.encode(images)))
    Image.fromarray(pictures[0]).save("picture.png")
    explorer = Explorer(lit_gen.from_pretrained("vae", training=False), "vae")
    kept = explorer.reconstruct("picture.png", None, negative=False).arrays["latents"]
    np.testing.assert_allclose(kept[0], np.load("z.npz")["latents"][0], atol=1e-5)
