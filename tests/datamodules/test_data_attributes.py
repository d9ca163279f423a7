"""Attributes as classes, CelebA's lists, and files of splits, for folders and for arrays."""

import json

import numpy as np
import pytest
from PIL import Image

from datamodules import ArrayDataModule, ImageFolderDataModule
from datamodules.formats.attributes import Attributes
from datamodules.formats.partition import read_partition

NAMES = ["5_o_Clock_Shadow", "Male", "Smiling"]
ROWS = np.random.default_rng(0).integers(2, size=(24, 3))
FILES = [f"{i + 1:06d}.png" for i in range(24)]
OPTIONS = {"image_size": 4, "val_share": 0, "test_share": 0}


@pytest.fixture
def folder(tmp_path):
    """Pictures below a folder of their own, as CelebA's are, each of one grey value, its number."""
    (tmp_path / "celeba" / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(FILES):
        Image.new("RGB", (5, 6), (i, i, i)).save(tmp_path / "celeba" / "img_align_celeba" / name)
    return tmp_path / "celeba"


def celeba(rows=ROWS, names=NAMES, count=None):
    lines = [f"{file}  {'  '.join(f'{2 * x - 1:2d}' for x in row)}" for file, row in zip(FILES, rows, strict=True)]
    return "\n".join([str(len(rows) if count is None else count), " ".join(names) + " ", *lines]) + "\n"


def table(titles, rows):
    """A .csv with a line for each file."""
    lines = [",".join(map(str, [file, *row])) for file, row in zip(FILES, rows, strict=True)]
    return "\n".join([",".join(titles), *lines])


def described(label):
    """A .json with what `label` makes of each file's attributes."""
    each = [label(dict(zip(NAMES, row.tolist(), strict=True))) for row in ROWS]
    return dict(zip(FILES, each, strict=True))


FORMS = {
    "list_attr_celeba.txt": celeba(),
    "kaggle.csv": table(["image_id", *NAMES], 2 * ROWS - 1),
    "with_class.csv": table(["file", "label", *NAMES], [["x", *row] for row in ROWS]),
    "words.json": json.dumps(described(lambda has: [name for name in has if has[name]])),
    "dicts.json": json.dumps(described(dict)),
    "rows.json": json.dumps({"labels": described(lambda has: [*has.values()]), "attribute_names": NAMES}),
}


def by_picture(data, split="train"):
    """Labels in the order of the pictures' numbers."""
    images, labels = data.dataset(split).__getitems__(list(range(len(data.dataset(split)))))
    return labels[images[:, 0, 0, 0].argsort()].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_attributes_of_a_file_make_the_classes(folder, form):
    (folder / form).write_text(FORMS[form])
    pictures = folder if form.endswith(".txt") else folder / "img_align_celeba"
    data = ImageFolderDataModule(pictures, labels=str(folder / form), attributes=["Smiling"], **OPTIONS)
    assert data.class_names == ("not Smiling", "Smiling")
    assert by_picture(data) == ROWS[:, 2].tolist()
    several = ["Smiling", "Male"]
    data = ImageFolderDataModule(pictures, labels=str(folder / form), attributes=several, **OPTIONS)
    assert data.class_names == (
        "not Smiling and not Male", "not Smiling and Male", "Smiling and not Male", "Smiling and Male",
    )  # fmt: skip
    assert by_picture(data) == (2 * ROWS[:, 2] + ROWS[:, 1]).tolist()


def test_names_below_root_and_a_single_name(folder):
    (folder / "list_attr_celeba.txt").write_text(celeba())
    data = ImageFolderDataModule(folder, labels="list_attr_celeba.txt", attributes="Male", **OPTIONS)
    assert by_picture(data) == ROWS[:, 1].tolist()
    assert data.tree.left_out == {}


def test_without_the_option_attributes_are_one_clear_error(folder):
    (folder / "a.txt").write_text(celeba())
    message = (
        r"a\.txt: labels int64 \(24, 3\): 3 attributes, .*attributes=\[\.\.\.\].*: 5_o_Clock_Shadow, Male, Smiling$"
    )
    with pytest.raises(ValueError, match=message):
        ImageFolderDataModule(folder, labels="a.txt", **OPTIONS).num_classes  # noqa: B018
    np.savez(folder / "x.npz", images=np.zeros((24, 4, 4), np.uint8), labels=ROWS)
    with pytest.raises(ValueError, match=r"x\.npz: 'labels' int64 \(24, 3\): 3 attributes.*: 0, 1, 2$"):
        ArrayDataModule(folder / "x.npz").num_classes  # noqa: B018


def test_columns_of_one_hot_rows_name_the_classes(folder):
    rows = np.eye(3, dtype=int)[np.arange(24) % 3]
    (folder / "x.csv").write_text(table(["file", "owl", "cat", "dog"], rows))
    data = ImageFolderDataModule(folder / "img_align_celeba", labels=str(folder / "x.csv"), **OPTIONS)
    assert data.class_names == ("owl", "cat", "dog")
    assert by_picture(data) == (np.arange(24) % 3).tolist()


@pytest.mark.parametrize("kind", ["inside", "list_attr_celeba.txt", "kaggle.csv", "rows.json", "rows.npy"])
def test_attributes_of_arrays(tmp_path, kind):
    arrays = {"images": np.arange(24, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)}
    labels = str(tmp_path / kind)
    if kind == "inside":
        arrays, labels = {**arrays, "labels": ROWS * 2 - 1, "attribute_names": np.array(NAMES)}, None
    elif kind == "rows.npy":
        np.save(labels, ROWS.astype(bool))
    elif kind == "rows.json":
        (tmp_path / kind).write_text(json.dumps([dict(zip(NAMES, row.tolist(), strict=True)) for row in ROWS]))
    else:
        (tmp_path / kind).write_text(FORMS[kind])
    np.savez(tmp_path / "x.npz", **arrays)
    chosen = ["2", "0"] if kind == "rows.npy" else ["Smiling", "5_o_Clock_Shadow"]
    data = ArrayDataModule(tmp_path / "x.npz", labels=labels, attributes=chosen, val_share=0, test_share=0)
    assert data.class_names[1] == f"not {chosen[0]} and {chosen[1]}"
    assert by_picture(data) == (2 * ROWS[:, 2] + ROWS[:, 0]).tolist()
    assert data.num_classes == 4


def test_combinations_that_do_not_occur_may_be_left_out(tmp_path):
    rows = np.array([[0, 0], [1, 1]] * 10)
    np.savez(
        tmp_path / "x.npz", images=np.zeros((20, 4, 4), np.uint8), labels=rows, attribute_names=np.array(["a", "b"])
    )
    given = {"attributes": ["a", "b"]}
    assert ArrayDataModule(tmp_path / "x.npz", **given).num_classes == 4
    data = ArrayDataModule(tmp_path / "x.npz", renumber=True, **given)
    assert data.class_names == ("not a and not b", "a and b")


def test_wrong_attributes_are_named(folder):
    (folder / "a.txt").write_text(celeba())
    (folder / "words.csv").write_text("file,label\n" + "\n".join(f"img_align_celeba/{f},cat" for f in FILES))
    arguments = {"labels": "a.txt", "attributes": ["Smile"]}
    cases = [
        (arguments, r"attributes=\['Smile'\]: .*a\.txt.* has no 'Smile'; there are 5_o_Clock_Shadow, Male, Smiling"),
        ({"attributes": ["Smiling"]}, r"attributes=\['Smiling'\]: they are said by a file, labels='auto'"),
        ({**arguments, "attributes": ["a", "a"]}, r"attributes=\['a', 'a'\]: each may be named once"),
        ({**arguments, "attributes": list("abcdefghijklm")}, "make 8,192 classes; at most 12"),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=message):
            ImageFolderDataModule(folder, **given, **OPTIONS).num_classes  # noqa: B018
    with pytest.raises(ValueError, match=r"words\.csv: labels .* holds a label for each image, no attributes"):
        by_picture(ImageFolderDataModule(folder, 4, labels=str(folder / "words.csv"), attributes="cat"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (celeba(count=23), "24 lines of images, but 23 by its first line"),
        (celeba().replace(" 1", " 2", 1), "has no name and 3 times 1 or -1"),
        ("\n".join(celeba().splitlines()[1:]), "its first line is '5_o_Clock_Shadow Male Smiling'"),
        ("", "not a readable file of labels"),
        ("24", "not a readable file of labels"),
    ],
)
def test_damaged_lists_are_named(folder, content, message):
    (folder / "a.txt").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.txt.*{message}"):
        ImageFolderDataModule(folder, labels="a.txt", attributes="Male", **OPTIONS).num_classes  # noqa: B018


SPLITS = [0] * 12 + [1] * 5 + [2] * 7
PARTITIONS = {
    "list_eval_partition.txt": "\n".join(f"{f} {s}" for f, s in zip(FILES, SPLITS, strict=True)),
    "list_eval_partition.csv": "\n".join(
        ["image_id,partition", *(f"{f},{s}" for f, s in zip(FILES, SPLITS, strict=True))]
    ),
    "words.txt": "\n".join(f"{f}\t{['train', 'valid', 'test'][s]}" for f, s in zip(FILES, SPLITS, strict=True)),
}


@pytest.mark.parametrize("form", PARTITIONS)
def test_a_file_says_the_splits(folder, form):
    (folder / form).write_text(PARTITIONS[form])
    (folder / "a.txt").write_text(celeba())
    data = ImageFolderDataModule(folder, 4, splits=form, labels="a.txt", attributes="Male")
    array = np.arange(24, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    np.savez(folder / "x.npz", images=array, labels=ROWS[:, 1])
    same = ArrayDataModule(folder / "x.npz", splits=str(folder / form))
    for number, split in enumerate(("train", "val", "test")):
        expected = ROWS[np.array(SPLITS) == number, 1].tolist()
        assert by_picture(data, split) == by_picture(same, split) == expected
    assert form not in str(data.tree.left_out)


def test_a_split_that_a_file_leaves_out_is_taken_by_its_share(folder):
    (folder / "s.txt").write_text("\n".join(f"{f} {0 if s == 1 else s}" for f, s in zip(FILES, SPLITS, strict=True)))
    data = ImageFolderDataModule(folder, 4, splits="s.txt", val_share=0.2)
    np.savez(folder / "x.npz", images=np.zeros((24, 4, 4), np.uint8))
    same = ArrayDataModule(folder / "x.npz", splits=str(folder / "s.txt"), val_share=0.2)
    for found in (data, same):
        assert [len(found.dataset(split)) for split in ("train", "val", "test")] == [14, 3, 7]


def test_wrong_files_of_splits_are_named(folder):
    texts = {
        "few.txt": ("000001.png 0", r"splits='few\.txt': no split of img_align_celeba/000002\.png"),
        "odd.txt": ("000001.png 3", r"splits='odd\.txt': '000001\.png 3'; accepted"),
        "none.txt": ("", r"splits='none\.txt': holds no splits"),
    }
    for name, (text, message) in texts.items():
        (folder / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            ImageFolderDataModule(folder, splits=name).tree  # noqa: B018
    with pytest.raises(FileNotFoundError, match=r"splits='no\.txt': neither 'auto', 'none' nor a file"):
        ImageFolderDataModule(folder, splits="no.txt").tree  # noqa: B018
    with pytest.raises(ValueError, match=r"a\.png is of the splits train and val"):
        read_partition(b"a.png 0\na.png 1", "s.txt")
    images = np.zeros((24, 4, 4), np.uint8)
    np.savez(folder / "x.npz", images=images)
    with pytest.raises(ValueError, match="1 splits for 24 images"):
        ArrayDataModule(folder / "x.npz", splits=str(folder / "few.txt")).dataset("train")
    np.savez(folder / "y.npz", x_train=images, x_test=images)
    with pytest.raises(ValueError, match=r"splits='.*few\.txt': the names in .*y\.npz say splits already"):
        ArrayDataModule(folder / "y.npz", splits=str(folder / "few.txt")).dataset("train")


def test_class_names_are_all_combinations_in_the_order_of_their_numbers():
    attributes = Attributes(("a", "b", "c"))
    rows = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    assert attributes.numbers(rows, ["a", "b", "c"], "x").tolist() == list(range(8))
    words = [" and ".join(n if has else f"not {n}" for n, has in zip("abc", row, strict=True)) for row in rows]
    assert list(attributes.class_names) == words
