import numpy as np
import pytest
import torch

from lit_gen.training.image_pool import ImagePool


def reference(batches, numbers, size):
    """One image after another, as the text says it, on plain integers."""
    kept, answers = [], []
    for batch, uniform in zip(batches, numbers, strict=True):
        answer = []
        for image, (chance, place) in zip(batch, uniform, strict=True):
            if len(kept) < size:
                kept.append(image)
                answer.append(image)
            elif size and chance < 0.5:
                answer.append(kept[int(place * size)])
                kept[int(place * size)] = image
            else:
                answer.append(image)
        answers.append(answer)
    return answers, kept


def numbered(start, n):
    return torch.arange(start, start + n).float().view(n, 1, 1, 1).expand(n, 2, 3, 3).contiguous()


@pytest.mark.parametrize("size", [0, 1, 3, 50])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_as_the_slow_reference(size, n):
    rng = np.random.default_rng(0)
    batches = [list(range(n * t, n * t + n)) for t in range(200)]
    numbers = [rng.random((n, 2)) for _ in batches]
    pool = ImagePool(size)
    answers = [pool(numbered(b[0], n), torch.from_numpy(u)) for b, u in zip(batches, numbers, strict=True)]
    expected, kept = reference(batches, numbers, size)
    assert [a[:, 0, 0, 0].int().tolist() for a in answers] == expected
    assert all((a == a[:, :1, :1, :1]).all() for a in answers)
    assert [int(image[0, 0, 0]) for image in pool.images] == kept
    if size:
        assert expected[-1] != batches[-1] or n == 1


def test_half_of_the_answers_are_old_once_it_is_full():
    pool, generator = ImagePool(50), torch.Generator().manual_seed(0)
    old = 0
    for t in range(2050):
        image = numbered(t, 1)
        answer = pool(image, torch.rand(1, 2, generator=generator))
        assert t >= 50 or torch.equal(answer, image)
        old += not torch.equal(answer, image)
    assert abs(old - 1000) < 4 * 22.4  # four standard deviations of 2,000 fair coins


def test_the_extreme_numbers_are_within_the_pool():
    pool = ImagePool(50)
    pool(numbered(0, 50), torch.zeros(50, 2))
    largest = torch.tensor([[0.0, 1 - 2**-24]])
    assert pool(numbered(99, 1), largest)[0, 0, 0, 0] == 49
    assert pool(numbered(100, 1), torch.zeros(1, 2))[0, 0, 0, 0] == 0
    assert pool(numbered(101, 1), torch.tensor([[0.5, 0.0]]))[0, 0, 0, 0] == 101


def test_what_is_kept_is_a_copy():
    pool, batch = ImagePool(2), numbered(1, 2)
    pool(batch, torch.zeros(2, 2))
    state = pool.state_dict()
    batch.zero_()
    pool(numbered(5, 2), torch.zeros(2, 2))
    assert [int(image[0, 0, 0]) for image in state["images"]] == [1, 2]


def test_a_restored_pool_goes_on_the_same(tmp_path):
    one, generator = ImagePool(4), torch.Generator().manual_seed(0)
    for t in range(3):
        one(numbered(3 * t, 3), torch.rand(3, 2, generator=generator))
    torch.save(one.state_dict(), tmp_path / "pool.pt")
    other = ImagePool(4)
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    for t in range(3, 9):
        uniform = torch.rand(3, 2, generator=generator)
        assert torch.equal(one(numbered(3 * t, 3), uniform), other(numbered(3 * t, 3), uniform))
    smaller = ImagePool(2)
    smaller.load_state_dict(one.state_dict())
    assert len(smaller.images) == 2


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="pool_size=-1"):
        ImagePool(-1)
