"""Folders of encoded images: what is in them, how they are served, and what is refused."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from latent_folders import CODES, LATENTS, codec, encoded

import lit_gen
from datamodules import DigitsDataModule, LatentDataModule
from lit_gen.cli.commands import check, encode, evaluate
from lit_gen.cli.commands.latents_writer import ChannelMoments, LatentsWriter
from lit_gen.encoded import identity
from lit_gen.pretrained.codec import read_codec

HALF = 2**-11  # the largest relative error of rounding to float16


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("encoded")
    return {kind: encoded(place, kind) for kind in ("latents", "codes")}


def images_of(split, mirrored=False):
    data = DigitsDataModule()
    images, labels = data.dataset(split).__getitems__(list(range(len(data.dataset(split)))))
    signed = data.to_float(images)
    return (signed.flip(-1) if mirrored else signed), images, labels


def everything(dataset):
    return dataset.__getitems__(list(range(len(dataset))))


def test_the_arrays_are_the_encodings_of_the_images_and_of_their_mirror_images(folders):
    root, model = folders["latents"], lit_gen.from_pretrained(folders["latents"] / "codec", training=False)
    for split, name in (("train", "latents"), ("train", "flipped"), ("val", "latents"), ("test", "latents")):
        expected = model.encode(images_of(split, name == "flipped")[0])
        stored = np.load(root / split / f"{name}.npy", mmap_mode="r")
        assert (stored.dtype, stored.shape) == (np.float16, tuple(expected.shape))
        assert np.array_equal(stored, expected.half().numpy())
        assert np.array_equal(np.load(root / split / "labels.npy"), images_of(split)[2].numpy())
    assert np.array_equal(np.load(root / "val" / "images.npy"), images_of("val")[1].numpy())
    assert not (root / "train" / "images.npy").exists()
    assert not (root / "val" / "flipped.npy").exists()


def test_codes_are_numbers_in_the_smallest_type_that_holds_them(folders):
    root, model = folders["codes"], lit_gen.from_pretrained(folders["codes"] / "codec", training=False)
    stored = np.load(root / "train" / "codes.npy")
    assert stored.dtype == np.uint16
    assert np.array_equal(stored, model.indices(images_of("train")[0]).numpy())
    data = LatentDataModule(str(root), flip=True)
    assert (data.holds, data.image_shape, data.num_codes, data.bounded) == ("codes", LATENTS[1:], CODES, False)
    codes, _ = everything(data.dataset("val"))
    assert codes.dtype == torch.int64
    assert torch.equal(codes, model.indices(images_of("val")[0]))


def test_mean_and_deviation_are_those_of_all_training_latents_and_flips(folders):
    root = folders["latents"]
    rows = np.concatenate(
        [np.load(root / "train" / f"{name}.npy").astype(np.float64) for name in ("latents", "flipped")]
    )
    described = json.loads((root / "latents.json").read_text())
    np.testing.assert_allclose(described["mean"], rows.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(described["std"], rows.std((0, 2, 3)), rtol=1e-12)


def test_moments_are_exact_far_from_zero_and_a_constant_channel_keeps_its_scale():
    rows = np.random.default_rng(0).normal(1e8, 1e-2, (64, 1, 3, 3))
    rows = np.concatenate([rows, np.full_like(rows, 3.0)], 1)
    moments = ChannelMoments(2)
    for part in np.split(rows, [1, 20, 50]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, rows.mean((0, 2, 3)), rtol=1e-15)
    np.testing.assert_allclose(moments.std, [rows[:, 0].std(), 1.0], rtol=1e-5)


def test_decoded_batches_are_the_reconstructions_to_the_precision_of_float16(folders):
    data = LatentDataModule(str(folders["latents"]))
    own = read_codec(data.encoded)
    latents, labels = everything(data.dataset("test"))
    signed, _, expected = images_of("test")
    assert (latents.dtype, latents.shape[1:]) == (torch.float32, LATENTS)
    assert torch.equal(labels, expected)
    exact = own.encode(signed)
    scale = torch.tensor(data.encoded.std).view(-1, 1, 1)
    bound = (exact * scale + torch.tensor(data.encoded.mean).view(-1, 1, 1)).abs() * HALF / scale
    assert ((latents - exact).abs() <= bound + 1e-6).all()
    torch.testing.assert_close(own.decode(latents), own.model.reconstruct(signed), atol=5e-3, rtol=0)
    served = torch.cat([everything(data.dataset("train"))[0]])
    torch.testing.assert_close(served.mean((0, 2, 3)), torch.zeros(2), atol=0.2, rtol=0)


def test_random_flips_choose_between_the_two_encodings_as_flips_of_images_do(folders):
    data, plain = LatentDataModule(str(folders["latents"]), flip=True, seed=3), DigitsDataModule(flip=True, seed=3)
    model = read_codec(data.encoded)
    indices = list(range(200))
    served, _ = data.augmented(data.dataset("train"), 3).__getitems__(indices)
    images, _ = plain.augmented(plain.dataset("train"), 3).__getitems__(indices)
    torch.testing.assert_close(served, model.encode(plain.to_float(images)), atol=5e-3, rtol=5e-3)
    assert not torch.equal(served, everything(data.dataset("train"))[0][:200])


def test_a_data_set_leaves_its_rows_on_the_disk_when_it_is_pickled(folders):
    dataset = LatentDataModule(str(folders["latents"])).dataset("train")
    rows, _ = dataset.__getitems__([3, 1, 3])
    assert torch.equal(rows[0], rows[2])
    content = pickle.dumps(dataset)
    assert len(content) < 25_000  # 1,197 labels of 8 bytes; the rows have 77,000
    assert torch.equal(pickle.loads(content).__getitems__([3, 1, 3])[0], rows)


def test_the_summary_says_what_encoded_the_images(folders):
    line = LatentDataModule(str(folders["latents"])).summary().line()
    digest = identity(folders["latents"] / "codec")[:12]
    assert "1,797 latents (train 1,197, val 300, test 300), 2 x 4 x 4" in line
    assert f"encoded by AutoencoderKL {folders['latents'].parent}/codec_latents_0 (sha256 {digest})" in line


def test_the_identity_is_of_weights_and_description_and_not_of_the_card(folders, tmp_path):
    shutil.copytree(folders["latents"] / "codec", tmp_path / "same")
    described = json.loads((tmp_path / "same" / "config.json").read_text())
    (tmp_path / "same" / "config.json").write_text(json.dumps({**described, "facts": {"told": "otherwise"}}))
    (tmp_path / "same" / "README.md").unlink()
    assert identity(tmp_path / "same") == identity(folders["latents"] / "codec")
    lit_gen.save_pretrained(codec(seed=1), tmp_path / "other")
    assert identity(tmp_path / "other") != identity(tmp_path / "same")


def changed_weights(root):
    shutil.rmtree(root / "codec")
    lit_gen.save_pretrained(codec(seed=1), root / "codec")


def described(**changes):
    def change(root):
        known = json.loads((root / "latents.json").read_text())
        (root / "latents.json").write_text(json.dumps({**known, **changes}))

    return change


@pytest.mark.parametrize(
    ("spoil", "error", "told"),
    [
        (lambda root: shutil.rmtree(root / "codec"), FileNotFoundError, r"codec/config\.json: missing"),
        (lambda root: (root / "codec/model.safetensors").unlink(), FileNotFoundError, r"model\.safetensors: missing"),
        (changed_weights, ValueError, "the codec has changed since it encoded the images"),
        (lambda root: (root / "latents.json").unlink(), FileNotFoundError, r"no latents\.json"),
        (described(format=7), ValueError, "format=7; this version reads format=1"),
        (described(std=[0.0, 1.0]), ValueError, "not the description of latents or codes"),
        (described(shape=[2, 4]), ValueError, "not the description of latents or codes"),
        (described(counts={"train": 5}), ValueError, r"train/latents\.npy: an array of shape \(1197, 2, 4, 4\)"),
        (lambda root: (root / "train/latents.npy").unlink(), ValueError, r"train/latents\.npy: missing"),
        (lambda root: (root / "train/latents.npy").write_bytes(b"\x93NUMPY"), ValueError, "truncated or damaged"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(folders, tmp_path, spoil, error, told):
    shutil.copytree(folders["latents"], tmp_path / "latents")
    spoil(tmp_path / "latents")
    with pytest.raises(error, match=told) as caught:
        LatentDataModule(str(tmp_path / "latents")).train_dataloader()
    assert "\n" not in str(caught.value)


def test_flips_that_are_not_there_are_refused(tmp_path):
    root = encoded(tmp_path, flip=False)
    with pytest.raises(ValueError, match=r"flip=True: .* holds no mirrored images; encode them with --flip"):
        LatentDataModule(str(root), flip=True)


def test_latents_that_float16_does_not_hold_are_an_error_and_leave_nothing(tmp_path):
    model = codec()
    with torch.no_grad():
        list(model.encoder.parameters())[-1].fill_(1e6)  # the last layer's bias
    lit_gen.save_pretrained(model, tmp_path / "large")
    writer = LatentsWriter(model, str(tmp_path / "large"), DigitsDataModule(), ("train",), False, False)
    with pytest.raises(ValueError, match=r"latents of size 1e\+06: float16 holds up to 65504") as caught:
        writer.write(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_the_command_writes_the_folder_of_a_named_set_or_of_files(folders, tmp_path, capsys):
    source = str(folders["latents"].parent / "codec_latents_0")
    encode.run([source, "digits", "--flip", "--out", str(tmp_path / "named")])
    assert "latents of 2 x 4 x 4 (train 1,197, val 300, test 300)" in capsys.readouterr().out
    for path in folders["latents"].rglob("*"):
        if path.is_file():
            assert (tmp_path / "named" / path.relative_to(folders["latents"])).read_bytes() == path.read_bytes(), path
    images = np.random.default_rng(0).integers(256, size=(50, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images)
    encode.run([source, str(tmp_path / "own.npz"), "--out", str(tmp_path / "own")])
    own = LatentDataModule(str(tmp_path / "own"))
    assert (own.num_classes, len(own.dataset("train")), len(own.dataset("val"))) == (0, 40, 5)
    assert len(own.pictures.dataset("val")) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["digits", "--indices"], "bottleneck=GaussianBottleneck: its latents are no codes"),
        (["MixtureDataModule"], r"images of shape \(2,\)"),
        (["digits", "--split", "val"], "--split val: a folder holds the training split"),
        (["digits", "--size", "8"], "--size 8: in a folder images are of the size that the model takes"),
        (["digits", "--values", "unit"], "--values unit: a folder is of 8-bit images"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["digits", "--flip", "--out", "x.npz"], "--flip: for a folder of latents"),
        (["digits", "--noise", "3", "--out", "x.npz"], "--noise 3: for a folder of latents"),
        (["digits", "--out", "x.npz"], r"digits: data that are named are written to a folder, and --out x\.npz is an"),
        (["digits", "--white", "255"], "--white 255.0: DigitsDataModule takes none"),
        (["digits", "--alpha", "drop"], "--alpha drop: DigitsDataModule takes none"),
        (["digits", "--out", "x.npy"], r"--out x\.npy: an \.npz file, or a name without a suffix"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(folders, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    given = arguments if "--out" in arguments else [*arguments, "--out", "out"]
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        encode.run([str(folders["latents"].parent / "codec_latents_0"), *given])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_samples_of_gaussian_latents_are_mean_and_scaled_noise(folders, tmp_path):
    source = str(folders["latents"].parent / "codec_latents_0")
    encode.run([source, "digits", "--noise", "7", "--split", "train", "--out", str(tmp_path / "noisy")])
    model, images = lit_gen.from_pretrained(source, training=False), images_of("train")[0]
    mean, log_scale = model.bottleneck.posterior(model.encoder(images))
    noise = torch.cat(_drawn(7, len(images)))
    stored = torch.from_numpy(np.load(tmp_path / "noisy" / "train" / "latents.npy"))
    torch.testing.assert_close(stored.float(), (mean + log_scale.exp() * noise).detach(), atol=2e-3, rtol=1e-3)
    assert json.loads((tmp_path / "noisy" / "latents.json").read_text())["noise"] == 7
    with pytest.raises(ValueError, match="--noise 7: VectorQuantizer latents take no noise"):
        encode.run([str(folders["codes"].parent / "codec_codes_0"), "digits", "--noise", "7", "--out", "out"])


def _drawn(seed, count):
    """N(0, 1) as it is drawn for 500 images at a time."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(min(500, count - start), *LATENTS, generator=generator) for start in range(0, count, 500)]


def test_a_folder_that_holds_something_stays(folders, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ValueError, match=r"--out .*out: exists already and is not empty"):
        encode.run([str(folders["latents"].parent / "codec_latents_0"), "digits", "--out", str(tmp_path / "out")])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("kind", ["latents", "codes"])
def test_commands_of_images_say_what_a_folder_of_latents_is(folders, kind):
    for command in (check.run, lambda arguments: evaluate.run([*arguments, *arguments, "--extractor", "pixels"])):
        with pytest.raises(
            ValueError, match=r"holds latents, no images .*fit --data LatentDataModule --data\.root"
        ) as told:
            command([str(folders[kind])])
        assert "\n" not in str(told.value)
