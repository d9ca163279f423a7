"""Two domains: what each epoch shows, on how many processes, after an interruption, how images are changed."""

import collections
import itertools

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from datamodules import (
    ArrayDataModule,
    CIFAR10DataModule,
    DigitsDataModule,
    ImageFolderDataModule,
    MixtureDataModule,
    RecolouredDigitsDataModule,
    UnpairedDataModule,
)
from datamodules.datasets import InMemoryDataset
from datamodules.domains import Augmented, Domains, UnpairedSampler, random_crops
from datamodules.loader import ResumableLoader
from datamodules.recoloured import CONTRAST, INK, PAPER, recolour
from datamodules.two_domains import TwoDomains

pytestmark = pytest.mark.filterwarnings("ignore")


def indexed(size):
    """Images (1, 1, 2), dark on the left; the label is the index."""
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(size, 1, 1, 2).contiguous()
    return InMemoryDataset(images, torch.arange(size))


def loader(a, b, batch_size, rank=0, world_size=1, seed=0, epoch=0, **kwargs):
    domains = Domains(indexed(a), indexed(b))
    sampler = UnpairedSampler(domains, batch_size, rank, world_size, seed)
    result = ResumableLoader(
        Augmented(domains, seed), batch_size=batch_size // world_size, sampler=sampler, drop_last=True, **kwargs
    )
    sampler.set_epoch(epoch)
    return result


def pairs(batches):
    return [list(zip(batch["a"][1].tolist(), batch["b"][1].tolist(), strict=True)) for batch in batches]


@pytest.mark.parametrize(("a", "b"), [(23, 5), (5, 23), (10, 10), (7, 20)])
def test_an_epoch_is_the_longer_domain_once_and_the_shorter_as_evenly_as_can_be(a, b):
    batches = pairs(loader(a, b, 4))
    assert [len(batch) for batch in batches] == [4] * (max(a, b) // 4)
    seen = list(zip(*itertools.chain(*batches), strict=True))
    for domain, length in zip(seen, (a, b), strict=True):
        counts = collections.Counter(domain)
        assert set(counts) <= set(range(length))
        if length == max(a, b):
            assert set(counts.values()) == {1}
        # Every prefix is even, so no image waits while another one is shown twice.
        for end in range(1, len(domain) + 1):
            prefix = collections.Counter(domain[:end])
            assert max(prefix.values()) - min(prefix[i] for i in range(length)) <= 1


def test_each_round_and_each_epoch_of_the_shorter_domain_has_its_own_order():
    orders = []
    for epoch in range(3):
        b = [j for batch in pairs(loader(30, 10, 10, epoch=epoch)) for _, j in batch]
        orders += [tuple(b[i : i + 10]) for i in (0, 10, 20)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(orders)) == 9


def test_equal_lengths_meet_in_different_pairs():
    """With one permutation for both, image i would always meet image i."""
    met = [pair for epoch in range(2) for batch in pairs(loader(100, 100, 10, epoch=epoch)) for pair in batch]
    assert sum(i == j for i, j in met) < 12  # about 2 expected
    assert len(set(met)) > 190


def test_order_depends_on_seed_and_epoch_alone():
    orders = [str(pairs(loader(20, 9, 4, seed=s, epoch=e))) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9
    assert pairs(loader(20, 9, 4, seed=1, epoch=2)) == pairs(loader(20, 9, 4, seed=1, epoch=2, num_workers=2))


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_together_see_the_batches_of_one(world_size):
    one = pairs(loader(50, 13, 12))
    parts = [pairs(loader(50, 13, 12, rank, world_size)) for rank in range(world_size)]
    for t, batch in enumerate(one):
        assert [part[t] for part in parts] == [batch[r::world_size] for r in range(world_size)]


class Indexed(TwoDomains):
    name = "indexed"
    image_shape = (1, 1, 2)
    num_classes = 0

    def __init__(self, a: int = 23, b: int = 9, **kwargs):
        super().__init__(**kwargs)
        self.sizes = (a, b)

    def read_domains(self):
        a, b = self.sizes
        return {
            "train": Domains(indexed(a), indexed(b)),
            "val": Domains(indexed(7), indexed(3)),
            "test": Domains(indexed(2), indexed(6)),
        }


class Recorder(L.LightningModule):
    """Records (index, flipped) of each domain's images."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.held_out = [], {"a": [], "b": []}

    def training_step(self, batch, batch_idx):
        flipped = {k: (images[:, 0, 0, 0] == 1).tolist() for k, (images, _) in batch.items()}
        self.seen.append({k: list(zip(batch[k][1].tolist(), flipped[k], strict=True)) for k in "ab"})
        return self.weight * batch["a"][0].mean()

    def validation_step(self, batch, batch_idx):
        assert all(images.shape[1:] == (1, 1, 2) and images.dtype == torch.float32 for images, _ in batch.values())
        for k in batch:
            self.held_out[k] += batch[k][1].tolist()

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        return batch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, **kwargs):
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
        enable_model_summary=False, **kwargs,
    )  # fmt: skip


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(tmp_path):
    def run(ckpt_path=None):
        save = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        module, callbacks = Recorder(), [] if ckpt_path else [save]
        fit = trainer(tmp_path, max_epochs=3, callbacks=callbacks, enable_checkpointing=bool(callbacks))
        fit.fit(module, Indexed(batch_size=4, flip=True, seed=3), ckpt_path=ckpt_path)
        return module.seen

    whole = run()
    assert len(whole) == 15
    for step in (2, 5, 11):
        assert run(tmp_path / f"step={step}.ckpt") == whole[step:]


def test_held_out_images_of_both_domains_are_seen_once_and_in_order(tmp_path):
    module = Recorder()
    trainer(tmp_path).validate(module, Indexed(batch_size=2), verbose=False)
    assert module.held_out == {"a": [0, 1, 2, 3, 4, 5, 6], "b": [0, 1, 2]}
    module = Recorder()
    trainer(tmp_path).test(module, Indexed(batch_size=2), verbose=False)
    assert module.held_out == {"a": [0, 1], "b": [0, 1, 2, 3, 4, 5]}


def test_overfit_batches_counts_through_both_domains(tmp_path):
    module = Recorder()
    trainer(tmp_path, max_epochs=1, overfit_batches=3).fit(module, Indexed(batch_size=4))
    assert [i for batch in module.seen for i, _ in batch["a"]] == list(range(12))
    assert [i for batch in module.seen for i, _ in batch["b"]] == [*range(9), 0, 1, 2]


def test_flips_are_decided_for_each_image_domain_and_epoch_alone():
    def flips(rank, world_size, epoch):
        data, decided = Indexed(60, 60, flip=True), {}
        for batch in loader(60, 60, 20, rank, world_size, seed=5, epoch=epoch):
            for k, (images, labels) in data.on_after_batch_transfer(batch, 0).items():
                mirrored = (images[:, 0, 0, 0] == 1).tolist()
                decided |= {(k, i): f for i, f in zip(labels.tolist(), mirrored, strict=True)}
        return decided

    one = flips(0, 1, 0)
    assert flips(0, 2, 0) | flips(1, 2, 0) == one
    other = flips(0, 1, 1)
    assert 30 < sum(one.values()) < 90
    assert 30 < sum(one[key] != other[key] for key in one) < 90
    assert 10 < sum(one["a", i] != one["b", i] for i in range(60)) < 50


def test_crops_by_hand():
    """Enlarged to 286, the corner and the mirror are those that the numbers say."""
    torch.manual_seed(0)
    images = torch.rand(5, 3, 8, 6) * 2 - 1
    chances = torch.tensor([[0, 0, 0.9], [0.999, 0.999, 0.9], [0.5, 0.25, 0.1], [0, 0.999, 0.1], [0.34, 0.67, 0.5]])
    large = torch.nn.functional.interpolate(images, (10, 9), mode="bicubic", antialias=True).clamp(-1, 1)
    result = random_crops(images, chances, (10, 9), flip=True)
    for i, (top, left, mirror) in enumerate([(0, 0, False), (2, 3, False), (1, 1, True), (0, 3, True), (1, 2, False)]):
        crop = large[i, :, top : top + 8, left : left + 6]
        torch.testing.assert_close(result[i], crop.flip(-1) if mirror else crop)
    assert torch.equal(random_crops(images, chances, None, flip=False), images)
    assert torch.equal(random_crops(images, chances, (10, 9), flip=False)[2], large[2, :, 1:9, 1:7])


def test_all_crops_are_equally_likely():
    domains = Domains(indexed(5000), indexed(3))
    chances = Augmented(domains, seed=0).__getitems__([(i, 0) for i in range(5000)])["a"][2]
    assert chances.shape == (5000, 3)
    assert chances.min() >= 0
    assert chances.max() < 1
    counts = torch.bincount((chances[:, 0] * 31).long() * 31 + (chances[:, 1] * 31).long(), minlength=961)
    expected = 5000 / 961
    assert ((counts - expected) ** 2 / expected).sum() < 961 + 5 * (2 * 961) ** 0.5  # χ², five deviations
    assert abs((chances[:, 2] < 0.5).sum() - 2500) < 4 * 35.4


def test_only_training_is_enlarged_and_cropped(tmp_path):
    data = RecolouredDigitsDataModule(batch_size=4, load_size=10, flip=True)
    train, val = (
        data.on_after_batch_transfer(next(iter(x)), 0) for x in (data.train_dataloader(), data.val_dataloader())
    )
    assert train["a"][0].shape == val["a"][0].shape == (4, 3, 8, 8)
    raw = data.to_float(data.dataset("val").__getitems__([0, 1, 2, 3])["a"][0])
    assert torch.equal(val["a"][0], raw)
    whole = data.to_float(data.dataset("train").a.images)
    assert not any((whole == image).flatten(1).all(1).any() for image in train["a"][0])


# ---- where images come from


def test_two_folders(tmp_path):
    for folder, colour in (("horses", (255, 0, 0)), ("zebras", (0, 0, 255))):
        (tmp_path / folder).mkdir()
        for i in range(10 if folder == "horses" else 20):
            Image.new("RGB", (9, 7), colour).save(tmp_path / folder / f"{i}.png")
    modules = (ImageFolderDataModule(tmp_path / name, image_size=8) for name in ("horses", "zebras"))
    data = UnpairedDataModule(*modules, batch_size=4, num_workers=1)
    assert (data.name, data.image_shape, data.num_classes) == ("horses2zebras", (3, 8, 8), 0)
    assert [len(data.dataset(s).a) for s in ("train", "val", "test")] == [8, 1, 1]
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    assert len(batches) == 4
    for batch in batches:
        assert (batch["a"][0].mean((0, 2, 3)) == torch.tensor([1.0, -1.0, -1.0])).all()
        assert (batch["b"][0].mean((0, 2, 3)) == torch.tensor([-1.0, -1.0, 1.0])).all()
    (val,) = data.val_dataloader()
    assert [len(val[k][0]) for k in "ab"] == [1, 2]


def test_a_domain_that_is_used_up_gives_empty_tensors(tmp_path):
    for folder, n in (("a", 10), ("b", 40)):
        (tmp_path / folder).mkdir()
        for i in range(n):
            Image.new("L", (8, 8), i).save(tmp_path / folder / f"{i}.png")
    modules = (ImageFolderDataModule(tmp_path / k, image_size=8, channels=1) for k in "ab")
    shapes = [
        [tuple(batch[k][0].shape) for k in "ab"]
        for batch in UnpairedDataModule(*modules, batch_size=2).val_dataloader()
    ]
    assert shapes == [[(1, 1, 8, 8), (2, 1, 8, 8)], [(0, 1, 8, 8), (2, 1, 8, 8)]]


def test_keys_of_an_npz(tmp_path):
    arrays = {
        f"{split}{domain}": np.full((n, 6, 6, 3), value, np.uint8)
        for domain, value in (("A", 10), ("B", 200))
        for split, n in (("train", 12), ("test", 3))
    }
    np.savez(tmp_path / "horse2zebra.npz", **arrays)
    a, b = (ArrayDataModule(tmp_path / "horse2zebra.npz", ending=ending, val_share=0.25) for ending in "AB")
    data = UnpairedDataModule(a, b)
    assert data.name == "horse2zebraA2horse2zebraB"
    sizes = {split: (len(data.dataset(split).a), len(data.dataset(split).b)) for split in ("train", "val", "test")}
    assert sizes == {"train": (9, 9), "val": (3, 3), "test": (3, 3)}
    batch = data.dataset("train").__getitems__([0, 5])
    assert (batch["a"][0] == 10).all()
    assert (batch["b"][0] == 200).all()
    with pytest.raises(ValueError, match=r"ending='C'.*trainA, testA, trainB, testB"):
        ArrayDataModule(tmp_path / "horse2zebra.npz", ending="C").image_shape  # noqa: B018


def test_two_groups_of_one_data_sets_classes():
    data = UnpairedDataModule(DigitsDataModule(), classes_a=[3, 8], classes_b=[0])
    assert data.name == "digits_3_82digits_0"
    digits = DigitsDataModule()
    for split in ("train", "val", "test"):
        whole, domains = digits.dataset(split), data.dataset(split)
        for part, classes in ((domains.a, [3, 8]), (domains.b, [0])):
            images, labels = part.__getitems__(list(range(len(part))))
            chosen = torch.isin(whole.labels, torch.tensor(classes))
            assert torch.equal(images, whole.images[chosen])
            assert torch.equal(labels, whole.labels[chosen])


def test_hyper_parameters_are_plain_and_build_the_module_again(tmp_path):
    data = UnpairedDataModule(DigitsDataModule(), classes_a=[1], classes_b=[2], batch_size=6, load_size=10)
    trainer(tmp_path, max_steps=1, enable_checkpointing=False).fit(Recorder(), data)
    run = trainer(tmp_path, max_steps=1, enable_checkpointing=False)
    run.fit(Recorder(), data)
    run.save_checkpoint(tmp_path / "run.ckpt")
    stored = torch.load(tmp_path / "run.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert stored["a"]["class_path"] == "datamodules.digits.DigitsDataModule"
    rebuilt = UnpairedDataModule.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert rebuilt.name == data.name
    assert rebuilt.load_size == (10, 10)
    assert pairs(rebuilt.train_dataloader()) == pairs(data.train_dataloader())


def test_domains_whose_constructors_take_less_than_the_base_are_built_again(tmp_path):
    data = UnpairedDataModule(MixtureDataModule("ring", num_points=9), MixtureDataModule("grid", num_points=7))
    stored = {"datamodule_hyper_parameters": dict(data.hparams), "pytorch-lightning_version": L.__version__}
    torch.save(stored, tmp_path / "run.ckpt")
    rebuilt = UnpairedDataModule.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert (rebuilt.name, len(rebuilt.dataset("train").a), len(rebuilt.dataset("train").b)) == (data.name, 9, 7)


def test_recoloured_digits_hold_counterparts_only_outside_training():
    data = RecolouredDigitsDataModule()
    train = data.dataset("train")
    assert (len(train.a), len(train.b)) == (599, 598)
    original = DigitsDataModule().dataset("train").images
    used = {}
    for k, part, truth in (("a", train.a, original.expand(-1, 3, -1, -1)), ("b", train.b, recoloured(original))):
        places = {image.numpy().tobytes(): i for i, image in enumerate(truth.contiguous())}
        used[k] = {places[image.numpy().tobytes()] for image in part.images}
    assert not used["a"] & used["b"]
    assert len(used["a"] | used["b"]) > 1190  # all but equal images
    for split in ("val", "test"):
        whole = data.dataset(split)
        batch = whole.__getitems__(list(range(len(whole))))
        assert torch.equal(batch["b"][0], recoloured(batch["a"][0][:, :1]))
        assert torch.equal(batch["a"][1], batch["b"][1])


def recoloured(grey):
    return (recolour(grey.double() / 255) * 255).round().to(torch.uint8)


def test_the_recolouring_is_invertible():
    v = torch.linspace(0, 1, 17, dtype=torch.float64).view(-1, 1, 1, 1)
    colours = recolour(v)
    assert colours.shape == (17, 3, 1, 1)
    for c in range(3):
        assert torch.allclose(((colours[:, c] - PAPER[c]) / (INK[c] - PAPER[c])) ** (1 / CONTRAST), v[:, 0])
        assert len(recoloured((v * 255).round())[:, c].unique()) == 17  # still after rounding to 8 bits


# ---- prediction


def test_prediction_of_a_folder_keeps_the_names(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "a.png", "sub/b.png", "a.jpg"):
        Image.new("RGB", (20, 10), (1, 2, 3)).save(tmp_path / name)
    options = {"predict_folder": str(tmp_path), "predict_domain": "b", "batch_size": 3}
    assert RecolouredDigitsDataModule(**options).prediction_names == ["a.jpg", "a.png", "b.jpg", "sub/b.png"]
    data = RecolouredDigitsDataModule(predict_crop=True, **options)
    assert [tuple(batch["b"][0].shape) for batch in data.predict_dataloader()] == [(3, 3, 8, 8), (1, 3, 8, 8)]
    assert all(set(batch) == {"b"} for batch in data.predict_dataloader())
    assert RecolouredDigitsDataModule().prediction_names is None
    (first, *_) = RecolouredDigitsDataModule(predict_domain="a", batch_size=3).predict_dataloader()
    assert torch.equal(first["a"][0], RecolouredDigitsDataModule().dataset("test").a.images[:3])


def test_prediction_is_of_pictures_as_they_are(tmp_path):
    """Turned upright, in the training's channels, one a batch, and of every format."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (5, 7), np.uint8))
    turned = Image.fromarray(rng.integers(0, 256, (9, 4, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned clockwise
    turned.save(tmp_path / "b.png", exif=exif)
    for name in ("a.png", "a.bmp", "A.JPG", "c.webp"):
        grey.save(tmp_path / name)
    data = RecolouredDigitsDataModule(predict_folder=str(tmp_path), batch_size=3)
    assert data.prediction_names == ["A.JPG", "a.bmp.png", "a.png", "b.png", "c.png"]
    batches = [batch["a"][0] for batch in data.predict_dataloader()]
    assert [tuple(x.shape) for x in batches] == [(1, 3, 5, 7)] * 3 + [(1, 3, 4, 9), (1, 3, 5, 7)]
    assert np.array_equal(batches[2][0], np.stack([np.asarray(grey)] * 3))
    assert np.array_equal(batches[3][0].permute(1, 2, 0), np.rot90(np.asarray(turned), -1))


# ---- mistakes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UnpairedDataModule(DigitsDataModule()), "b=None"),
        (lambda: UnpairedDataModule(DigitsDataModule(), classes_a=[1, 2], classes_b=[2]), "same images"),
        (lambda: UnpairedDataModule(DigitsDataModule(), CIFAR10DataModule()), r"\(1, 8, 8\), .*\(3, 32, 32\)"),
        (lambda: RecolouredDigitsDataModule(predict_domain="c"), "predict_domain='c'"),
        (lambda: RecolouredDigitsDataModule(load_size=7).train_dataloader(), r"load_size=\(7, 7\)"),
        (lambda: RecolouredDigitsDataModule(batch_size=600).train_dataloader(), "batch_size=600.*599 images"),
        (lambda: UnpairedDataModule(DigitsDataModule(), classes_a=[11], classes_b=[2]).dataset("train"), "classes_a"),
        (
            lambda: UnpairedDataModule(DigitsDataModule(), classes_a=[1], classes_b=[2], paired=True).dataset("val"),
            "paired=True.*in the split val",
        ),
        (
            lambda: UnpairedDataModule(MixtureDataModule(), classes_a=[1], classes_b=[2], flip=True).train_dataloader(),
            "flip=True",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_missing_folder_is_named():
    with pytest.raises(FileNotFoundError, match="predict_folder='no/where'"):
        RecolouredDigitsDataModule(predict_folder="no/where")
