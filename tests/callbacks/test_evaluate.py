import logging
from contextlib import contextmanager
from types import SimpleNamespace

import lightning.pytorch as L
import numpy as np
import pytest
import scipy.linalg
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from datamodules import DataModule, DigitsDataModule, MixtureDataModule
from datamodules.datasets import InMemoryDataset
from lit_gen.callbacks.evaluate import Evaluate, choose_extractor
from lit_gen.metrics import SCORES, Extractor, load_extractor
from lit_gen.metrics.scores import protocol_name


class Model(L.LightningModule):
    """One linear layer from noise to images, trained to draw their mean."""

    def __init__(self, image_shape=(1, 8, 8)):
        super().__init__()
        self.image_shape, self.sampled = image_shape, []
        self.layer = nn.Linear(6, torch.Size(image_shape).numel())

    def decode(self, z):
        return self.layer(z.to(self.layer.weight.dtype)).tanh().unflatten(1, self.image_shape)

    @torch.no_grad()
    def sample(self, n, labels=None, generator=None):
        self.sampled.append(n)
        return self.decode(torch.randn(n, 6, generator=generator))

    def training_step(self, batch, batch_idx):
        images = batch[0]
        return (self.decode(torch.zeros(len(images), 6)) - images.to(self.layer.weight.dtype)).square().mean()

    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1.0)


class Replay(Model):
    """A perfect model of a split: its samples are its images, in order."""

    def __init__(self, images):
        super().__init__(tuple(images.shape[1:]))
        self.images = images

    def sample(self, n, labels=None, generator=None):
        start = sum(self.sampled)
        self.sampled.append(n)
        return self.images[start : start + n]


class Unshipped(DigitsDataModule):
    name = "unshipped"


class NoValidation(DigitsDataModule):
    def read(self):
        splits = super().read()
        return {**splits, "val": InMemoryDataset(splits["val"].images[:0])}


class Rows(Logger):
    """Keeps what it is handed."""

    name = version = "rows"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def steps(self, key):
        return [step for step, metrics in self.rows if key in metrics]


def trainer_with(*callbacks, **settings):
    settings = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "logger": False} | settings
    return L.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        **settings,
    )


def images_of(data: DataModule, split: str) -> torch.Tensor:
    return data.to_float(data.dataset(split).__getitems__(list(range(len(data.dataset(split)))))[0])


def test_the_score_is_the_frechet_distance_of_the_samples_to_the_held_out_split():
    data, evaluate = DigitsDataModule(), Evaluate(num_samples=250, batch_size=64)
    model = Replay(images_of(data, "train"))
    trainer = trainer_with(evaluate)
    scores = trainer.validate(model, datamodule=data, verbose=False)[0]

    network = load_extractor("digits")
    ours, logits = network.extract(model.images[:250])
    a, b = ours.double().numpy(), network.extract(images_of(data, "val"))[0].double().numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.trace(scipy.linalg.sqrtm(cov_a @ cov_b)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    assert set(scores) == {"val/fd_digits_250", "val/classes_digits_250", "val/top_probability_digits_250"}
    assert scores["val/fd_digits_250"] == pytest.approx(expected, rel=1e-4)  # the root is of a singular matrix
    assert scores["val/classes_digits_250"] == len(logits.argmax(1).unique()) == 10
    assert scores["val/top_probability_digits_250"] == pytest.approx(logits.softmax(1).amax(1).mean().item())


def test_scores_appear_at_step_0_and_at_every_validation_but_not_in_the_sanity_check():
    rows, model = Rows(), Model()
    trainer = trainer_with(Evaluate(num_samples=30, batch_size=20), max_epochs=2, logger=rows, num_sanity_val_steps=1)
    trainer.fit(model, datamodule=DigitsDataModule())
    assert rows.steps("val/fd_digits_30") == [0, 1, 3]
    assert rows.steps("val/classes_digits_30") == [0, 1, 3]
    assert model.sampled == [30] * 3


def test_without_the_start():
    rows = Rows()
    trainer_with(Evaluate(num_samples=30, at_start=False), logger=rows).fit(Model(), datamodule=DigitsDataModule())
    assert rows.steps("val/fd_digits_30") == [1]


def test_a_monitored_score_chooses_the_checkpoint_though_it_comes_every_second_validation(tmp_path):
    rows, best = Rows(), ModelCheckpoint(tmp_path, "{step}", monitor="val/fd_digits_30", save_top_k=1)
    evaluate = Evaluate(num_samples=30, every_n_epochs=2, at_start=False)
    trainer = trainer_with(evaluate, best, max_epochs=4, logger=rows)
    trainer.fit(Model(), datamodule=DigitsDataModule())
    assert rows.steps("val/fd_digits_30") == [1, 3, 7]  # the first one, so that the monitor finds it; then 2 and 4
    scores = [metrics["val/fd_digits_30"] for _, metrics in rows.rows if "val/fd_digits_30" in metrics]
    assert best.best_model_score == pytest.approx(min(scores))
    checkpoint = torch.load(best.best_model_path, weights_only=True)
    assert set(checkpoint["state_dict"]) == {"layer.weight", "layer.bias"}


def test_the_extractor_is_no_part_of_the_module():
    evaluate, model = Evaluate(num_samples=30), Model()
    trainer_with(evaluate).fit(model, datamodule=DigitsDataModule())
    assert set(model.state_dict()) == {"layer.weight", "layer.bias"}
    assert [name for name, _ in model.named_modules()] == ["", "layer"]
    assert evaluate._network is not None


def test_reference_statistics_are_computed_once_a_split(monkeypatch):
    sizes, extract = [], Extractor.extract
    monkeypatch.setattr(Extractor, "extract", lambda self, images: sizes.append(len(images)) or extract(self, images))
    data, evaluate = DigitsDataModule(), Evaluate(num_samples=30)
    trainer_with(evaluate, max_epochs=3).fit(Model(), datamodule=data)
    assert sizes == [300, 30, 30, 30, 30]  # the validation split, then samples at the start and after each epoch
    for _ in range(2):
        trainer_with(evaluate).test(Model(), datamodule=data, verbose=False)
    assert sizes[5:] == [300, 30, 30]


def test_another_data_module_gets_its_own_reference_and_extractor():
    evaluate = Evaluate(num_samples=30)
    trainer = trainer_with(evaluate)
    trainer.validate(Model(), datamodule=DigitsDataModule(), verbose=False)
    scores = trainer.validate(Model((2,)), datamodule=MixtureDataModule(num_points=100), verbose=False)[0]
    assert list(scores) == ["val/fd_identity_30"]


def test_the_training_split_as_reference_shows_in_the_name():
    data = DigitsDataModule()
    model = Replay(images_of(data, "train"))
    evaluate = Evaluate(num_samples=1197, reference="train")
    scores = trainer_with(evaluate).test(model, datamodule=data, verbose=False)[0]
    assert scores["test/fd_digits_1197_train"] == pytest.approx(0, abs=1e-6)
    assert scores["test/classes_digits_1197_train"] == 10


def test_points_are_their_own_features():
    data = MixtureDataModule("ring", num_points=100)
    points = data.dataset("val").images
    scores = trainer_with(Evaluate(num_samples=2500)).validate(Replay(points + 3), datamodule=data, verbose=False)[0]
    assert scores == {"val/fd_identity_2500": pytest.approx(18, rel=1e-5)}  # moved by (3, 3), of the same shape


def test_same_samples_at_every_evaluation_and_no_global_random_numbers():
    data, model = DigitsDataModule(), Model()
    scores, states = [], []
    for seed in (0, 0, 1):
        evaluate, trainer = Evaluate(num_samples=30, batch_size=8, seed=seed), alone(data)
        evaluate.setup(trainer, model, "fit")
        states.append(torch.get_rng_state())
        scores.append(evaluate._scores(trainer, model, "val")["val/fd_digits_30"])
        assert torch.get_rng_state().equal(states[-1])
    assert scores[0] == scores[1] != scores[2]


def test_data_without_a_shipped_extractor_are_not_scored_and_one_line_says_how(caplog):
    with caplog.at_level(logging.INFO):
        scores = trainer_with(Evaluate()).validate(Model(), datamodule=Unshipped(), verbose=False)
    assert scores == [{}]
    lines = [record.message for record in caplog.records if "no extractor is shipped" in record.message]
    assert len(lines) == 1
    assert "`--evaluate.extractor digits`" in lines[0]
    assert "lit_gen.metrics.train_extractor" in lines[0]


@pytest.mark.parametrize("data", [DigitsDataModule(), None])
def test_none_switches_scoring_off(data):
    model = Model()
    loader = {"datamodule": data} if data else {"dataloaders": DigitsDataModule().val_dataloader()}
    assert trainer_with(Evaluate(extractor=None)).validate(model, verbose=False, **loader) == [{}]
    assert model.sampled == []


@pytest.mark.parametrize(
    ("extractor", "data", "message"),
    [
        ("nonsense", DigitsDataModule(), "extractor='nonsense': neither shipped"),
        (
            "mnist",
            DigitsDataModule(),
            r"extractor='mnist': made for image_shape=\(1, 28, 28\), but the data have \(1, 8, 8\)",
        ),
        ("auto", None, "Evaluate needs a data module"),
    ],
)
def test_an_unfit_extractor_fails_before_training(extractor, data, message):
    model = Model()
    loaders = {"datamodule": data} if data else {"train_dataloaders": DigitsDataModule().train_dataloader()}
    with pytest.raises(ValueError, match=message):
        trainer_with(Evaluate(extractor=extractor)).fit(model, **loaders)
    assert model.layer.weight.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 1}, "num_samples=1"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"reference": "test"}, "reference='test': 'train' or 'held_out'"),
        ({"scores": ["fd", "fids"]}, "scores=fids: accepted are fd, fd_infinity"),
        ({"every_n_steps": 0}, "every_n_steps=0"),
        ({"max_share": 0.0}, "max_share=0.0: a share of the time"),
        ({"capacity": 0}, "capacity=0"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Evaluate(**arguments)


def test_a_fast_dev_run_scores_few_samples_under_their_own_name():
    model, evaluate = Model(), Evaluate(num_samples=5000)
    trainer = trainer_with(evaluate, fast_dev_run=True, logger=True)
    trainer.fit(model, datamodule=DigitsDataModule())
    assert "val/fd_digits_32" in trainer.callback_metrics
    assert set(model.sampled) == {32}


def test_no_held_out_split_is_said_and_skipped(caplog):
    with caplog.at_level(logging.INFO):
        trainer_with(Evaluate(num_samples=30)).fit(Model(), datamodule=NoValidation())
    assert "no split 'val'" in caplog.text


def test_samples_that_are_not_finite_stop_the_run():
    model = Model()
    model.layer.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="samples are not finite at step 0"):
        trainer_with(Evaluate(num_samples=30)).validate(model, datamodule=DigitsDataModule(), verbose=False)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_scores_are_float32_under_bf16(precision):
    data = DigitsDataModule()
    model = Replay(images_of(data, "test")[:200])
    exact = trainer_with(Evaluate(num_samples=200)).validate(model, datamodule=data, verbose=False)[0]
    model.sampled.clear()
    if precision == "bf16-true":
        model.images = model.images.bfloat16()
        exact = trainer_with(Evaluate(num_samples=200)).validate(
            Replay(model.images.float()), datamodule=data, verbose=False
        )[0]
    trainer = trainer_with(Evaluate(num_samples=200), precision=precision)
    assert trainer.validate(model, datamodule=data, verbose=False)[0] == exact


def test_the_count_of_validations_goes_on_after_a_resume():
    arguments = {"num_samples": 30, "every_n_epochs": 2, "at_start": False}
    before, after, rows = Evaluate(**arguments), Evaluate(**arguments), Rows()
    trainer_with(before).fit(Model(), datamodule=DigitsDataModule())
    after.load_state_dict(before.state_dict())
    trainer_with(after, max_epochs=4, logger=rows).fit(Model(), datamodule=DigitsDataModule())
    assert rows.steps("val/fd_digits_30") == [1, 5]  # the second and the fourth of five


class Conditional(Model):
    """Draws each class as a grey level of its own."""

    conditional, num_classes = True, 10

    def sample(self, n, labels=None, generator=None):
        self.sampled.append(labels.tolist())
        noise = torch.rand(n, *self.image_shape, generator=generator)
        return (labels.view(-1, 1, 1, 1) / 5 - 1 + 0.1 * noise).expand(n, *self.image_shape)


ALL = [name for name in SCORES if name not in ("kid_subsets", "fd_class", "class_transfer")]


def test_all_scores_of_a_perfect_model_come_from_one_pass(monkeypatch):
    """Each sample and each real image goes through the extractor once, however many scores are asked for."""
    sizes, extract = [], Extractor.extract
    monkeypatch.setattr(Extractor, "extract", lambda self, images: sizes.append(len(images)) or extract(self, images))
    data = DigitsDataModule()
    evaluate = Evaluate(num_samples=300, scores=ALL, batch_size=100)
    scores = trainer_with(evaluate).validate(Replay(images_of(data, "val")), datamodule=data, verbose=False)[0]
    assert sizes == [100] * 6
    expected = {"precision": 1, "recall": 1, "coverage": 1, "authenticity": 0, "memorised": 1, "diversity": 1}
    for name, value in {**expected, "nn_accuracy": 0, "classes": 10, "fd": 0}.items():
        assert scores[f"val/{name}_digits_300"] == pytest.approx(value, abs=1e-6), name
    assert scores["val/kid_digits_300"] < 0  # a copy is nearer than another sample could be
    assert scores["val/logistic_accuracy_digits_300"] < 0.5  # taught on an image's copy under the other name
    assert len(scores) == 22


def test_scores_of_single_images_carry_the_number_kept():
    data = DigitsDataModule()
    evaluate = Evaluate(num_samples=200, scores=["fd", "precision_recall"], capacity=150)
    scores = trainer_with(evaluate).validate(Replay(images_of(data, "train")), datamodule=data, verbose=False)[0]
    assert set(scores) == {"val/fd_digits_200", "val/precision_digits_150", "val/recall_digits_150"}


def test_a_conditional_model_draws_its_classes_in_turn():
    model = Conditional()
    evaluate = Evaluate(num_samples=50, batch_size=24, scores=["fd", "classes", "fd_class", "class_transfer"])
    scores = trainer_with(evaluate).validate(model, datamodule=DigitsDataModule(), verbose=False)[0]
    assert [label for batch in model.sampled for label in batch] == [i % 10 for i in range(50)]
    assert scores["val/gan_test_linear_digits_50"] < 0.5  # grey squares are no digits
    assert 0 <= scores["val/gan_train_linear_digits_50"] < 0.8
    assert scores["val/label_accuracy_digits_50"] < 0.5
    assert scores["val/fd_class_worst_digits_50"] >= scores["val/fd_class_mean_digits_50"] > 0


@pytest.mark.parametrize(
    ("extractor", "scores", "message"),
    [
        ("identity", ["classes"], "scores=classes: the extractor 'identity' doesn't classify"),
        ("digits", ["fd", "fd_class"], "scores=fd_class: needs samples by class, from a conditional model"),
    ],
)
def test_scores_that_cannot_be_given_fail_before_training(extractor, scores, message):
    model = Model()
    with pytest.raises(ValueError, match=message):
        trainer_with(Evaluate(extractor=extractor, scores=scores)).fit(model, datamodule=DigitsDataModule())
    assert model.layer.weight.grad is None


def test_every_n_steps_in_place_of_validations():
    rows, model = Rows(), Model()
    evaluate = Evaluate(num_samples=30, every_n_steps=3)
    trainer_with(evaluate, max_epochs=2, limit_train_batches=4, logger=rows).fit(model, datamodule=DigitsDataModule())
    assert rows.steps("val/fd_digits_30") == [0, 2, 5]
    assert rows.steps("evaluate/share") == [2, 5]
    shares = [metrics["evaluate/share"] for _, metrics in rows.rows if "evaluate/share" in metrics]
    assert all(0 < share < 1 for share in shares)


def test_the_share_of_the_time_is_bounded(caplog):
    """With next to nothing allowed only the first evaluation takes place, and one line says why."""
    rows = Rows()
    evaluate = Evaluate(num_samples=300, max_share=1e-6)
    with caplog.at_level(logging.INFO):
        trainer_with(evaluate, max_epochs=3, logger=rows).fit(Model(), datamodule=DigitsDataModule())
    assert rows.steps("val/fd_digits_300") == [0, 1]
    assert "max_share=1e-06" in caplog.text
    rows = Rows()
    trainer_with(Evaluate(num_samples=30, max_share=1.0), max_epochs=3, logger=rows).fit(
        Model(), datamodule=DigitsDataModule()
    )
    assert rows.steps("val/fd_digits_30") == [0, 1, 3, 5]


def test_samples_are_scored_as_files():
    """Beyond the range and between the levels is not seen; unless asked for."""
    data = DigitsDataModule()
    images = images_of(data, "val")
    for eight_bits, same in ((True, True), (False, False)):
        scores = [
            trainer_with(Evaluate(num_samples=300, extractor="pixels", eight_bits=eight_bits)).validate(
                Replay(samples), datamodule=data, verbose=False
            )[0]["val/fd_pixels_300"]
            for samples in (images, (images + 0.3 / 127.5) * 1.001)
        ]
        assert (scores[0] == scores[1]) is same


def test_references_are_read_from_the_disk_by_the_next_run(tmp_path, monkeypatch):
    scores = []
    sizes, extract = [], Extractor.extract
    monkeypatch.setattr(Extractor, "extract", lambda self, images: sizes.append(len(images)) or extract(self, images))
    torch.manual_seed(0)
    model = Model()
    for _ in range(2):
        evaluate = Evaluate(num_samples=30, cache=str(tmp_path), scores=["fd", "kid"])
        scores.append(trainer_with(evaluate).validate(model, datamodule=DigitsDataModule(), verbose=False)[0])
    assert sizes == [300, 30, 30]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)
    assert len(list(tmp_path.iterdir())) == 1


class Bar(ProgressBar):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.parts = []

    def disable(self):
        pass

    @contextmanager
    def part(self, name, total):
        told = []
        yield told.append
        self.parts.append((name, total, sum(told)))


def test_the_progress_bar_is_told():
    bar = Bar()
    trainer = L.Trainer(
        accelerator="cpu", callbacks=[Evaluate(num_samples=30, batch_size=20), bar], logger=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.validate(Model(), datamodule=DigitsDataModule(), verbose=False)
    assert bar.parts == [("val images", 300, 300), ("samples", 30, 30)]


def test_inception_by_name():
    network = choose_extractor("inception-random-bf16", DigitsDataModule())
    assert (network.name, network.frechet, network.image_shape) == ("inception-random-bf16", "fd", (1, 8, 8))


@pytest.mark.parametrize(
    ("score", "count", "frechet", "name"),
    [
        ("fd", 1000, "fd", "fd_digits_1000"),
        ("fd", 50_000, "fid", "fid_digits_50k"),
        ("fd_infinity", 10_000, "fid", "fid_infinity_digits_10k"),
        ("kid", 10_001, "fid", "kid_digits_10001"),
    ],
)
def test_names_say_the_protocol(score, count, frechet, name):
    assert protocol_name(score, "digits", count, frechet) == name


def alone(data: DataModule, rank: int = 0, world_size: int = 1) -> SimpleNamespace:
    """As much of a trainer as scoring needs."""

    def reduce(decision, all):
        votes = torch.tensor(int(decision))
        if world_size > 1:
            torch.distributed.all_reduce(votes)
        return votes.item() >= (world_size if all else 1)

    strategy = SimpleNamespace(reduce_boolean_decision=reduce)
    place = {"global_rank": rank, "world_size": world_size, "strategy": strategy}
    return SimpleNamespace(datamodule=data, global_step=0, fast_dev_run=False, **place)


def scores_of(rank: int, world_size: int) -> dict[str, float]:
    """What process ``rank`` of ``world_size`` computes, with 100 samples in 7 uneven chunks and 299 references."""
    data = DigitsDataModule()
    splits = data.read()
    data._datasets = {**splits, "val": InMemoryDataset(splits["val"].images[:299])}
    trainer = alone(data, rank, world_size)
    torch.manual_seed(0)
    model, evaluate = Model(), Evaluate(num_samples=100, batch_size=16, scores=ALL)
    evaluate.setup(trainer, model, "fit")
    scores = evaluate._scores(trainer, model, "val")
    model.layer.weight.data.fill_(torch.nan if rank == 0 else 1.0)  # one process that diverged stops all
    with pytest.raises(ValueError, match="not finite"):
        evaluate._scores(trainer, model, "val")
    return scores


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(scores_of(rank, 2), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    torch.multiprocessing.start_processes(process, (str(tmp_path),), nprocs=2, start_method="forkserver")
    expected = scores_of(0, 1)
    assert expected["val/fd_digits_100"] > 0
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(expected, rel=1e-9)


def test_the_number_of_real_images_is_told_and_that_they_are_few(caplog):
    evaluate = Evaluate(num_samples=30, scores=["fd", "precision_recall"])
    with caplog.at_level("INFO", "lightning.pytorch.utilities.rank_zero"):
        trainer_with(evaluate, max_epochs=2).fit(Model(), datamodule=DigitsDataModule())
    told = [line for line in caplog.messages if line.startswith("Evaluate: ")]
    assert told == [
        "Evaluate: samples are compared with the 300 images of the split 'val'.",
        "Evaluate: warning: precision_recall against 300 real images: neighbours so far apart say little; at least "
        "1,000 are needed",
    ]


class Lettered(DigitsDataModule):
    class_names = tuple("abcdefghij")


def test_a_classifier_of_other_classes_counts_none_as_wrong():
    evaluate = Evaluate(extractor="digits", num_samples=40)
    scores = trainer_with(evaluate).validate(Conditional(), datamodule=Lettered(), verbose=False)[0]
    assert "val/classes_digits_40" in scores
    assert "val/label_accuracy_digits_40" not in scores
