"""KL autoencoders as diffusers reads and writes them."""

import json
from functools import partial

import pytest
import torch
from plain_autoencoder import decode, encode
from safetensors.torch import load_file, save_file

import lit_gen
from lit_gen import AutoencoderKL, from_diffusers, save_pretrained
from lit_gen.files import UMASK
from lit_gen.networks import FSQ, ConvDecoder, ConvEncoder, GaussianBottleneck

WEIGHTS = "diffusion_pytorch_model.safetensors"


GAUSSIAN = partial(GaussianBottleneck, channels=2)


def small(shape=(3, 16, 16), bottleneck=GAUSSIAN, attention=True, **options):
    torch.manual_seed(0)
    networks = {"widths": (8, 12, 16), "blocks": 1, "groups": 4, "attention": attention}
    return AutoencoderKL(
        shape,
        bottleneck,
        encoder=partial(ConvEncoder, **networks),
        decoder=partial(ConvDecoder, **networks),
        discriminator=None,
        **options,
    )


@pytest.fixture
def folder(tmp_path):
    save_pretrained(small(), tmp_path / "vae", {"scaling_factor": 0.5}, layout="diffusers")
    return tmp_path / "vae"


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize("attention", [True, False])
def test_there_and_back(attention, tmp_path):
    model = small(attention=attention)
    save_pretrained(model, tmp_path / "vae", layout="diffusers")
    again = from_diffusers(tmp_path / "vae")
    assert {k: v.tolist() for k, v in model.state_dict().items()} == {
        k: v.tolist() for k, v in again.state_dict().items()
    }
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(model.encode(x), again.encode(x))
    assert sorted(path.name for path in (tmp_path / "vae").iterdir()) == ["config.json", WEIGHTS]


@pytest.mark.parametrize("layout", ["lit-gen", "diffusers"])
def test_its_files_can_be_read_by_whom_the_umask_allows(layout, tmp_path):
    save_pretrained(small(), tmp_path / "vae", layout=layout)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "vae").iterdir()}
    assert len(modes) > 1
    assert set(modes.values()) == {0o666 & ~UMASK}


def test_the_weights_mean_what_they_mean_there(folder):
    """Their functions, written out from the names of the weights alone."""
    weights = {name: tensor.double() for name, tensor in load_file(folder / WEIGHTS).items()}
    model, x = from_diffusers(folder).double(), torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    mean, log_variance = encode(weights, x, groups=4).chunk(2, 1)
    torch.testing.assert_close(model.encode(x), mean, rtol=1e-10, atol=1e-10)
    posterior = model.bottleneck.posterior(model.encoder(x))
    torch.testing.assert_close(posterior[1], log_variance / 2, rtol=1e-10, atol=1e-10)
    z = torch.randn_like(mean)
    torch.testing.assert_close(model.decoder(z), decode(weights, z, groups=4), rtol=1e-10, atol=1e-10)


def test_as_diffusers_computes(folder, tmp_path):
    """Random weights of theirs in our layers, and ours in theirs."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.AutoencoderKL.from_pretrained(folder)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "theirs")
    ours, x = from_diffusers(tmp_path / "theirs"), torch.rand(2, 3, 16, 16) * 2 - 1
    assert theirs.config.scaling_factor == 0.5
    with torch.no_grad():
        posterior = theirs.encode(x).latent_dist
        torch.testing.assert_close(ours.encode(x), posterior.mode(), rtol=0, atol=1e-5)
        z = torch.randn_like(posterior.mean)
        torch.testing.assert_close(ours.decoder(z), theirs.decode(z).sample, rtol=0, atol=1e-5)
        sampled = ours.bottleneck(ours.encoder(x), z).latents
        torch.testing.assert_close(sampled, posterior.mean + posterior.std * z, rtol=0, atol=1e-5)


def test_the_names_of_older_weights_are_known(folder):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(folder / WEIGHTS)
    expected = from_diffusers(folder).state_dict()
    renamed = {}
    for name, tensor in state.items():
        found = next((ours for ours in old if f".{ours}." in name), None)
        as_convolution = found is not None and name.endswith("weight")
        renamed[name if found is None else name.replace(found, old[found])] = (
            tensor[:, :, None, None].contiguous() if as_convolution else tensor
        )
    save_file(renamed, folder / WEIGHTS)
    for key, value in from_diffusers(folder).state_dict().items():
        assert torch.equal(value, expected[key])


def test_other_sizes_and_the_averages(folder, tmp_path):
    assert from_diffusers(folder, (3, 24, 40)).latent_shape == (2, 6, 10)
    model = small(ema_half_life=10)
    with torch.no_grad():
        model.averages["decoder"].network.conv_out.bias.fill_(0.25)
    save_pretrained(model, tmp_path / "averaged", layout="diffusers")
    assert from_diffusers(tmp_path / "averaged").decoder.conv_out.bias.tolist() == [0.25] * 3


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"_class_name": "VQModel"}, "_class_name=VQModel: only AutoencoderKL"),
        ({"act_fn": "relu"}, "act_fn=relu: only silu"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "only DownEncoderBlock2D"),
        ({"out_channels": 1}, "is for 3 channels, and gives 1"),
        ({"norm_num_groups": 5}, "don't divide into groups=5"),
        ({"layers_per_block": 2}, "weights don't fit"),
        ({"latent_channels": 3}, "weights don't fit"),
    ],
)
def test_what_is_not_ours_is_refused(changed, told, folder):
    change(folder, **changed)
    with pytest.raises(ValueError, match=told) as error:
        from_diffusers(folder)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        from_diffusers(tmp_path)
    (folder / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        from_diffusers(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=WEIGHTS):
        from_diffusers(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="it lacks in_channels"):
        from_diffusers(folder)


def test_what_is_not_theirs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="bottleneck=FSQ"):
        save_pretrained(small(bottleneck=partial(FSQ, levels=(4, 4))), tmp_path / "fsq", layout="diffusers")
    with pytest.raises(ValueError, match="it pads no sides"):
        save_pretrained(small((3, 18, 16)), tmp_path / "odd", layout="diffusers")
    with pytest.raises(ValueError, match="bottleneck=NoneType"):
        save_pretrained(lit_gen.GAN((2,)), tmp_path / "gan", layout="diffusers")
    with pytest.raises(ValueError, match="layout='onnx'"):
        save_pretrained(small(), tmp_path / "onnx", layout="onnx")
    assert not list(tmp_path.iterdir())
