import numpy as np
import pytest
import torch

from lit_gen.metrics import LinearClassifier, class_transfer, logistic_two_sample_test


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(n: int, seed: int = 0, spread: float = 1.0):
    """Three normal classes in the plane, 6 apart."""
    labels = torch.arange(n) % 3
    means = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    return means[labels] + spread * normal(n, 2, seed=seed), labels


def test_linear_classifier_is_at_the_optimum():
    """The gradient of its objective vanishes, and scikit-learn finds the same probabilities to 1e-4."""
    rows, labels = classes(200, spread=3.0)
    model = LinearClassifier(rows, labels, 3, decay=0.01)
    x = (rows - model.mean) / model.scale
    error = torch.softmax(x @ model.weight.T + model.bias, 1) - torch.eye(3, dtype=torch.float64)[labels]
    assert (error.T @ x / 200 + 0.01 * model.weight).abs().max() < 1e-5
    assert error.mean(0).abs().max() < 1e-5
    linear = pytest.importorskip("sklearn.linear_model")
    theirs = linear.LogisticRegression(C=1 / (0.01 * 200), tol=1e-8, max_iter=1000).fit(x, labels)
    ours = torch.softmax(x @ model.weight.T + model.bias, 1)
    np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=1e-4)


def test_linear_classifier_takes_constant_features_and_other_scales():
    rows, labels = classes(300)
    wide = torch.cat([1e6 * rows, torch.full((300, 1), 5.0)], 1)
    assert LinearClassifier(wide, labels, 3).accuracy(wide, labels) > 0.98
    with torch.inference_mode():  # as features come from extractors
        assert LinearClassifier(rows.clone(), labels, 3).accuracy(rows, labels) > 0.98


def test_sets_of_one_distribution_cannot_be_told():
    found = logistic_two_sample_test(normal(1000, 5), normal(1200, 5, seed=1))
    assert found["logistic_accuracy"] == pytest.approx(0.5, abs=0.05)
    assert 0.001 < found["logistic_p"] < 0.999


def test_p_is_that_of_the_normal_distribution():
    scipy_stats = pytest.importorskip("scipy.stats")
    found = logistic_two_sample_test(normal(100, 2) + 0.3, normal(101, 2, seed=1))
    expected = scipy_stats.norm.sf(found["logistic_accuracy"], 0.5, (1 / (4 * 200)) ** 0.5)
    assert found["logistic_p"] == pytest.approx(expected, rel=1e-9)


def test_sets_that_lie_apart_are_told():
    found = logistic_two_sample_test(normal(100, 5) + 4, normal(100, 5, seed=1))
    assert found["logistic_accuracy"] == 1
    assert found["logistic_p"] < 1e-12


def test_the_bayes_accuracy_of_two_normals():
    """N(0, 1) against N(2, 1) in 1-D: Φ(1) = 0.8413."""
    found = logistic_two_sample_test(normal(20_000, 1) + 2, normal(20_000, 1, seed=1))
    assert found["logistic_accuracy"] == pytest.approx(0.8413, abs=0.008)


def test_samples_that_teach_the_classes():
    rows, labels = classes(300)
    found = class_transfer(rows, labels, *classes(300, seed=1))
    assert min(found.values()) > 0.97


def test_one_prototype_a_class_passes_gan_test_and_fails_gan_train():
    """Samples at one point of each class, off its centre: the asymmetry that the two numbers are made for."""
    real, real_labels = classes(300, spread=2.0)
    labels = torch.arange(300) % 3
    samples = torch.tensor([[1.5, 1.5], [9.0, 0.0], [0.0, 9.0]], dtype=torch.float64)[labels]
    samples = samples + 1e-3 * normal(300, 2)
    found = class_transfer(samples, labels, real, real_labels)
    shown = class_transfer(*classes(300, seed=3, spread=2.0), real, real_labels)
    assert found["gan_train_linear"] < shown["gan_train_linear"] - 0.05
    assert found["gan_test_linear"] >= 0.99


def test_labels_that_mean_nothing():
    rows, labels = classes(600)
    found = class_transfer(rows, labels[torch.randperm(600, generator=torch.Generator().manual_seed(0))], rows, labels)
    assert found["gan_test_linear"] == pytest.approx(1 / 3, abs=0.06)


def test_refuses():
    with pytest.raises(ValueError, match="3 samples and 9 data: at least 4"):
        logistic_two_sample_test(normal(3, 2), normal(9, 2))
    with pytest.raises(ValueError, match="at least 2 classes"):
        class_transfer(normal(5, 2), torch.zeros(5).long(), normal(5, 2), torch.zeros(5).long())
