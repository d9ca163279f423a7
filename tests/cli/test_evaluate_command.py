"""``lit-gen evaluate``, as its user meets it."""

import json
import re
from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ArrayDataModule, DigitsDataModule
from lit_gen import GAN
from lit_gen.cli.app import main
from lit_gen.networks import MLPDiscriminator, MLPGenerator
from lit_gen.pretrained.specification import class_path

NETWORKS = {
    "latent_dim": 4, "generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8),
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits():
    """All test digits, (300, 8, 8) uint8, and their labels."""
    data = DigitsDataModule().dataset("test")
    images, labels = data.__getitems__(list(range(len(data))))
    return images[:, 0].numpy(), labels.numpy()


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """The test digits as files by class, the same in one folder, and noise."""
    root = tmp_path_factory.mktemp("images")
    images, labels = digits
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        save(root / "real" / str(label) / f"{i:03d}.png", image)
    for i, image in enumerate(noise):
        save(root / "noise" / f"{i:03d}.png", image)
    np.savez(root / "real.npz", images=images, labels=labels)
    np.savez(root / "unit.npz", images=images[:60].astype(np.float32) / 255)
    np.savez(root / "signed.npz", images=images[:60, ..., None] / 127.5 - 1)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A conditional GAN on digits after two steps, from the command line."""
    folder = tmp_path_factory.mktemp("runs")
    networks = [
        f"--model.generator={class_path(MLPGenerator)}",
        f"--model.discriminator={class_path(MLPDiscriminator)}",
    ]
    main(["fit", "--model=GAN", "--model.conditional=true", "--data=DigitsDataModule", "--trainer.max_steps=2",
          "--trainer.val_check_interval=2", "--evaluate.extractor=null", f"--trainer.default_root_dir={folder}",
          "--trainer.enable_progress_bar=false", *networks])  # fmt: skip
    (path,) = folder.glob("*/*/checkpoints/last.ckpt")
    return str(path)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def evaluate(capsys, *arguments) -> dict[str, float]:
    """The printed table."""
    main(["evaluate", *map(str, arguments)])
    lines = capsys.readouterr().out.splitlines()[1:]
    return {line.split()[0]: float(line.split()[1]) for line in lines}


def error(capsys, *arguments) -> str:
    """The one line of an error, with exit status 2."""
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, arguments)])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("lit-gen: error: ")


def test_a_copy_in_another_form(folders, capsys):
    """A folder of files against the same images in an array: equal in every score, and seen to be a copy."""
    scores = evaluate(capsys, folders / "real", folders / "real.npz", "--extractor", "digits", "--scores", "all")
    expected = {"fd": 0, "precision": 1, "recall": 1, "coverage": 1, "memorised": 1, "authenticity": 0, "diversity": 1}
    for name, value in expected.items():
        assert scores[f"{name}_digits_300"] == pytest.approx(value, abs=1e-6), name
    assert scores["gan_train_linear_digits_300"] > 0.95
    assert scores["label_accuracy_digits_300"] > 0.97
    assert scores["fd_class_worst_digits_300"] == pytest.approx(0, abs=1e-6)


def test_noise_is_far_away(folders, capsys):
    scores = evaluate(capsys, folders / "real.npz", folders / "noise", "--extractor", "digits")
    assert scores["fd_digits_60"] > 100
    assert scores["precision_digits_60"] < 0.5
    assert scores["coverage_digits_60"] < 0.2
    assert scores["nn_accuracy_digits_60"] > 0.9


def test_the_three_ranges_are_one(folders, capsys):
    first = [evaluate(capsys, folders / "real.npz", folders / f"{values}.npz", "--extractor=digits", "--values", values)
             for values in ("unit", "signed")]  # fmt: skip
    same = evaluate(capsys, folders / "real.npz", folders / "real.npz", "--extractor", "digits", "--num_samples", "60")
    same.pop("label_accuracy_digits_60")  # these images have labels
    assert first[0] == first[1] == same


def test_a_checkpoint_against_the_data_it_learned(checkpoint, folders, tmp_path, capsys):
    """Of its test split, or the same images as files: the same scores; the classes drawn in turn."""
    out = tmp_path / "scores.json"
    names = ["--scores", "fd", "kid", "class_transfer", "classes"]
    scores = evaluate(capsys, checkpoint, checkpoint, *names, "--json", out)
    assert scores["fd_digits_300"] > 50
    assert 0 <= scores["gan_test_linear_digits_300"] <= 1
    assert evaluate(capsys, folders / "real", checkpoint, *names, "--extractor", "digits") == scores
    assert evaluate(capsys, checkpoint, checkpoint, *names, "--seed", "1")["fd_digits_300"] != scores["fd_digits_300"]
    written = json.loads(out.read_text())
    assert written["scores"] == pytest.approx(scores, rel=1e-5)
    assert (written["real_images"], written["generated_images"], written["split"]) == (300, 300, "test")
    assert re.fullmatch("[0-9a-f]{64}", written["extractor_sha256"])


def test_scores_are_those_of_lit_gen_test(checkpoint, tmp_path, capsys):
    main(["test", f"--ckpt_path={checkpoint}", "--evaluate.num_samples=300", f"--trainer.default_root_dir={tmp_path}",
          "--trainer.enable_progress_bar=false"])  # fmt: skip
    printed = capsys.readouterr().out
    scores = evaluate(capsys, checkpoint, checkpoint, "--scores", "fd")
    tested = float(re.search(r"test/fd_digits_300\s+│\s+([\d.]+)", printed)[1])
    assert scores["fd_digits_300"] == pytest.approx(tested, rel=1e-5)


def test_statistics_in_place_of_images(folders, tmp_path, capsys):
    """Written once, read later; and without the features of single images the scores of moments remain."""
    command = [folders / "noise", "--extractor", "digits", "--scores", "fd", "kid"]
    first = evaluate(capsys, folders / "real.npz", *command, "--statistics", tmp_path / "real.npz")
    assert evaluate(capsys, tmp_path / "real.npz", *command) == pytest.approx(first, rel=1e-5)
    with np.load(tmp_path / "real.npz") as archive:
        np.savez(tmp_path / "theirs.npz", mu=archive["mu"], sigma=archive["sigma"])
    scores = evaluate(capsys, tmp_path / "theirs.npz", folders / "noise", "--extractor", "digits")
    assert scores["fd_digits_60"] == pytest.approx(first["fd_digits_60"], rel=1e-5)
    assert not any("kid" in name for name in scores)
    assert "hold mean and covariance alone" in error(capsys, tmp_path / "theirs.npz", *command)


def test_statistics_of_another_extractor_are_refused(folders, tmp_path, capsys):
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    message = error(capsys, tmp_path / "inception.npz", folders / "noise", "--extractor", "digits")
    assert "statistics of 2048 features; the extractor 'digits' gives 64" in message
    evaluate(capsys, folders / "real.npz", folders / "noise", "--extractor=pixels", "--statistics", tmp_path / "r.npz")
    message = error(capsys, tmp_path / "r.npz", folders / "noise", "--extractor", "digits")
    assert "statistics of another extractor than 'digits'" in message


def test_points(tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    np.savez(tmp_path / "a.npz", points=points)
    np.save(tmp_path / "b.npy", points + 3)
    assert evaluate(capsys, tmp_path / "a.npz", tmp_path / "b.npy")["fd_identity_200"] == pytest.approx(18, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "{noise}"], "nowhere: there is no such file or folder"),
        (["{real}", "{noise}"], "--extractor auto: none is shipped for these images"),
        (["{real}", "{noise}", "--extractor", "mnist"], "made for image_shape=(1, 28, 28)"),
        (["{real}", "{noise}", "--extractor", "digits", "--scores", "fids"], "scores=fids: accepted are fd"),
        (["{real}", "{noise}", "--extractor", "digits", "--num_samples", "0"], "--num_samples 0: at least 1"),
        (["{real}", "{noise}", "--extractor", "digits", "--num_samples", "61"], "{noise} holds 60 images"),
        (["{real}", "{unit}", "--extractor", "digits"], "state its range by --values"),
        (["{real}", "{mixed}", "--extractor", "digits"], "images of 2 sizes (8x8, 9x9"),
        (["{real}", "{text}", "--extractor", "digits"], "not a readable image"),
        (["{real}", "{cut}", "--extractor", "digits"], "cut.npz: "),
        (["{real}", "{cut_checkpoint}", "--extractor", "digits"], "not a whole checkpoint"),
        (["{real}", "{colour}", "--extractor", "digits"], "extractor 'digits' takes (1, 8, 8)"),
        (
            ["{real}", "{unit}", "--values=unit", "--size=9", "--extractor", "pixels"],
            "--size 9 scales image files alone",
        ),
        (["{real}", "{odd}", "--extractor", "digits"], "(5, 2, 8, 8): expected (N, H, W)"),
        (["{real}", "{one}", "--extractor", "digits"], "1 images in this split; scores need at least 2"),
        (["{real}", "{noise}", "--extractor", "digits", "--scores", "fd_class"], "the samples have no labels"),
        (["{real}", "{noise}", "--extractor", "digits", "--scores", "kid_subsets"], "needs 1000 of 60 samples"),
        (["{real}"], "evaluate: the following arguments are required: generated"),
        (["{real}", "{noise}", "--nonsense"], "evaluate: unrecognized arguments: --nonsense"),
    ],
)
def test_errors_are_one_line(arguments, message, folders, tmp_path, capsys):
    paths = {name: str(folders / file) for name, file in {"real": "real", "noise": "noise", "unit": "unit.npz"}.items()}
    save(tmp_path / "mixed" / "a.png", np.zeros((8, 8), np.uint8))
    save(tmp_path / "mixed" / "b.png", np.zeros((9, 9), np.uint8))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.png").write_text("no picture")
    np.savez(tmp_path / "colour.npz", images=np.zeros((5, 8, 8, 3), np.uint8))
    np.savez(tmp_path / "odd.npz", images=np.zeros((5, 2, 8, 8), np.uint8))
    np.savez(tmp_path / "one.npz", images=np.zeros((1, 8, 8), np.uint8))
    (tmp_path / "cut.npz").write_bytes((folders / "real.npz").read_bytes()[:900])
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04")
    paths |= {name: str(tmp_path / name) for name in ("mixed", "text")}
    paths |= {name: str(tmp_path / f"{name}.npz") for name in ("colour", "odd", "one", "cut")}
    paths["cut_checkpoint"] = str(tmp_path / "cut.ckpt")
    assert message.format(**paths) in error(capsys, *(argument.format(**paths) for argument in arguments))


def test_files_of_other_sizes_are_scaled_when_asked(folders, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (12, 20, 24), np.uint8)
    for i, image in enumerate(images):
        save(tmp_path / "large" / f"{i}.png", image)
    command = [folders / "noise", tmp_path / "large", "--extractor", "pixels", "--scores", "fd"]
    assert "image_shape" in (message := error(capsys, *command)) or "shape (1, 20, 24)" in message
    assert evaluate(capsys, *command, "--size", "8")["fd_pixels_12"] > 0


def test_a_module_made_in_python(tmp_path, capsys):
    """Its checkpoint doesn't name its data, which is said; against a file it is scored."""
    np.savez(tmp_path / "points.npz", images=np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32))
    data = ArrayDataModule(str(tmp_path / "points.npz"), batch_size=16)
    trainer = L.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer.fit(GAN((2,), **NETWORKS), datamodule=data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    scores = evaluate(capsys, tmp_path / "points.npz", tmp_path / "model.ckpt", "--num_samples", "50")
    assert scores["fd_identity_50"] > 0


@pytest.mark.parametrize("model", ["cgan_digits", "vae_digits"])
def test_batches_are_no_part_of_a_model_s_score(model, folders, capsys):
    command = [folders / "real", model, "--extractor", "digits", "--scores", "fd", "classes", "--num_samples", "700"]
    scores = [evaluate(capsys, *command, "--batch_size", size) for size in (500, 64, 650)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    assert scores[2] == pytest.approx(scores[0], rel=1e-4)


def test_scores_that_are_left_out_are_named(folders, tmp_path, capsys):
    """Data that are all alike, or statistics alone: the rest of the table stays."""
    np.savez(tmp_path / "flat.npz", images=np.full((60, 8, 8), 200, np.uint8))
    main(["evaluate", str(tmp_path / "flat.npz"), str(folders / "noise"), "--extractor=digits"])
    told = capsys.readouterr()
    assert "no diversity: diversity: all the data's features are the same" in told.err
    assert "fd_digits_60" in told.out
    main(["evaluate", str(folders / "real.npz"), str(folders / "noise"), "--extractor=pixels"])
    assert "no classes: the extractor doesn't classify, which this score needs" in capsys.readouterr().err


@pytest.mark.parametrize("scores", [["classes"], ["fd", "classes"], ["inception_score"]])
def test_scores_of_a_classifier_need_one(scores, folders, capsys):
    message = error(capsys, folders / "real.npz", folders / "noise", "--extractor", "pixels", "--scores", *scores)
    assert message == f"--scores {scores[-1]}: the extractor doesn't classify, which this score needs"


def test_too_few_real_images_are_told_with_the_number_needed(folders, capsys):
    main(["evaluate", str(folders / "noise"), str(folders / "real.npz"), "--extractor", "digits"])
    told = capsys.readouterr()
    assert "fd against 60 real images: too few for the covariance of 64 features; at least 65 are needed" in told.err
    assert "precision_recall, density_coverage against 60 real images: " in told.err
    assert "at least 1,000 are needed" in told.err
    assert "300 images against 60 of" in told.out


def test_each_side_has_its_range_and_keeps_to_it(folders, tmp_path, capsys):
    command = ["--extractor=digits", "--scores=fd", "--values"]
    scores = evaluate(capsys, folders / "unit.npz", folders / "signed.npz", *command, "unit", "--values", "signed")
    assert scores["fd_digits_60"] == pytest.approx(0, abs=1e-6)
    message = error(capsys, folders / "unit.npz", folders / "signed.npz", *command, "unit")
    assert "signed.npz: images holds values from -1 to 1, and --values unit are from 0 to 1" in message
    with np.load(folders / "real.npz") as archive:
        np.savez(tmp_path / "bytes.npz", images=archive["images"].astype(np.float32))
    message = error(capsys, folders / "real.npz", tmp_path / "bytes.npz", *command, "unit")
    assert "holds values from 0 to 255, and --values unit are from 0 to 1" in message
    main(["evaluate", str(folders / "real.npz"), str(folders / "unit.npz"), *command, "signed"])
    assert "has no value below 0 (from 0 to 1); is it --values unit?" in capsys.readouterr().err
    three = [*command, "unit", *["--values", "unit"] * 2]
    assert "once for both sides, or once for each" in error(capsys, "a", "b", *three)


def test_arrays_of_other_programs(folders, tmp_path, capsys):
    """ADM's samples with labels, and its reference batches, which are images and not the statistics beside them."""
    with np.load(folders / "real.npz") as archive:
        colour = np.repeat(archive["images"][..., None], 3, axis=3)
        np.savez(tmp_path / "samples.npz", arr_0=colour, arr_1=archive["labels"])
        other = {"mu_s": np.zeros(2), "sigma_s": np.eye(2)}
        np.savez(tmp_path / "reference.npz", arr_0=colour, mu=np.zeros(2048), sigma=np.eye(2048), **other)
    command = ["--extractor", "pixels", "--scores", "fd", "precision_recall"]
    scores = evaluate(capsys, tmp_path / "reference.npz", tmp_path / "samples.npz", *command)
    assert scores["fd_pixels_300"] == pytest.approx(0, abs=1e-6)
    assert scores["precision_pixels_300"] == 1
    grey = evaluate(capsys, folders / "real.npz", tmp_path / "samples.npz", *command)
    assert grey == pytest.approx(scores, abs=1e-6)


def test_two_files_of_statistics(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(tmp_path / "b.npz", mu=np.ones(3), sigma=4 * np.eye(3, dtype=np.float32))
    main(["evaluate", str(tmp_path / "a.npz"), str(tmp_path / "b.npz"), "--json", str(tmp_path / "scores.json")])
    told = capsys.readouterr()
    assert told.out.splitlines()[1].split()[:2] == ["fd_statistics", "6"]
    assert "no kid, precision_recall, density_coverage, diversity, nn_test: the real statistics hold mean" in told.err
    written = json.loads((tmp_path / "scores.json").read_text())
    assert (written["extractor"], written["real_images"], written["generated_images"]) == (None, None, None)
    np.savez(tmp_path / "c.npz", mu=np.ones(2), sigma=np.eye(2))
    assert "statistics of 2 features; those of" in error(capsys, tmp_path / "a.npz", tmp_path / "c.npz")
    assert "leave it out" in error(capsys, tmp_path / "a.npz", tmp_path / "b.npz", "--extractor=digits")


def test_statistics_of_generated_images(folders, tmp_path, capsys):
    command = ["--extractor", "digits", "--scores", "fd", "kid"]
    expected = evaluate(capsys, folders / "noise", folders / "real.npz", *command)
    evaluate(capsys, folders / "real.npz", folders / "noise", *command, "--statistics", tmp_path / "generated.npz")
    scores = evaluate(capsys, folders / "noise", tmp_path / "generated.npz", *command)
    assert scores == pytest.approx(expected, rel=1e-5)
    evaluate(capsys, folders / "noise", folders / "real.npz", *command, "--statistics", tmp_path / "real.npz")
    both = evaluate(capsys, tmp_path / "real.npz", tmp_path / "generated.npz", "--scores", "fd", "kid")
    assert list(both.values()) == pytest.approx(list(expected.values()), rel=1e-5)


@pytest.mark.slow
def test_an_extractor_that_resizes_takes_any_size_and_grey_for_colour(folders, tmp_path, capsys):
    """The same digits as grey files and as colour arrays of twice the size."""
    with np.load(folders / "real.npz") as archive:
        images = archive["images"][:20]
    np.savez(tmp_path / "grey.npz", images=images)
    np.savez(tmp_path / "colour.npz", images=np.repeat(images[..., None], 3, 3))
    np.savez(tmp_path / "large.npz", images=images.repeat(2, 1).repeat(2, 2))
    command = ["--extractor", "inception-random", "--scores", "fd"]
    scores = evaluate(capsys, tmp_path / "grey.npz", tmp_path / "colour.npz", *command)
    assert scores["fd_inception-random_20"] == pytest.approx(0, abs=1e-3)
    scores = evaluate(capsys, tmp_path / "grey.npz", tmp_path / "large.npz", *command)
    assert scores["fd_inception-random_20"] > 0
