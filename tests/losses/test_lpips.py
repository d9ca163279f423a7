"""LPIPS beside torchmetrics', by random weights in each of the published layouts; its gradient; what it refuses."""

import json
from functools import lru_cache

import pytest
import torch
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision import models

from lit_gen.losses.lpips import LPIPS
from lit_gen.networks.lpips import BACKBONES
from lit_gen.pretrained.specification import build, describe

SIZES = {"vgg": 16, "alex": 31, "squeeze": 17}


@lru_cache
def theirs(net: str) -> _LPIPS:
    """torchmetrics' network with random weights, its channels' published ones."""
    torch.manual_seed(0)
    network = _LPIPS(net=net, pnet_rand=True).double()
    for weights in network.net.parameters():  # livelier than first weights, which let nothing through
        weights.data.normal_(0, (2 / weights[0].numel()) ** 0.5) if weights.ndim > 1 else weights.data.normal_(0, 0.1)
    return network.float()


def as_torchvision(network: _LPIPS) -> dict[str, torch.Tensor]:
    """Its backbone under the names of torchvision's own file, with a classifier that nobody asks for."""
    names = {f"features.{name.split('.', 3 if 'slices' in name else 2)[-1]}": value
             for name, value in network.state_dict().items() if name.startswith("net.")}  # fmt: skip
    return {**names, "classifier.0.weight": torch.zeros(2, 2)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """For each network: torchvision's file, and that of everything."""
    folder = tmp_path_factory.mktemp("lpips")
    for net in SIZES:
        torch.save(as_torchvision(theirs(net)), folder / f"{net}.pth")
        torch.save(theirs(net).state_dict(), folder / f"{net}-whole.pth")
    return folder


def images(net, channels=3, n=3, dtype=torch.float32):
    side = SIZES[net]
    x = torch.rand(2, n, channels, side, side + 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return x.to(dtype)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", ["", "-whole"])
@pytest.mark.parametrize("net", SIZES)
def test_as_torchmetrics_computes(net, layout, channels, files):
    loss = LPIPS(0.7, weights=str(files / f"{net}{layout}.pth"), net=net)
    loss.check((channels, 31, 36), None)
    x, y = images(net, channels)
    expected = theirs(net)(*(side.expand(-1, 3, -1, -1) for side in (x, y))).mean()
    assert expected > 0.01
    torch.testing.assert_close(loss(x, y, None), 0.7 * expected, rtol=1e-6, atol=1e-6)
    assert loss(x, x, None) == 0


@pytest.mark.parametrize("net", SIZES)
def test_the_layers_are_those_of_torchvision(net):
    """Names and shapes, so that a published file fits."""
    name = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}[net]
    with torch.device("meta"):
        features, backbone = getattr(models, name)(weights=None).features, BACKBONES[net].make()
    shapes = [{key: value.shape for key, value in x.state_dict().items()} for x in (features, backbone)]
    assert shapes[0] == shapes[1]


def test_the_channels_weights_come_from_a_file_of_their_own(files, tmp_path):
    own = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate(BACKBONES["squeeze"].channels)}
    torch.save(own, tmp_path / "linear.pth")
    x, y = images("squeeze")
    loss = LPIPS(weights=str(files / "squeeze.pth"), linear=str(tmp_path / "linear.pth"), net="squeeze")
    network = _LPIPS(net="squeeze", pretrained=False, pnet_rand=True)
    network.load_state_dict({**theirs("squeeze").state_dict(), **own, **{
        key.replace("lin", "lins.", 1): value for key, value in own.items()}})  # fmt: skip
    torch.testing.assert_close(loss(x, y, None), network(x, y).mean(), rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences(files):
    loss = LPIPS(weights=str(files / "squeeze.pth"), net="squeeze")
    x, y = images("squeeze", 1, 1, torch.float64)
    x.requires_grad_()
    loss(x, y, None).backward()
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        step = 1e-6 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            difference = (loss(x + step, y, None) - loss(x - step, y, None)) / 2
        torch.testing.assert_close((x.grad * step).sum(), difference, rtol=1e-5, atol=1e-14)


def test_a_dead_position_has_a_gradient(files):
    """Where no channel is active, a length is 0 and its root has no derivative."""
    loss = LPIPS(weights=str(files / "vgg.pth"))
    x = torch.full((1, 3, 16, 16), -1.0, requires_grad=True)
    loss(x, images("vgg", n=1)[0][..., :16], None).backward()
    assert x.grad.isfinite().all()


def test_autocast_changes_nothing(files):
    loss = LPIPS(weights=str(files / "squeeze.pth"), net="squeeze")
    x, y = images("squeeze")
    expected = loss(x, y, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(x, y, None), expected)


def test_it_is_described_by_its_files_and_opens_none_until_a_training_begins():
    loss = LPIPS(weights="nowhere.pth")
    loss.check((3, 32, 32), None)
    description = json.loads(json.dumps(describe(loss)))
    assert build(description["class_path"], description["init_args"]) == loss


def prepared(folder, content=None, **options):
    path = folder / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    LPIPS(weights=str(path), **options).prepare()


class Mine:
    pass


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: prepared(folder), "weights='.*file.pth': no such file of LPIPS's weights; nothing is downl"),
        (lambda folder: prepared(folder, b"<html>not found</html>"), "weights='.*file.pth': no file of tensors"),
        (lambda folder: prepared(folder, Mine()), "weights='.*file.pth': no file of tensors"),
        (lambda folder: prepared(folder, [torch.zeros(2)]), "weights='.*file.pth': no file of tensors"),
        (lambda folder: prepared(folder, as_torchvision(theirs("alex"))), "net='vgg': no weights of that network"),
        (lambda folder: prepared(folder, {"weight": torch.zeros(2)}, net="alex"), "net='alex': no weights of that"),
        (
            lambda folder: prepared(
                folder, {**as_torchvision(theirs("alex")), "lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, net="alex"
            ),
            "linear='.*file.pth', net='alex': no such weights",
        ),
        (lambda _: LPIPS(weights="a.pth", net="resnet"), "net='resnet': LPIPS knows vgg, alex, squeeze"),
        (lambda _: LPIPS(-1.0, weights="a.pth"), "weight=-1.0"),
        (lambda _: LPIPS(weights="a.pth").check((1, 8, 8), None), r"sides of 16 pixels or more, .* \(1, 8, 8\)"),
        (lambda _: LPIPS(weights="a.pth", net="alex").check((3, 30, 64), None), r"sides of 31 pixels or more"),
        (lambda _: LPIPS(weights="a.pth").check((2, 32, 32), None), r"1 or 3 channels .* \(2, 32, 32\)"),
    ],
)
def test_bad_input_is_named_in_one_line(make, told, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=told) as error:
        make(tmp_path)
    assert "\n" not in str(error.value)
