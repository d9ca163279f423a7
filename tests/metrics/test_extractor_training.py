"""Extractors of one's own images: with labels and without, of any size and channels, and the commands proposed."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from datamodules import ArrayDataModule, DigitsDataModule, FashionMNISTDataModule, ImageFolderDataModule
from lit_gen.cli.app import main
from lit_gen.cli.commands import extractor as command
from lit_gen.metrics import LinearClassifier, SmallCNN, SmallResNet, choosing, load_extractor, train_extractor
from lit_gen.metrics.extractor_training import accuracy, recipe_for
from lit_gen.metrics.views import contrast, view, views_found


def digits(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    dataset = DigitsDataModule().dataset(split)
    return dataset.__getitems__(list(range(len(dataset))))


def stripes(count: int, shape: tuple[int, ...], classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is the period of their stripes, uint8 (N, C, H, W)."""
    random, labels = np.random.default_rng(0), np.arange(count) % classes
    phase = random.integers(0, 8, count)[:, None] + np.arange(shape[2])
    wave = 127 * (1 + np.sin(2 * np.pi * phase / (4 << labels)[:, None]))
    noise = random.normal(0, 5, (count, *shape))
    return np.clip(wave[:, None, None, :] + noise, 0, 255).astype(np.uint8), labels


def taught(network: SmallCNN) -> float:
    """Share of the test digits that a linear classifier of the features finds."""
    (images, labels), (others, other_labels) = digits("train"), digits("test")
    features, logits = network.extract(images / 127.5 - 1)
    assert logits is None
    return LinearClassifier(features, labels, 10).accuracy(network.extract(others / 127.5 - 1)[0], other_labels)


def test_without_labels_the_features_know_the_classes_better_than_untrained_ones():
    network, recipe = train_extractor(digits("train")[0], None, "mine", epochs=4)
    assert (network.num_classes, network.head) == (None, None)
    assert "contrast of two views" in recipe
    torch.manual_seed(0)
    untrained = SmallCNN((1, 8, 8), None).eval()
    assert taught(network) > max(0.94, taught(untrained) + 0.03)
    others = digits("test")[0]
    assert accuracy(network, others, None) > 2 * accuracy(untrained, others, None)


@pytest.mark.parametrize(
    ("shape", "kind", "stride"),
    [
        ((1, 16, 12), SmallCNN, 1),
        ((3, 8, 9), SmallResNet, 1),
        ((2, 48, 40), SmallResNet, 1),
        ((4, 66, 130), SmallResNet, 3),
    ],
)
def test_any_size_and_any_channels(shape, kind, stride):
    images, labels = stripes(48, shape)
    network, _ = train_extractor(
        torch.from_numpy(images), torch.from_numpy(labels), "s", class_names=("a", "b"), epochs=1
    )
    assert (type(network), network.stride, network.image_shape, network.class_names) == (
        kind,
        stride,
        shape,
        ("a", "b"),
    )
    features, logits = network.extract(torch.zeros(2, *shape))
    assert (features.shape, logits.shape) == ((2, network.num_features), (2, 2))


def test_drawings_and_photographs():
    assert recipe_for((1, 28, 28)).network is recipe_for((2, 32, 8)).network is SmallCNN
    assert recipe_for((3, 8, 8)).network is recipe_for((1, 64, 8)).network is SmallResNet


def test_contrast_is_the_mean_cross_entropy_of_the_other_view():
    rows = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for i in range(6):
        likeness = [float(F.cosine_similarity(rows[i], rows[j], dim=0)) / 0.2 for j in range(6) if j != i]
        own = float(F.cosine_similarity(rows[i], rows[(i + 3) % 6], dim=0)) / 0.2
        expected -= (own - np.log(np.exp(likeness).sum())) / 6
    assert float(contrast(rows)) == pytest.approx(expected, rel=1e-12)
    assert views_found(rows, 2 * rows).tolist() == [True] * 6
    assert views_found(rows[:2], rows[[1, 0]]).tolist() == [False] * 2


def test_a_view_is_a_part_of_its_own_image():
    """Of a ramp along the width: a ramp at least half as long, of the image's own number; mirrored if asked."""
    ramp = torch.linspace(-1, 1, 32).expand(64, 1, 8, 32) * torch.tensor([1.0, 0.0]).repeat(32).view(64, 1, 1, 1)
    for flip in (False, True):
        slopes = view(ramp, torch.Generator().manual_seed(0), flip).diff(dim=3).mean((1, 2, 3))
        assert torch.allclose(slopes[1::2], torch.zeros(32), atol=1e-6)
        full = 2 / 31
        assert ((slopes[::2].abs() > 0.5 * 0.6 * full * 0.9) & (slopes[::2].abs() < 1.4 * full)).all()
        assert (slopes[::2] < 0).any() == flip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def run_of(line: str) -> list[str]:
    """The words of a printed command, which begins with lit-gen."""
    words = shlex.split(line)
    assert words[0] == "lit-gen"
    return words[1:]


def test_the_commands_proposed_run_when_pasted(here, capsys):
    """Of images that no extractor is shipped for: the one named by hand, and after training the one trained."""
    images, labels = stripes(60, (3, 12, 12))
    np.savez(here / "my images.npz", images=images, labels=labels)
    with pytest.raises(SystemExit):
        main(["evaluate", "my images.npz", "my images.npz", "--extractor", "auto", "--scores", "fd"])
    again, train = re.findall("`(.*?)`", capsys.readouterr().err)
    assert again.endswith("--scores fd --extractor pixels")
    main(run_of(again))
    assert "fd_pixels_60" in capsys.readouterr().out
    main([*run_of(train), "--epochs", "2"])
    assert "held out accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", "my images.npz", "my images.npz"])
    again, _ = re.findall("`(.*?)`", capsys.readouterr().err)
    assert "own_my images.safetensors" in again
    main(run_of(again))
    out = capsys.readouterr().out
    assert re.search(r"fd_own_my-images_60\s+0", out)
    assert "label_accuracy_own_my-images_60" in out
    metadata = load_extractor("own_my images.safetensors").metadata
    assert {"protocol", "image_shape", "num_classes", "lit_gen", "held_out_accuracy", "recipe"} <= metadata.keys()
    assert metadata["images"] == {"train": 54, "held_out": 6}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 32, 32), "cifar10"),
        ((1, 28, 28), "mnist"),
        ((1, 8, 8), "digits"),
        ((3, 64, 64), "pixels"),
        ((2,), "identity"),
    ],
)
def test_what_fits_is_proposed(shape, expected, here, monkeypatch):
    assert choosing.proposal(shape) == expected
    if len(shape) == 3:
        weights = here / "torch" / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
        weights.parent.mkdir(parents=True)
        weights.touch()
        assert choosing.fitting(shape)[-2:] == ["inception", "pixels"]


def test_data_modules_say_how_to_train_their_own(here, capsys):
    """The printed command names the same images; of a class of one's own it is Python's."""
    images, labels = stripes(60, (3, 12, 12))
    np.savez(here / "a b.npz", images=images, labels=labels)
    (line,) = re.findall("`(.*?)`", choosing.training_command(ArrayDataModule("a b.npz")))
    main([*run_of(line), "--epochs", "1"])
    network = load_extractor(run_of(line)[-1])
    assert (network.image_shape, network.name) == ((3, 12, 12), "own_a-b")
    for data, expected in [
        (ImageFolderDataModule("photos", image_size=24, channels=1), ["--size", "24", "--channels", "1"]),
        (FashionMNISTDataModule("elsewhere"), ["FashionMNISTDataModule", "--root", "elsewhere"]),
    ]:
        (line,) = re.findall("`(.*?)`", choosing.training_command(data))
        options = command.parser().parse_args(run_of(line)[1:])
        assert set(expected) <= set(run_of(line))
        assert options.root == getattr(data, "root", None)


def test_a_folder_without_labels(here, capsys):
    images, _ = stripes(40, (1, 12, 12))
    np.save(here / "plain.npy", images[:, 0])
    main(["extractor", "plain.npy", "--out", "plain.safetensors", "--epochs", "1"])
    assert "views told from those of others" in capsys.readouterr().out
    network = load_extractor("plain.safetensors")
    assert (network.num_classes, network.metadata["objective"]) == (None, "views")
    main(["evaluate", "plain.npy", "plain.npy", "--extractor", "plain.safetensors", "--json", "scores.json"])
    scores = json.loads((here / "scores.json").read_text())["scores"]
    assert scores["fd_plain_40"] == pytest.approx(0, abs=1e-6)
    assert not any("classes" in name for name in scores)


def test_too_few_images(here, capsys):
    np.save(here / "few.npy", np.zeros((19, 8, 8), np.uint8))
    with pytest.raises(SystemExit):
        main(["extractor", "few.npy", "--out", "few.safetensors"])
    assert "few.npy: 19 images to learn; at least 20 are needed" in capsys.readouterr().err
    assert not (here / "few.safetensors").exists()
