"""``lit-gen sample``, as its user meets it."""

import json
import re
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ArrayDataModule, DigitsDataModule
from lit_gen import GAN, VAE
from lit_gen.cli.app import main
from lit_gen.distributions.latents import slerp
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.pretrained import from_pretrained, save_pretrained

NETWORKS = {
    "latent_dim": 4, "generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8),
}  # fmt: skip


def checkpoint(path, module, data):
    trainer = L.Trainer(
        max_steps=2, logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=path.parent,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(path)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    digits = DigitsDataModule(batch_size=16)
    checkpoint(folder / "plain.ckpt", GAN((1, 8, 8), **NETWORKS), digits)
    checkpoint(folder / "conditional.ckpt", GAN((1, 8, 8), **NETWORKS, num_classes=10, conditional=True), digits)
    np.savez(folder / "points.npz", images=np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32))
    checkpoint(folder / "points.ckpt", GAN((2,), **NETWORKS), ArrayDataModule(path=str(folder / "points.npz")))
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_grid_is_the_default(checkpoints, elsewhere, capsys):
    main(["sample", str(checkpoints / "plain.ckpt")])
    assert [path.name for path in elsewhere.iterdir()] == ["samples.png"]
    assert Image.open("samples.png").size == (8 * 50 - 2, 8 * 50 - 2)  # 8 px magnified to 48, 2 px between
    assert "64 samples" in capsys.readouterr().out


def test_the_same_seed_gives_the_samples_of_the_module(checkpoints):
    for seed in ("3", "3", "4"):
        main(["sample", str(checkpoints / "plain.ckpt"), "-n", "5", "--seed", seed, "--out", f"{seed}.npz"])
    arrays = [np.load(f"{seed}.npz")["images"] for seed in (3, 4)]
    assert arrays[0].shape == (5, 8, 8)
    assert not np.array_equal(*arrays)
    expected = from_pretrained(checkpoints / "plain.ckpt").sample(5, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(arrays[0], ((expected[:, 0] + 1) * 127.5).round().numpy().astype(np.uint8))


def test_a_folder_of_pictures(checkpoints):
    main(["sample", str(checkpoints / "plain.ckpt"), "-n", "3", "--out", "some/folder"])
    assert sorted(path.name for path in Path("some").rglob("*")) == ["00000.png", "00001.png", "00002.png", "folder"]
    assert np.asarray(Image.open("some/folder/00002.png")).shape == (8, 8)


def test_labels_are_taken_in_turn(checkpoints):
    main(["sample", str(checkpoints / "conditional.ckpt"), "-n", "5", "--labels", "3", "7", "--out", "a.npz"])
    assert np.load("a.npz")["labels"].tolist() == [3, 7, 3, 7, 3]
    main(["sample", str(checkpoints / "conditional.ckpt"), "-n", "200", "--out", "b.npz"])
    assert set(np.load("b.npz")["labels"].tolist()) == set(range(10))


@pytest.mark.parametrize("source", ["plain.ckpt", "conditional.ckpt"])
def test_a_path_begins_and_ends_at_its_latents(checkpoints, source):
    main(["sample", str(checkpoints / source), "-n", "10", "--interpolate", "--steps", "5", "--out", "a.npz"])
    images, labels = (np.load("a.npz")[name] for name in ("images", "labels"))
    module, generator = from_pretrained(checkpoints / source), torch.Generator().manual_seed(0)
    z = torch.randn(4, 4, generator=generator)
    y = torch.from_numpy(labels).view(2, 5)
    assert (y == y[:, :1]).all()
    middle = slerp(z[0], z[2], 0.5)
    for position, latent, row in ((0, z[0], 0), (4, z[2], 0), (2, middle, 0), (5, z[1], 1), (9, z[3], 1)):
        expected = module.generate(latent[None], *([y[row, :1]] if module.conditional else []))[0, 0]
        assert np.abs((expected.numpy() + 1) * 127.5 - images[position]).max() <= 0.51


def test_truncated_latents_give_less_variety(checkpoints):
    spread = []
    for truncation in ("0.01", "4"):
        main(["sample", str(checkpoints / "points.ckpt"), "-n", "100", "--truncation", truncation, "--out", "a.npz"])
        spread.append(np.load("a.npz")["images"].std(0).max())
    assert spread[0] < 0.05 * spread[1]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("plain.ckpt", ["-n", "0"], "-n 0"),
        ("plain.ckpt", ["--labels", "3"], r"--labels \[3\].*unconditional"),
        ("conditional.ckpt", ["--labels", "10"], "labels=.*from 0 to 9"),
        ("plain.ckpt", ["--interpolate", "--steps", "7"], "--steps 7"),
        ("plain.ckpt", ["--truncation", "-1"], "truncation=-1"),
        ("points.ckpt", [], r"--out samples.png.*\(2,\).*npz"),
        ("nothing.ckpt", [], "nothing.ckpt: neither a file"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(checkpoints, elsewhere, capsys, source, options, message):
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(checkpoints / source), *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not list(elsewhere.iterdir())


def test_a_folder_is_never_overwritten(checkpoints, elsewhere):
    (elsewhere / "mine").mkdir()
    with pytest.raises(SystemExit):
        main(["sample", str(checkpoints / "plain.ckpt"), "--out", "mine"])
    assert not list((elsewhere / "mine").iterdir())


def test_raw_samples_come_from_the_weights_as_trained(checkpoints, elsewhere, capsys):
    main(["sample", str(checkpoints / "plain.ckpt"), "-n", "4", "--out", "raw.npz", "--raw"])
    module = from_pretrained(checkpoints / "plain.ckpt")
    z = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw, average = (network(z) for network in (module.generator, module.network("generator")))
    found = torch.from_numpy(np.load("raw.npz")["images"]) / 127.5 - 1
    assert not torch.equal(raw, average)
    torch.testing.assert_close(found, raw[:, 0], rtol=0, atol=1 / 127)
    with pytest.raises(SystemExit, match="2"):
        main(["sample", "gan_digits", "--raw"])
    assert "--raw: gan_digits holds no weights beside averages" in capsys.readouterr().err


# ---- classes by name


@pytest.fixture(scope="module")
def named(checkpoints):
    """Conditional models of classes with names, of which one looks like the number of another."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(24, 8, 8), dtype=np.uint8), np.array(["3", "bee", "cat", "dog"])
    np.savez(checkpoints / "named.npz", images=images, labels=labels[np.arange(24) % 4])
    data = ArrayDataModule(checkpoints / "named.npz", batch_size=4)
    checkpoint(checkpoints / "gan.ckpt", GAN((1, 8, 8), **NETWORKS, num_classes=4, conditional=True), data)
    small = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8), "latent_dim": 2}
    checkpoint(checkpoints / "vae.ckpt", VAE((1, 8, 8), **small, num_classes=4, conditional=True), data)
    return checkpoints


def test_classes_are_said_by_name_or_number(named, capsys):
    main(["sample", str(named / "gan.ckpt"), "-n", "5", "--labels", "dog", "0", "3", "--out", "a.npz"])
    arrays = np.load("a.npz")
    assert arrays["labels"].tolist() == [3, 0, 0, 3, 0]
    assert arrays["class_names"].tolist() == ["3", "bee", "cat", "dog"]
    assert f"note: --labels 3: the class that is called 3, number 0 of {named / 'gan.ckpt'}" in capsys.readouterr().err
    assert ArrayDataModule("a.npz", val_share=0, test_share=0).class_names == ("3", "bee", "cat", "dog")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Bees", r"no class 'Bees'; did you mean bee\? there are 0 3, 1 bee, 2 cat, 3 dog"),
        ("4", "from 0 to 3: 0 3, 1 b"),
    ],
)
def test_classes_that_there_are_not(named, elsewhere, capsys, label, message):
    with pytest.raises(SystemExit):
        main(["sample", str(named / "gan.ckpt"), "--labels", "cat", label])
    assert re.search(f"error: --labels=cat {label}: .*gan.ckpt: .*{message}", capsys.readouterr().err)
    assert not list(elsewhere.iterdir())


def test_embedding_takes_the_labels_of_data_by_their_names(named, capsys):
    pictures = np.load(named / "named.npz")["images"][:4]
    for kind, picture in zip(("dog", "3", "bee", "dog"), pictures, strict=True):
        Path("photos", kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(Path("photos", kind, f"{picture[0, 0]}.png"))
    main(["encode", str(named / "vae.ckpt"), "photos", "--out", "z.npz"])
    arrays, model = np.load("z.npz"), from_pretrained(named / "vae.ckpt", kind=VAE)
    assert arrays["class_names"].tolist() == ["3", "bee", "dog"]
    files = [*sorted(Path("photos").rglob("*.png"))]
    read = torch.stack([torch.from_numpy(np.asarray(Image.open(file))) for file in files])[:, None] / 127.5 - 1
    classes = torch.tensor([model.class_names.index(file.parent.name) for file in files])
    torch.testing.assert_close(torch.from_numpy(arrays["latents"]), model.encode(read, classes))
    Path("photos/dog").rename("photos/wolf")
    np.savez("none.npz", images=pictures)
    np.savez("numbers.npz", images=pictures, labels=np.array([3, 0, 1, 3]))
    main(["encode", str(named / "vae.ckpt"), "numbers.npz", "--out", "z.npz"])
    assert "note: the labels of numbers.npz are taken as the VAE's classes in their order" in capsys.readouterr().err
    for path, told in (
        ("photos", "the classes wolf are none of the VAE's (3, bee, cat, dog)"),
        ("none.npz", "no labels"),
    ):
        with pytest.raises(SystemExit):
            main(["encode", str(named / "vae.ckpt"), path, "--out", "y.npz"])
        assert f"error: {path}: {told}" in capsys.readouterr().err
    assert not Path("y.npz").exists()


def test_a_saved_model_is_compared_by_the_names_of_its_classes(named, capsys):
    save_pretrained(from_pretrained(named / "gan.ckpt"), "model")  # alone, without the data it has learned
    for i, kind in enumerate(("dog", "bee", "dog", "bee")):
        Path("photos", kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 60 * i, np.uint8)).save(Path("photos", kind, f"{i}.png"))
    asked = ["--extractor", "pixels", "--scores", "fd", "--num_samples", "8", "--cache", "off"]
    main(["evaluate", "photos", "model", *asked, "--json", "x.json"])
    assert json.loads(Path("x.json").read_text())["classes"] == ["bee", "dog"]
    assert "model draws the real images' classes in turn (bee, dog), not 3, cat" in capsys.readouterr().err


def test_an_exported_program_says_the_classes(named):
    main(["export", str(named / "gan.ckpt"), "--format", "torch_export", "--out", "g.pt2"])
    extra = {"lit_gen.json": ""}
    torch.export.load("g.pt2", extra_files=extra)
    assert json.loads(extra["lit_gen.json"])["class_names"] == ["3", "bee", "cat", "dog"]
