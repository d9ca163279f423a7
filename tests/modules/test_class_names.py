"""Names of classes: from the data to checkpoints, folders and labels, and data that name them otherwise."""

import json
import warnings
from functools import partial

import numpy as np
import pytest
import torch

import lit_gen
from datamodules import ArrayDataModule
from lit_gen import GAN, VAE
from lit_gen.models.class_names import check_names, class_number, enumerated, printable
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.pretrained import from_pretrained, save_pretrained

SMALL = {"latent_dim": 2, "encoder": partial(MLPEncoder, width=4), "decoder": partial(MLPDecoder, width=4)}
NAMES = ("cat", "dog", "horse")


def arrays(folder, names=NAMES, kind="words"):
    """24 images of three classes in turn, named by words, by a list of names, or not at all."""
    labels, path = np.arange(24) % 3, folder / f"{'-'.join(names)}-{kind}.npz"
    told = {"labels": np.array(names)[labels]} if kind == "words" else {"labels": labels}
    told |= {"class_names": np.array(names)} if kind == "listed" else {}
    np.savez(path, images=np.random.default_rng(0).integers(256, size=(24, 4, 4), dtype=np.uint8), **told)
    return ArrayDataModule(path, batch_size=4)


def vae(**arguments):
    return VAE((1, 4, 4), **SMALL, num_classes=3, conditional=True, **arguments)


def trainer(folder, steps):
    import lightning.pytorch as L

    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(max_steps=steps, accelerator="cpu", default_root_dir=folder, **off)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of three named classes."""
    folder = tmp_path_factory.mktemp("trained")
    run = trainer(folder, 2)
    run.fit(vae(), datamodule=arrays(folder))
    run.save_checkpoint(folder / "x.ckpt")
    return folder / "x.ckpt"


def test_names_go_from_the_data_to_checkpoints_and_folders(trained, tmp_path):
    module = from_pretrained(trained)
    assert module.class_names == NAMES
    save_pretrained(module, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["class_names"] == list(NAMES)
    assert "- **classes**: 0 cat, 1 dog, 2 horse\n" in (tmp_path / "saved" / "README.md").read_text()
    assert from_pretrained(tmp_path / "saved").class_names == NAMES
    assert VAE.load_from_checkpoint(trained).class_names == NAMES


def test_models_without_names_say_numbers_and_unconditional_ones_nothing(trained):
    assert vae().class_names == ("0", "1", "2")
    assert VAE((1, 4, 4), **SMALL, num_classes=3).class_names == ()
    assert from_pretrained("cgan_digits").class_names == tuple("0123456789")
    assert lit_gen.list_pretrained()["cvae_mnist"]["class_names"] == [*"0123456789"]
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint["lit_gen"]["class_names"]  # as earlier versions wrote it
    old = trained.with_name("old.ckpt")
    torch.save(checkpoint, old)
    assert from_pretrained(old).class_names == ("0", "1", "2")


@pytest.mark.parametrize("names", [["a"], ["a", "a", "b"], [1, 2, 3], 7])
def test_names_that_are_none_are_refused(trained, tmp_path, names):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["lit_gen"]["class_names"] = names
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt: class_names="):
        from_pretrained(tmp_path / "x.ckpt")


def test_labels_are_names_or_numbers(trained):
    module = from_pretrained(trained)
    drawn = [
        module.sample(3, labels, torch.Generator().manual_seed(0))
        for labels in (["horse", "cat", 1], torch.tensor([2, 0, 1]), ["2", 0, "dog"])
    ]
    assert drawn[0].equal(drawn[1])
    assert drawn[0].equal(drawn[2])
    one = [module.sample(2, label, torch.Generator().manual_seed(0)) for label in ("dog", 1)]
    assert one[0].equal(one[1])
    with pytest.raises(
        ValueError, match=r"labels='Hors': no class 'Hors'; did you mean horse\? there are 0 cat, 1 dog"
    ):
        module.sample(1, "Hors")
    with pytest.raises(ValueError, match="one for each of the 2 samples"):
        module.sample(2, ["dog"])


@pytest.mark.parametrize(
    ("label", "names", "number"),
    [(1, "ab", 1), ("1", "ab", 1), ("b", "ab", 1), ("3", ["0", "3", "7", "9"], 1), ("2", ["0", "3", "7", "9"], 2)],
)
def test_a_word_that_is_a_name_means_the_class_of_this_name(label, names, number):
    assert class_number(label, names) == number


@pytest.mark.parametrize("label", [-1, 3, "3", "-1", "birds", ""])
def test_other_classes_are_refused(label):
    with pytest.raises(ValueError, match="no class"):
        class_number(label, NAMES)


def test_names_are_told_in_one_line():
    assert enumerated([*"0123"]) == "0 to 3"
    assert enumerated(["a\nb", "\udcff", "ü"]) == "0 a\\nb, 1 \\udcff, 2 ü"
    assert printable("a\tb") == "a\\tb"
    assert enumerated([f"c{i}" for i in range(30)]).endswith("19 c19, … (30)")


def test_the_comparison_of_names():
    said = "m", "d"
    assert check_names(NAMES, NAMES, *said) == check_names((), NAMES, *said) == check_names(NAMES, (), *said) == ""
    assert "of d have no names but their numbers; they are taken to be those of m" in check_names(NAMES, "012", *said)
    assert "of m have no names but their numbers; they are taken to be those of d" in check_names("012", NAMES, *said)
    assert "2 is 'zebra', was 'horse'" in check_names(NAMES, ("cat", "dog", "zebra"), *said)
    with pytest.raises(
        ValueError, match=r"the class 'dog' is number 1 of m \(0 cat, 1 dog, 2 horse\), and number 0 of"
    ):
        check_names(NAMES, ("dog", "cat", "horse"), *said)


@pytest.mark.parametrize("way", ["resume", "test", "init_from", "python"])
@pytest.mark.parametrize(
    ("names", "kind", "told", "kept"),
    [
        (NAMES, "words", None, NAMES),
        (NAMES, "listed", None, NAMES),
        (("dog", "cat", "horse"), "listed", ValueError, None),
        (("cat", "dog", "zebra"), "listed", "2 is 'zebra', was 'horse'", ("cat", "dog", "zebra")),
        (NAMES, "numbers", "no names but their numbers", NAMES),
    ],
)
def test_data_that_name_the_classes_otherwise(trained, tmp_path, way, names, kind, told, kept):
    data, run = arrays(tmp_path, names, kind), trainer(tmp_path, 4)
    module = vae(init_from=str(trained)) if way == "init_from" else vae()

    def go():
        if way == "resume":
            run.fit(module, datamodule=data, ckpt_path=trained, weights_only=True)
        elif way == "test":
            run.test(module, datamodule=data, ckpt_path=trained, verbose=False, weights_only=True)
        elif way == "python":
            module.class_names = NAMES
            run.validate(module, datamodule=data, verbose=False)
        else:
            run.fit(module, datamodule=data)

    if told is ValueError:
        with pytest.raises(ValueError, match=r"'dog' is number 1 of .* and number 0 of the data"):
            go()
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go()
    about = [str(warning.message) for warning in caught if "classes of" in str(warning.message)]
    assert len(about) == (told is not None)
    assert told is None or told in about[0]
    assert module.class_names == (kept if way in ("resume", "init_from") else NAMES)


def test_data_with_more_classes_than_the_model_are_refused(tmp_path):
    networks = {"generator": partial(MLPGenerator, width=4), "discriminator": partial(MLPDiscriminator, width=4)}
    module = GAN((1, 4, 4), 2, **networks, num_classes=2, conditional=True)
    with pytest.raises(ValueError, match="num_classes=2: the data have 3 classes"):
        trainer(tmp_path, 1).fit(module, datamodule=arrays(tmp_path))
