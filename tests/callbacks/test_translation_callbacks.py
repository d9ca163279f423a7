"""Scores of translations by hand, pictures row by row, and the command line with a model that has no samples."""

import warnings
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import DigitsDataModule, RecolouredDigitsDataModule, UnpairedDataModule
from lit_gen import CUT, GAN, CycleGAN, Pix2Pix, from_pretrained
from lit_gen.callbacks import EvaluateTranslation, TranslationGrid
from lit_gen.callbacks.samples import image_grid
from lit_gen.cli.app import main
from lit_gen.metrics import FeatureMoments, frechet_distance
from lit_gen.networks import MLPDiscriminator, MLPGenerator, PatchGAN, ResNetTranslator

SMALL = {
    "generator": partial(ResNetTranslator, width=4, blocks=1, norm="none"),
    "discriminator": partial(PatchGAN, width=4),
}


def module(shape=(3, 8, 8)):
    torch.manual_seed(0)
    result = CycleGAN(shape, **SMALL)
    for p in result.parameters():
        torch.nn.init.normal_(p, 0, 0.2)
    return result


def trainer(folder, *callbacks, **settings):
    warnings.simplefilter("ignore")
    options = {"logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0, **settings}
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks), **options,
    )  # fmt: skip


def held_out(data, split):
    whole = data.dataset(split)
    batch = whole.__getitems__(list(range(len(whole))))
    return {k: data.to_float(images) for k, (images, _) in batch.items()}


@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_by_hand(tmp_path, split):
    model, data = module(), RecolouredDigitsDataModule(batch_size=64)
    run = trainer(tmp_path, EvaluateTranslation(extractor="identity"))
    (scores,) = (run.validate if split == "val" else run.test)(model, data, verbose=False)
    images = held_out(data, split)
    a, b = images["a"], images["b"]
    g, f = (lambda x: model.translate(x, "b")), (lambda x: model.translate(x, "a"))

    def error(x, y):
        return (x.double() - y.double()).abs().mean().item()

    def distance(x, y):
        moments = [FeatureMoments(192), FeatureMoments(192)]
        for moment, images in zip(moments, (x, y), strict=True):
            moment.update(images.flatten(1))
        x, y = (moment.compute() for moment in moments)
        return frechet_distance(x.mean, x.covariance, y.mean, y.covariance).item()

    def decibels(x, y):
        x, y = (((z.double() + 1) * 127.5).round() for z in (x, y))
        return 10 * (255**2 / (x - y).square().mean()).log10().item()

    expected = {
        "psnr_8bit_db_ab": decibels(g(a), b),
        "psnr_8bit_db_ba": decibels(f(b), a),
        "cycle_error_a": error(f(g(a)), a),
        "cycle_error_b": error(g(f(b)), b),
        "identity_error_a": error(f(a), a),
        "identity_error_b": error(g(b), b),
        "true_error_ab": error(g(a), b),
        "true_error_ba": error(f(b), a),
        "identity_map_error": error(a, b),
        "fd_identity_300_ab": distance(g(a), b),
        "fd_identity_300_ba": distance(f(b), a),
    }
    assert scores == {f"{split}/{name}": pytest.approx(value, rel=1e-4) for name, value in expected.items()}


@pytest.mark.parametrize("kind", [Pix2Pix, CUT])
def test_a_model_of_one_way_is_scored_and_drawn_that_way(tmp_path, kind):
    torch.manual_seed(0)
    model, data = kind((3, 8, 8), **SMALL), RecolouredDigitsDataModule(pairs=True, batch_size=64)
    run = trainer(tmp_path, EvaluateTranslation("identity"), TranslationGrid(4), max_steps=1, val_check_interval=1)
    run.fit(model, datamodule=data)
    named = {"identity_error_b", "true_error_ab", "psnr_8bit_db_ab", "identity_map_error", "fd_identity_300_ab"}
    assert {name for name in run.callback_metrics if name.startswith("val/")} == {f"val/{name}" for name in named}
    images = {k: x[:4] for k, x in held_out(data, "val").items()}
    expected = image_grid(torch.cat([images["a"], model.translate(images["a"]), images["b"]]), columns=4)
    with Image.open(tmp_path / "translations" / "step_000001.png") as picture:
        assert np.abs(np.asarray(picture).astype(int) - expected.movedim(0, -1).numpy()).max() <= 1


def test_grey_to_colour_from_the_command_line_and_into_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    np.savez("cifar10.npz", images=images)
    Path("photos").mkdir()
    Image.fromarray(images[0, :9, :13]).save("photos/1.png")
    data = ["--data=GreyToColourDataModule", "--data.images=ArrayDataModule", "--data.images.path=cifar10.npz"]
    main(["fit", "--model=Pix2Pix", "--model.generator=UNetTranslator", "--model.generator.width=4",
          "--model.generator.norm=none", "--model.discriminator=PatchGAN", "--model.discriminator.width=4", *data,
          "--trainer.max_steps=2", "--trainer.val_check_interval=2", "--data.batch_size=8",
          "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--experiment=a"])  # fmt: skip
    (run,) = Path("runs/a").iterdir()
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/true_error_ab", "val/psnr_8bit_db_ab"} <= set(header)
    assert not any("identity" in name for name in header)
    with Image.open(run / "translations" / "step_000002.png") as picture:
        assert picture.mode == "RGB"
    checkpoint = str(run / "checkpoints/last.ckpt")
    main(["predict", "--ckpt_path", checkpoint, "--data.predict_folder=photos", "--experiment=p", *OPTIONS[3:]])
    (predicted,) = Path("runs/p").iterdir()
    with Image.open(predicted / "predictions/1.png") as picture:
        assert (picture.size, picture.mode) == ((13, 9), "RGB")
    translated = from_pretrained(checkpoint).translate(torch.zeros(1, 1, 5, 7))
    assert translated.shape == (1, 3, 5, 7)


def test_domains_of_different_lengths_without_counterparts(tmp_path):
    model = module((1, 8, 8))
    data = UnpairedDataModule(DigitsDataModule(), classes_a=[1, 2, 3], classes_b=[8], batch_size=16)
    run = trainer(tmp_path, EvaluateTranslation(extractor="digits"))
    (scores,) = run.validate(model, data, verbose=False)
    images = held_out(data, "val")
    count = {k: len(images[k]) for k in "ab"}
    assert count["a"] > 2 * count["b"]
    assert set(scores) == {
        "val/cycle_error_a", "val/cycle_error_b", "val/identity_error_a", "val/identity_error_b",
        f"val/fd_digits_{count['a']}_ab", f"val/fd_digits_{count['b']}_ba",
    }  # fmt: skip
    cycle = (model.cycle(images["b"], through="a") - images["b"]).abs().mean().item()
    assert scores["val/cycle_error_b"] == pytest.approx(cycle, rel=1e-4)


def test_the_extractor_of_the_data_that_both_domains_come_from(tmp_path):
    digits = UnpairedDataModule(DigitsDataModule(), classes_a=[1], classes_b=[8], batch_size=16)
    for data, model, scored in ((digits, module((1, 8, 8)), True), (RecolouredDigitsDataModule(), module(), False)):
        (scores,) = trainer(tmp_path, EvaluateTranslation()).validate(model, data, verbose=False)
        assert any(name.startswith("val/fd_digits") for name in scores) == scored


def test_a_split_without_images_of_one_domain(tmp_path):
    data = UnpairedDataModule(DigitsDataModule(), classes_a=[1], classes_b=[2], batch_size=16)
    data.dataset("val").b.indices = data.dataset("val").b.indices[:0]
    (scores,) = trainer(tmp_path, EvaluateTranslation()).validate(module((1, 8, 8)), data, verbose=False)
    assert set(scores) == {"val/cycle_error_a", "val/identity_error_a"}


def test_other_models_are_refused(tmp_path):
    gan = GAN((1, 8, 8), 4, partial(MLPGenerator, width=8), partial(MLPDiscriminator, width=8))
    with pytest.raises(ValueError, match="EvaluateTranslation: GAN doesn't translate"):
        trainer(tmp_path, EvaluateTranslation()).validate(gan, DigitsDataModule())


@pytest.mark.parametrize("paired", [True, False])
def test_the_rows_of_the_picture(tmp_path, paired):
    data = RecolouredDigitsDataModule(batch_size=16)
    data.paired = paired
    model = module()
    run = trainer(tmp_path, TranslationGrid(num_samples=5), max_steps=2, val_check_interval=1)
    run.fit(model, datamodule=data)
    folder = tmp_path / "translations"
    assert sorted(p.name for p in folder.iterdir()) == [f"step_{i:06d}.png" for i in range(3)]
    images = {k: x[:5] for k, x in held_out(data, "val").items()}
    rows = []
    for k, other in (("a", "b"), ("b", "a")):
        fake = model.translate(images[k], other)
        rows += [images[k], fake, *([images[other]] if paired else []), model.translate(fake, k)]
    expected = image_grid(torch.cat(rows), columns=5).movedim(0, -1).numpy()
    with Image.open(folder / "step_000002.png") as picture:
        assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 1


OPTIONS = [
    "--model.generator.width=4", "--model.generator.blocks=1", "--model.discriminator.width=4",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
]  # fmt: skip


def test_the_command_line_scores_draws_and_translates_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--data=UnpairedDataModule", "--data.a=DigitsDataModule", "--data.classes_a=[1]", "--data.classes_b=[7]"]
    steps = ["--trainer.max_steps=4", "--trainer.val_check_interval=2", "--data.batch_size=8"]
    main(["fit", "--model=CycleGAN", "--model.generator=ResNetTranslator", *data, *steps, "--experiment=a",
          "--model.discriminator=PatchGAN", *OPTIONS])  # fmt: skip
    (run,) = Path("runs/a").iterdir()
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {
        "run.json", "config.yaml", "data.json", "hparams.yaml", "metrics.csv", "times.csv", "checkpoints/last.ckpt",
        "translations/step_000000.png", "translations/step_000002.png", "translations/step_000004.png",
        *(f"histograms/{kind}_scores_{domain}.csv" for kind in ("real", "fake") for domain in "ab"),
        "model/config.json", "model/model.safetensors", "model/README.md",
    }  # fmt: skip
    assert "val/cycle_error_a" in (run / "metrics.csv").read_text()

    Path("photos/sub").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8), np.uint8)
    for name, image in zip(("one.png", "sub/two.bmp"), pixels, strict=True):
        Image.fromarray(image).save(Path("photos") / name)
    large = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 1, 51, 90), np.uint8))
    Image.fromarray(large[0, 0].numpy()).save("photos/sub/large.JPG", quality=100)
    with Image.open("photos/sub/large.JPG") as picture:
        large = torch.from_numpy(np.array(picture))[None, None]
    checkpoint = str(run / "checkpoints/last.ckpt")
    model = from_pretrained(checkpoint)
    for domain, to in (("a", "b"), ("b", "a")):
        main(["predict", "--ckpt_path", checkpoint, "--data.predict_folder=photos", f"--data.predict_domain={domain}",
              "--trainer.accelerator=cpu", f"--experiment=to_{to}", "--model.tile=48"])  # fmt: skip
        (folder,) = Path(f"runs/to_{to}").glob("*/predictions")
        files = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
        assert files == {"one.png", "sub/two.png", "sub/large.JPG"}
        with Image.open(folder / "sub/large.JPG") as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (90, 51), "L")
            whole = image_grid(model.translate(large / 127.5 - 1, to=to), cell=1)[0].int()
            assert (torch.from_numpy(np.array(picture)) - whole).abs().float().mean() < 4  # JPEG's loss
        expected = image_grid(model.translate(torch.from_numpy(pixels[1:, None]) / 127.5 - 1, to=to), cell=1)[0]
        with Image.open(folder / "sub/two.png") as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.asarray(picture), expected.numpy())

    main(["test", "--ckpt_path", checkpoint, "--trainer.accelerator=cpu"])
    assert "test/cycle_error_b" in capsys.readouterr().out
