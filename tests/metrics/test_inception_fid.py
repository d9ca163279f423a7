import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lit_gen.metrics import InceptionFID, inception_fid
from lit_gen.metrics.inception_fid import resize_clean, resize_tf1
from lit_gen.metrics.inception_network import InceptionNetwork, halve
from lit_gen.metrics.scores import protocol_name


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Random weights and batch statistics, under which features stay of the order of 1."""
    torch.manual_seed(0)
    network = InceptionNetwork()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    nn.init.normal_(network.fc.bias)
    return network.state_dict()


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(weights, path)
    return path


@pytest.fixture
def published(file, monkeypatch):
    """A file that passes for the published one."""
    monkeypatch.setattr(inception_fid, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def uint8_images(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def to_float(images: torch.Tensor) -> torch.Tensor:
    return images / 127.5 - 1


def test_torch_fidelity_gives_the_same_features(published):
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    names = ["64", "192", "768", "2048", "logits_unbiased"]
    reference = theirs.FeatureExtractorInceptionV3("test", names, str(published))
    images = uint8_images(2, 3, 32, 40)
    expected = reference(images)
    extractor = InceptionFID((3, 32, 40), weights=str(published))
    for features, expectation in zip((64, 192, 768, 2048), expected, strict=False):
        extractor.num_features = features
        found, logits = extractor.extract(to_float(images))
        assert found.shape == (2, features)
        torch.testing.assert_close(found, expectation, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits, expected[4], rtol=1e-4, atol=1e-4)
    assert all(0.01 < features.abs().mean() < 100 for features in expected)  # of a size that differences would show in


def test_pytorch_fid_gives_the_same_features(weights, monkeypatch):
    theirs = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: weights)
    reference = theirs.InceptionV3((0, 1, 2, 3), resize_input=False, normalize_input=False).eval()
    ours = InceptionNetwork().eval()
    ours.load_state_dict(weights)
    images = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        for expected in reference(images):
            found = ours(images, expected.shape[1])[0]
            torch.testing.assert_close(found, expected.mean((2, 3)), rtol=1e-4, atol=1e-4)


def test_spatial_features_are_seven_channels_of_mixed_6(published):
    """What the 1×1 branch of TensorFlow's mixed_6 gives after its ReLU, in its order: rows, columns, channels."""
    extractor = InceptionFID((3, 32, 40), weights=str(published), num_features=2023)
    seen = []
    extractor.network.Mixed_6d.branch1x1.register_forward_hook(lambda layer, given, output: seen.append(output))
    images = to_float(uint8_images(2, 3, 32, 40))
    features = extractor.extract(images)[0]
    assert (features.shape, extractor.num_features) == ((2, 17 * 17 * 7), 2023)
    branch = seen[0]
    assert branch.shape == (2, 192, 17, 17)
    assert branch.min() == 0
    assert features.view(2, 17, 17, 7)[1, 3, 11, 5] == branch[1, 5, 3, 11]
    assert features.equal(branch[:, :7].permute(0, 2, 3, 1).reshape(2, -1))
    assert protocol_name("fd", extractor.name, 50_000, extractor.frechet) == "sfid_inception-spatial_50k"


@pytest.mark.parametrize("side", [3, 8, 35])
def test_bfloat16_maxima_by_their_bits_are_the_pool(side):
    maps = torch.randn(2, 5, side, side + 2, generator=torch.Generator().manual_seed(side)).relu().bfloat16()
    maps[0, 0] = 0
    for images in (maps, maps.contiguous(memory_format=torch.channels_last), maps.float()):
        found = halve(images)
        assert found.dtype == images.dtype
        assert torch.equal(found, torch.nn.functional.max_pool2d(images, 3, stride=2))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (5, 301), (400, 299)])
def test_tf1_resizing_by_hand(height, width):
    image, size = uint8_images(height, width).double(), 299
    expected = np.empty((size, size))
    for i in range(size):
        y = i * height / size
        for j in range(0, size, 23):
            x = j * width / size
            low_y, low_x = int(y), int(x)
            high_y, high_x = min(low_y + 1, height - 1), min(low_x + 1, width - 1)
            top = image[low_y, low_x] * (1 - x + low_x) + image[low_y, high_x] * (x - low_x)
            bottom = image[high_y, low_x] * (1 - x + low_x) + image[high_y, high_x] * (x - low_x)
            expected[i, j] = top * (1 - y + low_y) + bottom * (y - low_y)
    found = resize_tf1(image.float()[None, None])[0, 0]
    np.testing.assert_allclose(found[:, ::23], expected[:, ::23], atol=1e-2)


def test_tf1_resizing_is_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = uint8_images(2, 3, 64, 333).float()
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(images, (299, 299), align_corners=False)
    torch.testing.assert_close(resize_tf1(images), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 512), (299, 299)])
def test_clean_resizing_is_pillows(height, width):
    image = uint8_images(height, width).float()
    expected = np.asarray(Image.fromarray(image.numpy(), mode="F").resize((299, 299), Image.Resampling.BICUBIC))
    found = resize_clean(image[None, None])[0, 0]
    np.testing.assert_allclose(found, expected.clip(0, 255), atol=1e-2)


def test_the_protocols_differ_where_images_shrink():
    stripes = torch.tensor([0.0, 255.0]).repeat(299).expand(1, 1, 598, 598)
    assert resize_tf1(stripes).unique().tolist() == [0.0]  # every second pixel alone
    inner = resize_clean(stripes)[..., 20:-20]
    torch.testing.assert_close(inner, torch.full_like(inner, 127.5), rtol=0, atol=40)


def test_floats_are_rounded_to_the_values_of_a_file(published):
    extractor = InceptionFID((3, 16, 16), weights=str(published), num_features=64)
    images = to_float(uint8_images(2, 3, 16, 16))
    expected = extractor.extract(images)[0]
    assert extractor.extract(images + 0.4 / 127.5)[0].equal(expected)
    assert not extractor.extract(images + 0.6 / 127.5)[0].equal(expected)


def test_grey_is_three_equal_channels(published):
    images = to_float(uint8_images(1, 1, 28, 28))
    grey = InceptionFID((1, 28, 28), weights=str(published)).extract(images)
    colour = InceptionFID((3, 28, 28), weights=str(published)).extract(images.expand(-1, 3, -1, -1))
    assert grey[0].equal(colour[0])
    assert grey[1].equal(colour[1])


@pytest.mark.parametrize(
    ("options", "name", "frechet"),
    [
        ({}, "inception", "fid"),
        ({"resize": "clean"}, "inception-clean", "fid"),
        ({"num_features": 768}, "inception-768", "fd"),
        ({"weights": "random"}, "inception-random", "fd"),
        ({"weights": "random", "resize": "clean", "num_features": 64}, "inception-random-clean-64", "fd"),
    ],
)
def test_the_name_says_the_protocol(published, options, name, frechet):
    extractor = InceptionFID((3, 8, 8), **{"weights": str(published), **options})
    assert (extractor.name, extractor.frechet, extractor.num_classes) == (name, frechet, 1008)
    assert not extractor.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_random_weights_are_the_same_every_time_and_keep_the_scale(monkeypatch):
    first, second = (InceptionFID((3, 8, 8), weights="random") for _ in range(2))
    images = to_float(uint8_images(2, 3, 8, 8))
    features = first.extract(images)[0]
    assert features.equal(second.extract(images)[0])
    monkeypatch.setattr(inception_fid, "BATCH", 1)
    torch.testing.assert_close(first.extract(images)[0], features)
    assert first.extract(images[:0])[0].shape == (0, 2048)
    assert 0.01 < features.std() < 100


def test_weights_are_found_in_the_download_cache_under_both_names(published, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"pt_inception-2015-12-05-6726825d.pth \(96 MB\).*checkpoints.*https"):
        InceptionFID((3, 8, 8))
    (tmp_path / "checkpoints").mkdir()
    for name in inception_fid.FILES:
        place = tmp_path / "checkpoints" / name
        place.symlink_to(published)
        assert InceptionFID((3, 8, 8)).name == "inception"
        place.unlink()


def test_the_published_hash_begins_as_the_files_name_says():
    assert all(name.endswith(f"-{inception_fid.SHA256[:8]}.pth") for name in inception_fid.FILES)
    assert len(inception_fid.SHA256) == 64


def test_other_weights_are_refused(file, tmp_path):
    with pytest.raises(ValueError, match=r"not the published Inception weights \(sha256"):
        InceptionFID((3, 8, 8), weights=str(file))
    with pytest.raises(FileNotFoundError, match=r"weights='.*nowhere.pth': the Inception weights"):
        InceptionFID((3, 8, 8), weights=str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (2, 8, 8)}, r"image_shape=\(2, 8, 8\): InceptionFID needs"),
        ({"image_shape": (2,)}, r"image_shape=\(2,\): InceptionFID needs"),
        ({"image_shape": (3, 8, 8), "resize": "bilinear"}, "resize='bilinear': 'tf1' or 'clean'"),
        ({"image_shape": (3, 8, 8), "num_features": 100}, "num_features=100: 64, 192"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InceptionFID(weights="random", **arguments)
