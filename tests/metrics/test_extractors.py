import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from datamodules import DigitsDataModule
from lit_gen.cli.app import main
from lit_gen.metrics import (
    SHIPPED,
    FastExtractor,
    FeatureMoments,
    IdentityExtractor,
    ModuleExtractor,
    Pixels,
    SmallCNN,
    SmallResNet,
    classifiers,
    frechet_distance,
    load_extractor,
    save_extractor,
)
from lit_gen.metrics.extractor_training import mirrored, shifted


def digits(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    data = DigitsDataModule()
    images, labels = data.dataset(split).__getitems__(list(range(len(data.dataset(split)))))
    return data.to_float(images), labels


def distance(network, a: torch.Tensor, b: torch.Tensor) -> float:
    moments = []
    for images in (a, b):
        moment = FeatureMoments(network.num_features)
        moment.update(network.extract(images)[0])
        moments += [moment.mean, moment.covariance]
    return frechet_distance(*moments).item()


@pytest.mark.parametrize(
    ("name", "shape", "accuracy"),
    [("digits", (1, 8, 8), 0.98), ("mnist", (1, 28, 28), 0.99), ("cifar10", (3, 32, 32), 0.75)],
)
def test_shipped_files_describe_themselves(name, shape, accuracy):
    network = load_extractor(name)
    assert (network.name, network.image_shape, network.num_classes) == (name, shape, 10)
    assert network.metadata["test_accuracy"] >= accuracy
    assert {"data", "recipe", "width"} <= set(network.metadata)
    assert (classifiers.WEIGHTS / f"{name}.safetensors").stat().st_size < 2_000_000
    features, logits = network.extract(torch.zeros(3, *shape))
    assert (features.shape, logits.shape) == ((3, network.num_features), (3, 10))
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_digits_reaches_its_stated_accuracy():
    network = load_extractor("digits")
    images, labels = digits("test")
    right = (network.extract(images)[1].argmax(1) == labels).double().mean().item()
    assert right == pytest.approx(network.metadata["test_accuracy"], abs=1e-4)


def test_real_halves_are_near_and_noise_and_missing_classes_far():
    network, (images, labels) = load_extractor("digits"), digits("train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    halves = distance(network, images[order[::2]], images[order[1::2]])
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert distance(network, images, noise) > 50 * halves
    noisier = [distance(network, images, images + strength * noise) for strength in (0.2, 0.5, 0.8, 1.2)]
    assert noisier == sorted(noisier)
    assert distance(network, images, images[labels < 5]) > 10 * halves


@pytest.mark.parametrize("name", list(SHIPPED))
def test_a_flipped_byte_is_refused(name, tmp_path, monkeypatch):
    content = bytearray((classifiers.WEIGHTS / f"{name}.safetensors").read_bytes())
    monkeypatch.setattr(classifiers, "WEIGHTS", tmp_path)
    file = tmp_path / f"{name}.safetensors"
    file.write_bytes(content)
    assert load_extractor(name).name == name
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        load_extractor(name)
    with pytest.raises(ValueError, match=f"named {name!r} but is not the shipped extractor"):
        load_extractor(file)


def test_round_trip_through_a_file(tmp_path):
    torch.manual_seed(0)
    network = SmallCNN((3, 9, 12), 4, num_features=8, width=4, name="mine")
    digest = save_extractor(network, tmp_path / "a.safetensors", data="d", recipe="r", test_accuracy=0.5)
    assert digest == save_extractor(network, tmp_path / "b.safetensors", data="d", recipe="r", test_accuracy=0.5)
    loaded = load_extractor(tmp_path / "a.safetensors")
    assert (loaded.name, loaded.metadata["test_accuracy"]) == ("mine", 0.5)
    images = torch.randn(5, 3, 9, 12)
    for ours, theirs in zip(loaded.extract(images), network.extract(images), strict=True):
        assert ours.equal(theirs)


def test_a_file_says_which_network_it_holds(tmp_path):
    torch.manual_seed(0)
    network = SmallResNet((3, 8, 13), 4, num_features=8, width=4, name="mine")
    save_extractor(network, tmp_path / "a.safetensors")
    loaded = load_extractor(tmp_path / "a.safetensors")
    assert type(loaded) is SmallResNet
    images = torch.randn(5, 3, 8, 13)
    for ours, theirs in zip(loaded.extract(images), network.extract(images), strict=True):
        assert ours.equal(theirs)


@pytest.mark.parametrize("name", ["cifar100", "identity", "weights.pt"])
def test_unknown_names_list_the_shipped_ones(name):
    with pytest.raises(ValueError, match=rf"extractor='{name}': neither shipped \(digits, mnist, cifar10 are\)"):
        load_extractor(name)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_extractor(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ValueError, match=r"not an extractor written by lit-gen extractor"):
        load_extractor(tmp_path / "a.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "b.safetensors", {"extractor": json.dumps({"name": "b"})})
    with pytest.raises(ValueError, match=r"not an extractor written by lit-gen extractor"):
        load_extractor(tmp_path / "b.safetensors")


def test_extract_is_float32_eval_and_without_gradient():
    network, images = load_extractor("digits").train(), digits("val")[0][:6]
    expected = network.extract(images)[0]
    assert (expected.dtype, expected.requires_grad) == (torch.float32, False)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.train().extract(images)[0].equal(expected)
    one_by_one = torch.cat([network.train().extract(image[None])[0] for image in images])
    torch.testing.assert_close(one_by_one, expected)
    coarse = network.extract(images.bfloat16())[0]
    assert coarse.equal(network.extract(images.bfloat16().float())[0])


def test_another_image_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 1, 28, 28\): extractor 'digits' takes \(N, \*\(1, 8, 8\)\)"):
        load_extractor("digits").extract(torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize(("shape", "classes"), [((1, 3, 8), 10), ((2,), 10), ((1, 8, 8), 1)])
@pytest.mark.parametrize("network", [SmallCNN, SmallResNet])
def test_classifiers_refuse(network, shape, classes):
    with pytest.raises(ValueError, match=f"{network.__name__} needs"):
        network(shape, classes)


def test_identity_keeps_the_points():
    points = torch.randn(7, 2)
    features, logits = IdentityExtractor((2,)).extract(points)
    assert features.equal(points)
    assert logits is None
    assert IdentityExtractor((1, 8, 8)).extract(torch.zeros(3, 1, 8, 8))[0].shape == (3, 64)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (2,)])
def test_pixels(shape):
    images = torch.randn(4, *shape)
    if len(shape) == 3:
        features, logits = Pixels(shape).extract(images)
        assert (features.shape, logits, Pixels(shape).name) == ((4, Pixels(shape).num_features), None, "pixels")
        assert features.reshape(images.shape).equal(images)
    else:
        with pytest.raises(ValueError, match=r"image_shape=\(2,\): Pixels needs \(C, H, W\)"):
            Pixels(shape)


def test_any_module_can_extract():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Dropout(0.9)).train()
    extractor = ModuleExtractor((3, 9, 9), module, "mine")
    images = torch.randn(5, 3, 9, 9)
    features, logits = extractor.extract(images)
    assert (features.shape, features.dtype, logits, extractor.num_features) == ((5, 64), torch.float32, None, 64)
    expected = F.conv2d(images, module[0].weight, module[0].bias, stride=2) / (1 + module[1].eps) ** 0.5
    torch.testing.assert_close(features, expected.flatten(1))
    assert features.is_inference()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(3, 2), r"network=Linear: fails on images \(2, 3, 8, 8\)"),
        (nn.Flatten(0), r"network=Flatten: gives \(384,\) for images"),
        (nn.MaxPool2d(2, return_indices=True), r"network=MaxPool2d: gives tuple for images"),
    ],
)
def test_a_module_that_gives_no_rows_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        ModuleExtractor((3, 8, 8), module, "mine")
    with pytest.raises(ValueError, match="name=''"):
        ModuleExtractor((3, 8, 8), nn.Flatten(), "")


def test_an_extractor_is_no_part_of_a_modules_state():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.extractors = nn.ModuleList([load_extractor("digits"), FastExtractor(load_extractor("mnist"))])

    model, other = Model(), Model()
    assert set(model.state_dict()) == {"layer.weight", "layer.bias"}
    kept = model.extractors[0].features[0].weight.clone()
    assert other.load_state_dict(model.state_dict(), strict=True) == ([], [])
    assert other.layer.weight.equal(model.layer.weight)
    assert other.extractors[0].features[0].weight.equal(kept)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert not [key for key in averaged.state_dict() if "extractor" in key]


def test_training_is_deterministic_and_makes_loadable_files(tmp_path, capsys):
    state, digests = torch.get_rng_state(), set()
    for i in range(2):
        file = tmp_path / f"{i}.safetensors"
        main(f"extractor DigitsDataModule --epochs 1 --name mine --out {file}".split())
        digests.add(capsys.readouterr().out.split()[-1])
    assert len(digests) == 1
    assert torch.get_rng_state().equal(state)
    assert not torch.are_deterministic_algorithms_enabled()
    network = load_extractor(file)
    images, labels = digits("test")
    right = (network.extract(images)[1].argmax(1) == labels).double().mean().item()
    assert right == pytest.approx(network.metadata["test_accuracy"], abs=1e-4)
    assert right > 0.5  # one epoch: far above the 0.1 of chance
    assert network.metadata["data"] == "DigitsDataModule"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "nonsense --out x.safetensors",
            "a set of torchvision such as SVHN, nor a class of datamodules",
        ),
        ("digits --root x --out x.safetensors", "--root x: DigitsDataModule takes none"),
        ("MixtureDataModule --out x.safetensors", "needs images"),
        ("digits --out x.pt", "must end in .safetensors"),
        ("digits --out mnist.safetensors", "mnist is the name of a shipped extractor"),
        ("digits --out x.safetensors --name a/b", "--name a/b: scores carry it"),
        ("digits --out x.safetensors --epochs 0", "--epochs 0: at least 1"),
    ],
)
def test_training_refuses(command, message, capsys):
    with pytest.raises(SystemExit):
        main(["extractor", *command.split()])
    assert message in capsys.readouterr().err


def test_half_of_the_images_are_mirrored():
    images = torch.randn(200, 2, 3, 4)
    result = mirrored(images, torch.Generator().manual_seed(0))
    same = [after.equal(before) for before, after in zip(images, result, strict=True)]
    turned = [after.equal(before.flip(-1)) for before, after in zip(images, result, strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True))
    assert 70 < sum(turned) < 130


def test_shifts_move_whole_images_over_background():
    images = torch.randn(40, 2, 5, 6)
    moved = shifted(images, 1, torch.Generator().manual_seed(0))
    seen = set()
    for before, after in zip(images, moved, strict=True):
        padded = torch.full((2, 7, 8), -1.0)
        padded[:, 1:6, 1:7] = before
        fits = [(y, x) for y in range(3) for x in range(3) if padded[:, y : y + 5, x : x + 6].equal(after)]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) == 9
