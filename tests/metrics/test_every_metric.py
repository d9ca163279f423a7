"""What every `torchmetrics.Metric` promises. A new one is one Entry in EVERY: how it is made, and inputs it takes."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from families import unlisted
from torch import Tensor
from torchmetrics import Metric

import lit_gen.metrics
from lit_gen.losses import LayerTerms
from lit_gen.metrics import (
    AggregatePosterior,
    ClassCoverage,
    CodeUsage,
    FeatureBank,
    FeatureMoments,
    Features,
    InceptionScore,
    LatentUnits,
    MeanPerImage,
    MixtureCoverage,
    Moments,
    StackedCoverage,
)

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
N, CLASSES = 60, 3
CORNERS = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
INDEX = torch.arange(N)
LABELS = INDEX % CLASSES
SURE = 60.0 * torch.eye(CLASSES)[LABELS]  # of the label's class


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one_layer(metric: Metric, z: Tensor, mean: Tensor, log_scale: Tensor) -> None:
    metric.update(LayerTerms(z.unsqueeze(0), (mean, log_scale)))


# An active unit, one that only the difference between batches makes active, and an inactive one.
UNIT_MEANS = torch.stack([normal(N, seed=1), 0.5 * (INDEX < 7), 0.01 * normal(N, seed=3)], 1)


class Entry(NamedTuple):
    make: Callable[[], Metric]
    inputs: tuple[Tensor, ...]  # of N samples
    ideal: tuple[Tensor, ...]  # inputs, and of the values by them some by name
    values: dict[str, float]
    wrong: tuple[Tensor, ...] | None  # inputs that are refused; None where every shape has a meaning
    update: Callable[..., None] = lambda metric, *inputs: metric.update(*inputs)


EVERY = [
    Entry(
        lambda: MixtureCoverage(CORNERS, std=0.1),
        (CORNERS[INDEX % 3] + 0.2 * normal(N, 2),),
        (CORNERS[INDEX % 3],),
        {"modes": 3, "high_quality": 1, "reverse_kl": 0},
        (normal(N, 3),),
    ),
    Entry(
        lambda: StackedCoverage(num_modes=CLASSES),
        (INDEX.square() % CLASSES,),
        (LABELS,),
        {"modes": CLASSES, "reverse_kl": 0},
        (LABELS + 1,),
    ),
    Entry(
        lambda: ClassCoverage(CLASSES),
        (normal(N, CLASSES), LABELS),
        (SURE, LABELS),
        {"classes": CLASSES, "top_probability": 1, "label_accuracy": 1},
        (normal(N, CLASSES + 1), LABELS),
    ),
    Entry(
        lambda: InceptionScore(CLASSES, splits=2),
        (normal(N, CLASSES), INDEX),
        (SURE, INDEX),
        {"inception_score": CLASSES, "inception_score_std": 0},
        (normal(N, CLASSES + 1), INDEX),
    ),
    Entry(
        lambda: FeatureMoments(3),
        (normal(N, 3),),
        (torch.ones(N, 3),),
        {"mean": 1, "covariance": 0},
        (normal(N, 2),),
    ),
    Entry(
        lambda: FeatureBank(3, CLASSES, capacity=20),
        (normal(N, 3), INDEX, normal(N, CLASSES), LABELS),
        (torch.ones(N, 3), INDEX, SURE, LABELS),
        {"mean": 1, "covariance": 0, "rows": 1, "classes": CLASSES, "inception_score": CLASSES},
        (normal(N, 3), INDEX, normal(N, CLASSES + 1), LABELS),
    ),
    Entry(
        lambda: LatentUnits(3),
        (normal(N, 3), UNIT_MEANS, 0.1 * normal(N, 3, seed=2)),
        (normal(N, 3), torch.zeros(N, 3), torch.zeros(N, 3)),
        {"kl_nats": 0, "active_units": 0, "active_units_kl": 0},
        (normal(N, 2), normal(N, 2), normal(N, 2)),
        one_layer,
    ),
    Entry(
        AggregatePosterior,
        (normal(N, 3), normal(N, 3, seed=1), -1 + 0.1 * normal(N, 3, seed=2)),
        (normal(N, 3), torch.zeros(N, 3), torch.zeros(N, 3)),
        {"mutual_information_nats": 0, "aggregate_kl_nats": 0},
        None,
        one_layer,
    ),
    Entry(
        lambda: CodeUsage(CLASSES),
        (INDEX.square() % CLASSES,),
        (LABELS,),
        {"codes_used": CLASSES, "perplexity": CLASSES},
        (LABELS + 1,),
    ),
    Entry(MeanPerImage, (normal(N),), (torch.ones(N),), {"value": 1}, None),
]

every_metric = pytest.mark.parametrize("entry", EVERY, ids=[type(entry.make()).__name__ for entry in EVERY])


def test_every_public_metric_is_listed():
    assert not unlisted(lit_gen.metrics, Metric, [entry.make() for entry in EVERY])


def by_name(value: Any) -> dict[str, Tensor]:
    """All numbers that a metric computes, in float64."""
    if isinstance(value, Features):
        kept = {"rows": value.rows, "index": value.index, "labels": value.labels}
        return by_name(value.moments) | by_name({**kept, **(value.classes or {}), **(value.inception or {})})
    if isinstance(value, Moments):
        value = {"mean": value.mean, "covariance": value.covariance, "count": value.count}
    value = value if isinstance(value, dict) else {"value": value}
    return {name: torch.as_tensor(number, dtype=torch.float64) for name, number in value.items()}


def fed(entry: Entry, *batches: tuple[Tensor, ...]) -> Metric:
    metric = entry.make()
    for batch in batches:
        entry.update(metric, *batch)
    return metric


def parts(entry: Entry, *sizes: int) -> list[tuple[Tensor, ...]]:
    return list(zip(*(x.split(sizes) for x in entry.inputs), strict=True))


def assert_close(values: Any, expected: Any, **tolerances: float) -> None:
    torch.testing.assert_close(by_name(values), by_name(expected), **tolerances)


@every_metric
def test_batches_of_any_size_and_order_give_the_same(entry):
    """An empty one among them."""
    expected = fed(entry, entry.inputs).compute()
    assert_close(fed(entry, *parts(entry, 7, 0, 1, 52)).compute(), expected)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert_close(fed(entry, tuple(x[order] for x in entry.inputs)).compute(), expected)
    assert all(number.isfinite().all() for number in by_name(expected).values())


@every_metric
def test_reset_forgets_and_copies_go_on_from_where_they_are(entry):
    first, second = parts(entry, 25, 35)
    metric = fed(entry, first)
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        entry.update(other, *second)
        assert_close(other.compute(), fed(entry, first, second).compute())
    assert_close(metric.compute(), fed(entry, first).compute())
    metric.reset()
    entry.update(metric, *second)
    assert_close(metric.compute(), fed(entry, second).compute())
    assert not metric.full_state_update


@every_metric
def test_double_precision_changes_no_more_than_rounding(entry):
    double = tuple(x.double() if x.is_floating_point() else x for x in entry.inputs)
    assert_close(fed(entry, double).compute(), fed(entry, entry.inputs).compute(), rtol=1e-5, atol=1e-6)


@every_metric
def test_perfect_samples_have_the_ideal_value(entry):
    values, others = by_name(fed(entry, entry.ideal).compute()), by_name(fed(entry, entry.inputs).compute())
    for name, ideal in entry.values.items():
        torch.testing.assert_close(values[name], torch.full_like(values[name], ideal), rtol=0, atol=1e-6)
    assert any(not torch.allclose(values[name], others[name], atol=1e-3) for name in entry.values)


def values_or_error(metric: Metric) -> dict[str, Tensor] | str:
    try:
        return by_name(metric.compute())
    except ValueError as error:
        return str(error)


@every_metric
def test_no_samples_have_no_value_and_wrong_ones_are_named(entry):
    """Without samples: an error in one line, or counts of 0 and values that are not a number."""
    for metric in (entry.make(), fed(entry, *parts(entry, 0, N)[:1])):
        found = values_or_error(metric)
        if isinstance(found, str):
            assert "\n" not in found
            assert " of 0 " in found
        else:
            values = torch.stack(list(found.values()))
            assert ((values == 0) | values.isnan()).all()
            assert values.isnan().any() or isinstance(metric, ClassCoverage)  # no class, no probability
    if entry.wrong is not None:
        metric = entry.make()
        with pytest.raises(ValueError, match=r"^\w+ (of|from) .*\d") as error:
            entry.update(metric, *entry.wrong)
        assert "\n" not in str(error.value)
        entry.update(metric, *entry.inputs)  # nothing of what was refused has come in
        assert_close(metric.compute(), fed(entry, entry.inputs).compute())


def values_of_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    values = [by_name(fed(entry, parts(entry, 41, 19)[rank]).compute()) for entry in EVERY]
    torch.save(values, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_values_of_one(tmp_path):
    torch.multiprocessing.start_processes(values_of_process, (str(tmp_path),), nprocs=2, start_method="forkserver")
    for rank in range(2):
        for entry, values in zip(EVERY, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            torch.testing.assert_close(values, by_name(fed(entry, entry.inputs).compute()))
