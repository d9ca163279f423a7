"""``lit-gen check``, and what evaluate and encode read: the same folders, archives, shards and arrays as fit."""

import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_gen.cli.app import main
from lit_gen.cli.commands.class_lists import one_list
from lit_gen.cli.commands.sources import labels_of, read_source

rng = np.random.default_rng(0)
KINDS = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """24 pictures of 8 x 8 of three classes as a folder, a .zip, shards and an array, each with a split of 6."""
    root = tmp_path_factory.mktemp("forms")
    images, labels = rng.integers(256, size=(30, 8, 8), dtype=np.uint8), np.arange(30) % 3
    np.savez(root / "array.npz", x_training=images[:24], y_training=np.array(KINDS)[labels[:24]],
             x_Valid=images[24:], y_Valid=np.array(KINDS)[labels[24:]])  # fmt: skip
    (root / "shards").mkdir()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / "folder" / ("Training" if i < 24 else "Valid") / KINDS[label] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        with tarfile.open(root / "shards" / ("train-0.tar" if i < 24 else "val-0.tar"), "a") as tar:
            tar.add(path, f"{i:02d}.png")
            (root / "label.json").write_text(json.dumps({"label": KINDS[label]}))
            tar.add(root / "label.json", f"{i:02d}.json")
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        for path in sorted((root / "folder").rglob("*.png")):
            archive.write(path, f"folder/{path.relative_to(root / 'folder')}")
    return root


@pytest.mark.parametrize("form", ["folder", "archive.zip", "shards", "array.npz"])
def test_the_same_data_in_every_form(forms, form, capsys):
    main(["check", str(forms / form), "--channels", "1", "--image_size", "8"])
    out = capsys.readouterr().out
    assert "30 images (train 24, val 6, test 0), 1 x 8 x 8" in out
    assert "3 classes (ant 8, bee 8, cat 8 for training)" in out
    assert "0 errors" in out
    assert "undivided" not in out
    by_label, reference = (read_source(str(forms / f), "val", "uint8", None) for f in (form, "array.npz"))
    assert by_label.class_names == KINDS
    parts = []
    for source in (by_label, reference):
        images, labels = source.dataset("val").__getitems__(list(range(6)))
        parts.append(
            sorted((KINDS[label], image.tobytes()) for image, label in zip(images.numpy(), labels, strict=True))
        )
    assert parts[0] == parts[1]
    main(["evaluate", str(forms / form), str(forms / "array.npz"), "--split=val", "--extractor=pixels", "--scores=fd"])
    told = capsys.readouterr()
    assert float(told.out.splitlines()[1].split()[1]) == pytest.approx(0, abs=1e-6)
    assert f"lit-gen: {forms / form}: 6 images" in told.err or f"lit-gen: {form}: 6 images" in told.err


def test_undivided_data_are_told_what_fit_keeps(tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.zeros((20, 8, 8), np.uint8))
    main(["check", str(tmp_path / "images.npy")])
    assert "undivided: fit keeps a tenth for validation and one for testing" in capsys.readouterr().out


def test_values_are_scaled_alike_in_arrays_and_files(tmp_path, capsys):
    values = rng.integers(0, 4096, (20, 8, 8), dtype=np.uint16)
    values[0, 0] = 4095
    np.save(tmp_path / "twelve.npy", values)
    np.save(tmp_path / "eight.npy", np.floor(values * (255 / 4095) + 0.5).astype(np.uint8))
    (tmp_path / "files").mkdir()
    for i, image in enumerate(values):
        Image.fromarray(image).save(tmp_path / "files" / f"{i:02d}.png")
    expected = read_source(str(tmp_path / "eight.npy"), "test", "uint8", None).dataset("test").__getitems__([0, 7])[0]
    for name in ("twelve.npy", "files"):
        source = read_source(str(tmp_path / name), "test", "uint8", None, white=4095)
        assert torch.equal(source.dataset("test").__getitems__([0, 7])[0], expected)
        main(["evaluate", str(tmp_path / "eight.npy"), str(tmp_path / name), "--extractor=pixels", "--scores=fd"])
        told = capsys.readouterr()
        assert float(told.out.splitlines()[1].split()[1]) > 1  # as stored it is nearly black, and that is said
        assert "warning: the largest value is 4095 where 65535 is white" in told.err


def test_encodings_keep_the_names_of_classes(forms, tmp_path):
    main(["encode", "vae_digits", str(forms / "archive.zip"), "--split=val", "--out", str(tmp_path / "z.npz")])
    written = np.load(tmp_path / "z.npz")
    assert written["class_names"].tolist() == list(KINDS)
    assert [KINDS[label] for label in written["labels"]] == ["ant", "ant", "bee", "bee", "cat", "cat"]


def test_classes_are_matched_by_name_not_by_order(tmp_path):
    for side, kinds in (("real", KINDS), ("generated", KINDS[1:])):
        for kind in kinds:
            (tmp_path / side / kind).mkdir(parents=True)
            Image.new("L", (8, 8), KINDS.index(kind)).save(tmp_path / side / kind / "0.png")
    real, generated = (read_source(str(tmp_path / side), "test", "uint8", None) for side in ("real", "generated"))
    assert generated.dataset("test").labels.tolist() == [0, 1]
    classes = one_list(labels_of(real, "real"), labels_of(generated, "generated"))
    assert classes.names == KINDS
    assert classes.generated[generated.dataset("test").labels].tolist() == [1, 2]
    with pytest.raises(ValueError, match="the classes ant are none of the real images'"):
        one_list(labels_of(generated, "real"), labels_of(real, "generated"))


def test_a_missing_split_is_told(forms, capsys):
    for form in ("folder", "archive.zip", "shards", "array.npz"):
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", str(forms / form), str(forms / form), "--extractor=pixels"])
        assert stop.value.code == 2
        assert "--split test" in capsys.readouterr().err


def test_every_bad_file_is_listed_and_the_status_says_so(forms, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        Image.new("L", (8, 8), i).save(f"{i}.png")
    for name in ("a.png", "b.jpg"):
        Path(name).write_bytes(b"no picture")
    with pytest.raises(SystemExit) as stop:
        main(["check", "."])
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert "a.png: not a readable image" in out
    assert "b.jpg: not a readable image" in out
    assert "2 errors" in out
    for arguments, message in ((["no"], "no: there is no such"), (["a.png"], "a.png: accepted are folders")):
        with pytest.raises(SystemExit) as stop:
            main(["check", *arguments])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_fit_says_what_it_found_and_writes_it(forms, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ["--model=VAE", "--model.latent_dim=2", "--model.encoder=MLPEncoder", "--model.decoder=MLPDecoder"]
    data = ["--data=ImageFolderDataModule", f"--data.root={forms / 'archive.zip'}", "--data.image_size=8"]
    main(["fit", *model, *data, "--data.batch_size=8", "--trainer.max_steps=1", "--trainer.enable_progress_bar=false",
          "--evaluate.extractor=null"])  # fmt: skip
    assert "lit-gen: archive.zip: 30 images (train 22, val 6, test 2)" in capsys.readouterr().err
    (path,) = tmp_path.glob("runs/*/*/data.json")
    assert json.loads(path.read_text())["classes"].keys() == set(KINDS)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_in_the_middle_of_a_run_leaves_what_was_trained(tmp_path, capsys, monkeypatch, workers):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(200):
        Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(f"photos/{i:03d}.png")
    Path("photos/077.png").write_bytes(Path("photos/077.png").read_bytes()[:60])
    data = ["--data", "ImageFolderDataModule", "--data.root=photos", "--data.image_size=8", "--data.batch_size=5"]
    data += [f"--data.num_workers={workers}", "--data.val_share=0", "--data.test_share=0", "--evaluate.extractor=null"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--model", "VAE", *data, "--trainer.max_epochs=1", "--trainer.accelerator=cpu"])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "images are never mirrored (flip=False)" in told
    assert "error: photos/077.png: not a readable image" in told
    (last,) = Path("runs").rglob("last.ckpt")
    Image.new("RGB", (8, 8)).save("photos/077.png")
    main(["fit", "--ckpt_path", str(last)])
    assert (
        torch.load(max(Path("runs").rglob("last.ckpt"), key=os.path.getmtime), weights_only=True)["global_step"] == 40
    )


# Options that a kind of data doesn't take


@pytest.fixture(scope="module")
def sources(forms):
    """The folder, shards and array of `forms`, beside a table and a data base of its pictures."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("lmdb")
    from record_files import write_lmdb, write_parquet

    contents = [path.read_bytes() for path in sorted((forms / "folder").rglob("*.png"))]
    write_parquet(forms / "table.parquet", contents, ["cat"] * len(contents), image="picture", label="kind")
    write_lmdb(forms / "base.lmdb", {str(i): content for i, content in enumerate(contents)})
    return forms


REFUSED = {
    "folder": ("images",),
    "table.parquet": ("splits", "attributes", "pages"),
    "base.lmdb": ("splits", "attributes", "images", "pages"),
    "shards": ("splits", "attributes", "images", "pages"),
    "array.npz": ("alpha", "pages", "max_pixels"),
}
SAID = {"pages": "all", "alpha": "drop", "max_pixels": "999", "images": "x", "labels": "none", "splits": "none"}
CASES = [(name, option) for name, options in REFUSED.items() for option in options]


@pytest.mark.parametrize(("name", "option"), CASES)
@pytest.mark.parametrize("command", [["check"], ["convert", "--to", "shards"]])
def test_an_option_that_a_kind_of_data_does_not_take_is_an_error(sources, tmp_path, command, name, option, capsys):
    target = [str(tmp_path / "target")] if command[0] == "convert" else []
    with pytest.raises(SystemExit) as stop:
        main([command[0], str(sources / name), *target, *command[1:], f"--{option}", SAID.get(option, "Smiling")])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert f"error: --{option} {SAID.get(option, 'Smiling')}: {sources / name} is read by " in told
    assert "which takes --white, " in told
    assert f"--{option}" not in told.partition("which takes")[2]
    assert not (tmp_path / "target").exists()


def test_options_say_the_columns_of_a_table_and_drop_labels(sources, capsys):
    for options, told in (
        (["--labels", "kind"], "1 class (cat 30 for training)"),
        (["--labels", "kind", "--images", "picture"], "1 class (cat 30 for training)"),
        (["--labels", "none"], "255 of 255; no labels"),
    ):
        main(["check", str(sources / "table.parquet"), *options])
        assert told in capsys.readouterr().out
    main(["check", str(sources / "base.lmdb"), "--labels", "none"])
    for option, column in (("--images", "image_column='kind': it has no pictures"), ("--labels", "label_column='no'")):
        with pytest.raises(SystemExit):
            main(["check", str(sources / "table.parquet"), option, column.partition("'")[2].partition("'")[0]])
        assert column in capsys.readouterr().err


def test_arrays_are_not_scaled_for_a_check(forms, capsys):
    for option, value in (("--image_size", "16"), ("--channels", "3")):
        with pytest.raises(SystemExit):
            main(["check", str(forms / "array.npz"), option, value])
        assert f"error: {option} {value}: {forms / 'array.npz'} is of shape 1 x 8 x 8, and" in capsys.readouterr().err


def test_named_data_take_no_options_of_paths(tmp_path, capsys):
    for options, told in (
        (["--labels", "none"], "--labels: for data at a path alone; digits, which is named, takes none"),
        (["--white", "16"], "--white 16.0: DigitsDataModule takes none"),
    ):
        with pytest.raises(SystemExit):
            main(["convert", "digits", str(tmp_path / "digits.zip"), *options])
        assert told in capsys.readouterr().err
