import pytest
import torch
from torch.nn import functional as F

from lit_gen.networks.resample import Downsample, Upsample, doubling


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 2)])
def test_upsampling_is_torch_s_bilinear_interpolation(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Upsample(size).double()(x), expected)


@pytest.mark.parametrize("size", [(4, 4), (6, 14), (2, 2)])
def test_downsampling_is_the_binomial_filter_at_every_other_pixel(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = (taps[:, None] * taps).expand(3, 1, 4, 4)
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=3)
    layer = Downsample(size).double()
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x).mean((2, 3)), x.mean((2, 3)))


def test_both_keep_constants_and_downsampling_removes_the_highest_frequency():
    ones = torch.ones(1, 1, 8, 6)
    torch.testing.assert_close(Upsample((8, 6))(ones), torch.ones(1, 1, 16, 12))
    torch.testing.assert_close(Downsample((8, 6))(ones), torch.ones(1, 1, 4, 3))
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 16, 16)
    assert Downsample((16, 16))(stripes)[..., 1:-1].abs().max() < 1e-6


def test_the_matrix_is_small_and_not_in_checkpoints():
    assert doubling(3).tolist() == [
        [1.0, 0.0, 0.0],
        [0.75, 0.25, 0.0],
        [0.25, 0.75, 0.0],
        [0.0, 0.75, 0.25],
        [0.0, 0.25, 0.75],
        [0.0, 0.0, 1.0],
    ]
    assert not Upsample((4, 4)).state_dict()


def test_only_the_first_doubling_of_white_maps_takes_much_of_their_variance():
    spread, variances = torch.eye(4), []
    for side in (4, 8, 16, 32, 64, 128):
        spread = doubling(side) @ spread
        variances.append(spread.square().sum(1).mean().item() ** 2)
    maps = torch.randn(2000, 1, 4, 4)
    assert Upsample((4, 4))(maps).var().item() == pytest.approx(variances[0], rel=0.05)
    assert variances[0] == pytest.approx(0.517, abs=0.001)
    assert variances[-1] == pytest.approx(0.433, abs=0.001)
