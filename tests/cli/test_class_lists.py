"""Whose class is which, where two sides and a classifier number their classes each in their own way."""

import json

import numpy as np
import pytest
from PIL import Image

from datamodules import DigitsDataModule
from lit_gen.cli.app import main
from lit_gen.cli.commands.class_lists import Labels, one_list

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EVEN = ("0", "2", "4", "6", "8")


def numbers(count: int, **more) -> Labels:
    return Labels("numbers", tuple(map(str, range(count))), **more)


def folders(*names: str) -> Labels:
    return Labels("folders", tuple(sorted(names)), named=True)


def test_names_and_whole_numbers_are_themselves():
    found = one_list(folders("ant", "bee", "cat"), folders("cat", "bee"))
    assert (found.names, found.real.tolist(), found.generated.tolist()) == (("ant", "bee", "cat"), [0, 1, 2], [1, 2])
    assert found.notes == ("folders has no images of the classes ant",)
    found = one_list(folders("1", "2", "10"), folders("01", "10"))  # as text 1, 10, 2
    assert (found.real.tolist(), found.generated.tolist()) == ([1, 10, 2], [1, 10])
    found = one_list(numbers(10), folders(*EVEN))
    assert found.generated.tolist() == [0, 2, 4, 6, 8]
    found = one_list(folders(*EVEN), numbers(7, occurring=(2, 6)))
    assert found.generated[[2, 6]].tolist() == [2, 6]
    far = one_list(folders("7", "1000000"), folders("7"))
    assert (far.names, far.real.tolist()) == (("7", "1000000"), [1, 0])


def test_classes_that_the_real_images_lack_are_an_error():
    for real, generated in (
        (folders("0", "1"), folders("1", "2")),
        (folders(*WORDS), folders(*"0123456789")),
        (folders(*EVEN), numbers(10, occurring=(1, 2))),
    ):
        with pytest.raises(ValueError, match=r"are none of the real images'|which is which"):
            one_list(real, generated)
    with pytest.raises(ValueError, match="numbers 11 classes, and the other side names 10"):
        one_list(folders(*WORDS), numbers(11))


def test_labels_without_names_are_places_where_they_can_be_nothing_else():
    found = one_list(folders(*WORDS), numbers(10, drawn=True))
    assert found.generated.tolist() == found.real.tolist() == list(range(10))
    assert "numbers are taken as places in the other side's list of classes: 0 eight, 1 five, 2 four" in found.notes[0]
    assert one_list(folders(*EVEN), numbers(5, drawn=True)).generated.tolist() == [0, 2, 4, 6, 8]


def test_a_model_draws_the_classes_that_are_compared():
    found = one_list(folders(*EVEN), numbers(10, drawn=True))
    assert found.generated.tolist() == [0, -1, 2, -1, 4, -1, 6, -1, 8, -1]
    assert found.notes == ("numbers draws the real images' classes in turn (0, 2, 4, 6, 8), not 1, 3, 5, 7, 9",)


def test_a_classifier_is_believed_only_in_its_own_classes():
    digits = tuple("0123456789")
    assert one_list(folders(*EVEN), folders("2"), digits, 10).known
    assert one_list(folders(*EVEN), folders("2"), digits, 10).names == digits
    assert not one_list(folders(*WORDS), folders(*WORDS), digits, 10).known
    assert one_list(numbers(10), numbers(10), WORDS, 10).names == WORDS
    assert one_list(folders(*WORDS), folders("one"), (), 10).known
    assert not one_list(numbers(10), numbers(10), (), 1008).known
    assert not one_list(folders(*EVEN), folders(*EVEN), (), 5).known
    assert not one_list(numbers(10), numbers(10)).known


def test_sides_without_labels():
    found = one_list(numbers(3), Labels("unlabelled"))
    assert (found.names, found.generated.tolist(), found.notes) == (("0", "1", "2"), [], ())
    assert one_list(Labels("a"), Labels("b"), tuple("01"), 2).names == ()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Digits as folders by class: all, the even ones of others, the same under words; and an array with names."""
    root = tmp_path_factory.mktemp("digits")
    data = DigitsDataModule().dataset("test"), DigitsDataModule().dataset("val")
    (real, labels), (others, other_labels) = (part.__getitems__(list(range(300))) for part in data)
    for name, images, classes in (("real", real, labels), ("even", others, other_labels)):
        for i, (image, label) in enumerate(zip(images, classes.tolist(), strict=True)):
            if name == "real" or label % 2 == 0:
                for folder in (f"{name}/{label}", f"{name}_words/{WORDS[label]}"):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image[0].numpy()).save(root / folder / f"{i}.png")
    order = np.array(sorted(range(10), key=lambda i: WORDS[i]))
    place = np.argsort(order)
    np.savez(root / "named.npz", images=real, labels=place[labels], class_names=np.array(WORDS)[order])
    return root


def test_five_classes_of_ten_are_scored_as_what_they_are(files, tmp_path, capsys):
    scores = []
    for real, made in (("real", "even"), ("real_words", "even_words"), ("named.npz", "even_words")):
        main(["evaluate", str(files / real), str(files / made), "--extractor=digits", "--scores", "classes",
              "class_transfer", "--json", str(tmp_path / "scores.json")])  # fmt: skip
        assert "has no images of the classes" in capsys.readouterr().err
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
        scores[-1]["scores"] = {name.split("_digits")[0]: value for name, value in scores[-1]["scores"].items()}
    assert scores[0]["scores"]["label_accuracy"] > 0.97
    assert scores[0]["scores"]["gan_test_linear"] > 0.95
    assert scores[0]["classes"] == list("0123456789")
    for words in scores[1:]:
        assert words["classes"] == sorted(WORDS)
        assert "label_accuracy" not in words["scores"]  # the classifier's classes are numbers
        for name in ("gan_train_linear", "gan_test_linear"):
            assert words["scores"][name] == pytest.approx(scores[0]["scores"][name], abs=0.02)


def test_statistics_keep_the_names(files, tmp_path, capsys):
    command = ["--extractor=digits", "--scores", "class_transfer"]
    for first, real in ((True, files / "real_words"), (False, tmp_path / "real.npz")):
        keep = ["--statistics", str(tmp_path / "real.npz")] if first else []
        main(["evaluate", str(real), str(files / "even_words"), *command, *keep])
        if first:
            expected = capsys.readouterr().out.splitlines()[1:]
    assert capsys.readouterr().out.splitlines()[1:] == expected
    assert np.load(tmp_path / "real.npz")["class_names"].tolist() == sorted(WORDS)
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "real.npz"), str(files / "even"), *command])
    assert "the classes 0, 2, 4, 6, 8 are none of the real images'" in capsys.readouterr().err


def test_a_model_against_named_folders(files, capsys):
    for i in (1, 3, 5, 7, 9):
        assert not (files / "even" / str(i)).exists()
    main(["evaluate", str(files / "even"), "cgan_digits", "--extractor=digits", "--scores", "class_transfer"])
    told = capsys.readouterr()
    assert "cgan_digits draws the real images' classes in turn (0, 2, 4, 6, 8), not 1, 3, 5, 7, 9" in told.err
    assert float(told.out.splitlines()[1].split()[1]) > 0.95
