"""Modes counted during training, of models whose samples are known."""

import math

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from datamodules import DigitsDataModule, MixtureDataModule, StackedMNISTDataModule
from datamodules.datasets import InMemoryDataset
from lit_gen.callbacks import ModeCoverage
from lit_gen.metrics import MixtureCoverage, load_extractor, read_stacked


class Replay(L.LightningModule):
    """A model that draws, at random by the generator it is given, from images that it holds."""

    def __init__(self, images):
        super().__init__()
        self.images, self.layer, self.drawn = images, nn.Linear(1, 1), []

    def sample(self, n, labels=None, generator=None):
        self.drawn.append(self.images[torch.randint(len(self.images), (n,), generator=generator)])
        return self.drawn[-1]

    def training_step(self, batch, batch_idx):
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(callback, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "num_sanity_val_steps": 1}
    return L.Trainer(
        accelerator="cpu", enable_model_summary=False, callbacks=[callback], max_steps=2, **quiet, **options
    )


def test_a_fit_logs_the_metrics_of_the_samples_under_their_protocol():
    data = MixtureDataModule(num_points=200, batch_size=100)
    model = Replay(data.means[:7] + torch.tensor([0.14, 0.0]))  # in the ball, but for the eighth in the box's corner
    model.images = torch.cat([model.images, data.means[7:8] + 0.14])
    run = trainer(ModeCoverage(num_samples=130, region="box", count="all", batch_size=50), limit_val_batches=1)
    run.fit(model, data)
    expected = MixtureCoverage(data.means, data.std, "box", "all")
    expected.update(torch.cat(model.drawn[-3:]))
    assert [len(part) for part in model.drawn[-3:]] == [50, 50, 30]
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    scores = {f"val/{name}_box_all_130": value for name, value in expected.compute().items()}
    assert logged == pytest.approx(scores, rel=1e-6)
    assert logged["val/modes_box_all_130"] == 8
    (tested,) = trainer(ModeCoverage(num_samples=130)).test(model, data, verbose=False)
    assert tested["test/modes_ball_good_130"] == 7


def test_every_evaluation_draws_the_same_noise_and_leaves_the_global_one_alone():
    data = MixtureDataModule(kind="ring", num_points=200, batch_size=100)
    model, callback = Replay(data.means), ModeCoverage(num_samples=20)
    state = torch.get_rng_state()
    trainer(callback).validate(model, data, verbose=False)
    trainer(callback).test(model, data, verbose=False)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(model.drawn[0], model.drawn[1])


class Triples(StackedMNISTDataModule):
    def read(self):
        return {
            split: InMemoryDataset(torch.zeros(4, 3, 28, 28, dtype=torch.uint8)) for split in ("train", "val", "test")
        }


def test_stacked_digits_are_read_by_the_shipped_classifier():
    images = torch.randn(5, 3, 28, 28, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    model, data = Replay(images), Triples(batch_size=2)
    (scores,) = trainer(ModeCoverage(num_samples=40)).test(model, data, verbose=False)
    modes = read_stacked(model.drawn[0], load_extractor("mnist"))
    counts = modes.bincount().double()
    share = counts[counts > 0] / 40
    assert scores == pytest.approx(
        {"test/modes_mnist_40": len(share), "test/reverse_kl_mnist_40": float((share * (1000 * share).log()).sum())},
        rel=1e-6,
    )


def test_samples_that_are_not_finite_stop_the_run():
    data = MixtureDataModule(num_points=200)
    with pytest.raises(ValueError, match="not finite at step 0"):
        trainer(ModeCoverage(num_samples=20)).validate(Replay(torch.full((3, 2), math.nan)), data, verbose=False)


def test_data_without_known_modes_are_refused_before_training():
    with pytest.raises(ValueError, match=r"data=DigitsDataModule.*MixtureDataModule.*StackedMNIST"):
        trainer(ModeCoverage()).fit(Replay(torch.zeros(1, 1, 8, 8)), DigitsDataModule())


@pytest.mark.parametrize("wrong", [{"num_samples": 0}, {"batch_size": 0}, {"region": "disc"}, {"count": "most"}])
def test_wrong_settings_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        ModeCoverage(**wrong)


def test_a_fast_dev_run_draws_few():
    data = MixtureDataModule(num_points=200, batch_size=100)
    model = Replay(data.means)
    trainer(ModeCoverage(), fast_dev_run=True).fit(model, data)
    assert sum(map(len, model.drawn)) == 32
