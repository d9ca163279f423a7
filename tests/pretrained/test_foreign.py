"""Files of other libraries, and of compiled networks: said to be what they are, or read."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from lit_gen import VAE, from_pretrained, save_pretrained
from lit_gen.networks import MLPDecoder, MLPEncoder


def small_vae():
    torch.manual_seed(0)
    return VAE((1, 4, 4), 2, partial(MLPEncoder, width=4), partial(MLPDecoder, width=4))


def test_a_sound_safetensors_file_of_another_model_is_said_to_be_that(tmp_path):
    save_file({"unet.conv.weight": torch.zeros(2), "unet.conv.bias": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors: a sound safetensors file of 2 tensors \(unet.conv"):
        from_pretrained(tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"other\.safetensors: not a whole checkpoint"):
        from_pretrained(tmp_path / "other.safetensors")


def test_weights_without_their_folder_name_the_folder(tmp_path):
    save_pretrained(small_vae(), tmp_path / "vae")
    with pytest.raises(ValueError, match=f"the model is its folder: {tmp_path / 'vae'}"):
        from_pretrained(tmp_path / "vae/model.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, r"diffusers \(StableDiffusionPipeline\)"),
        ("config.json", {"_class_name": "AutoencoderKL", "_diffusers_version": "0.42"}, r"diffusers \(AutoencoderKL\)"),
        ("config.json", {"architectures": ["ViTModel"], "model_type": "vit"}, r"transformers \(ViTModel\)"),
    ],
)
def test_folders_of_other_libraries_are_named(tmp_path, name, content, told):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"a model of {told}; lit-gen reads its own folders") as error:
        from_pretrained(tmp_path)
    assert ("lit_gen.from_diffusers reads this one" in str(error.value)) == ("AutoencoderKL" in told)


def test_names_of_compiled_networks_are_read(tmp_path):
    module = small_vae()
    save_pretrained(module, tmp_path / "vae")
    state = load_file(tmp_path / "vae/model.safetensors")
    compiled = {key.replace("encoder.", "encoder._orig_mod."): value for key, value in state.items()}
    assert compiled.keys() != state.keys()
    save_file(compiled, tmp_path / "vae/model.safetensors")
    images = torch.rand(3, 1, 4, 4) * 2 - 1
    assert torch.equal(from_pretrained(tmp_path / "vae").encode(images), module.encode(images))
