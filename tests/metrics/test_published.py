"""Published networks: their protocol in the name, their layer, and DINOv2 beside a slow reference in float64."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision import models

from lit_gen.metrics import FastExtractor, published_extractor
from lit_gen.metrics.choosing import choose_extractor
from lit_gen.metrics.dinov2 import VisionTransformer


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A file of random weights of ResNet-18, and the network."""
    torch.manual_seed(0)
    network = models.resnet18(weights=None).eval()
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(network.state_dict(), path)
    return path, network


def random_vit(**sizes: int) -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(**sizes).eval()
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.2)
    return network


def test_torchvision(resnet):
    """The layer before the last, of the whole image scaled and normalised; its name says so."""
    path, network = resnet
    extractor = published_extractor(f"torchvision:resnet18:{path}", (1, 40, 50))
    assert extractor.name.startswith("torchvision-resnet18-")
    assert extractor.name.endswith("-bicubic224-imagenet-before_fc")
    assert (extractor.num_features, extractor.num_classes, extractor.frechet) == (512, 1000, "fd")
    assert extractor.class_names[:2] == ("tench", "goldfish")
    images = torch.randint(0, 256, (2, 1, 40, 50), generator=torch.Generator().manual_seed(0)).float()
    features, logits = extractor.extract(images / 127.5 - 1)
    unit = F.interpolate(images.expand(-1, 3, -1, -1), (224, 224), mode="bicubic", antialias=True) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network((unit - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(network.fc(features), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(FastExtractor(extractor).extract(images / 127.5 - 1)[0], features, rtol=1e-3, atol=1e-3)


def test_torchvision_of_the_download_cache_and_without(resnet, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no file .*/resnet18-f37072fd.pth; download https://download.pytorch"):
        choose_extractor("torchvision:resnet18", Data())
    cache = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(resnet[0].read_bytes())
    digits = published_extractor(f"torchvision:resnet18:{resnet[0]}", (3, 8, 8)).name.split("-")[2]
    assert choose_extractor("torchvision:resnet18", Data()).name.split("-")[2] == digits


class Data:
    image_shape, name = (3, 8, 8), "data"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "accepted are alexnet, "),
        ("torchvision:squeezenet1_0:{squeezenet}", "it has no linear layer"),
        ("torchvision:resnet34:{resnet}", "not the weights of torchvision's resnet34"),
        ("torchvision:resnet18:{text}", "no readable file of weights"),
        ("torchvision:", "expected torchvision:NAME"),
        ("dinov2:{resnet}", "not the weights of a DINOv2 network"),
        ("dinov2:{list}", "holds no tensors by name"),
    ],
)
def test_other_weights_are_refused(name, message, resnet, tmp_path):
    (tmp_path / "text").write_text("no weights")
    torch.save(models.squeezenet1_0(weights=None).state_dict(), tmp_path / "squeezenet")
    torch.save([torch.zeros(1)], tmp_path / "list")
    paths = {"resnet": resnet[0], **{file: tmp_path / file for file in ("text", "squeezenet", "list")}}
    with pytest.raises(ValueError, match=message):
        published_extractor(name.format(**paths), (3, 8, 8))


def reference(state: dict[str, torch.Tensor], images: torch.Tensor, registers: int) -> torch.Tensor:
    """The class token of DINOv2, token by token and head by head, in float64."""
    w = {name: value.double() for name, value in state.items()}
    dim, _, patch, _ = w["patch_embed.proj.weight"].shape
    rows, columns = images.shape[2] // patch, images.shape[3] // patch
    grid = math.isqrt(w["pos_embed"].shape[1] - 1)
    learned = w["pos_embed"][0, 1:].T.reshape(1, dim, grid, grid)
    if (rows, columns) == (grid, grid):
        placed = learned
    elif registers:
        placed = F.interpolate(learned, (rows, columns), mode="bicubic", antialias=True)
    else:
        factors = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        placed = F.interpolate(learned, scale_factor=factors, mode="bicubic")

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean()
        return centred / (centred.square().mean() + 1e-6).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    features = []
    for image in images.double():
        tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
        tokens += list(w["register_tokens"][0]) if registers else []
        for i in range(rows):
            for j in range(columns):
                part = image[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
                token = (w["patch_embed.proj.weight"] * part).sum((1, 2, 3)) + w["patch_embed.proj.bias"]
                tokens.append(token + placed[0, :, i, j])
        for b in range(1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))):
            block = f"blocks.{b}"
            triples = [linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").view(3, dim // 64, 64) for x in tokens]
            after = []
            for x, (query, _, _) in zip(tokens, triples, strict=True):
                heads = []
                for h in range(dim // 64):
                    scores = torch.stack([query[h] @ key[h] / 8 for _, key, _ in triples]).softmax(0)
                    heads.append(sum(s * value[h] for s, (_, _, value) in zip(scores, triples, strict=True)))
                x = x + w[f"{block}.ls1.gamma"] * linear(torch.cat(heads), f"{block}.attn.proj")
                hidden = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
                hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
                after.append(x + w[f"{block}.ls2.gamma"] * linear(hidden, f"{block}.mlp.fc2"))
            tokens = after
        features.append(norm(tokens[0], "norm"))
    return torch.stack(features)


@pytest.mark.parametrize(("registers", "size"), [(0, (8, 8)), (0, (6, 4)), (2, (6, 4))])
def test_dinov2_beside_a_slow_reference(registers, size):
    network = random_vit(dim=128, depth=2, patch=2, grid=4, registers=registers).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = network(images)
    torch.testing.assert_close(features, reference(network.state_dict(), images, registers), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_dinov2_from_a_file(suffix, tmp_path):
    network = random_vit(dim=64, depth=1, grid=5)
    path = tmp_path / f"vit{suffix}"
    save = torch.save if suffix == ".pth" else save_file
    save(network.state_dict(), path)
    extractor = choose_extractor(f"dinov2:{path}", Data())
    assert extractor.name.startswith("dinov2-vit64x1-")
    assert extractor.name.endswith("-bicubic224-imagenet-cls")
    assert extractor.takes((1, 30, 20))
    assert extractor.extract(torch.zeros(2, 1, 30, 20))[0].shape == (2, 64)
    gated = {"blocks.0.mlp.w12.weight": torch.zeros(1), **network.state_dict()}
    torch.save(gated, tmp_path / "giant.pth")
    with pytest.raises(ValueError, match="a gated MLP, which is not supported"):
        choose_extractor(f"dinov2:{tmp_path / 'giant.pth'}", Data())
