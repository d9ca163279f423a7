import pytest
import torch

from lit_gen.training.randomness import Randomness, mix


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_processes_share_the_numbers_of_one(world_size, kind):
    n = 12  # of every process
    alone = Randomness()
    alone.reseed(0, "train", 5)
    expected = getattr(alone, kind)(n * world_size, 3)
    for rank in range(world_size):
        process = Randomness(rank, world_size)
        process.reseed(0, "train", 5)
        assert torch.equal(getattr(process, kind)(n, 3), expected[rank::world_size])


@pytest.mark.parametrize("total", [1, 2, 15, 17, 31])
def test_uneven_last_batches_agree(total):
    alone = Randomness()
    alone.reseed(1)
    expected = alone.normal(total, 5)
    for rank in range(2):
        process = Randomness(rank, 2)
        process.reseed(1)
        own = len(range(rank, total, 2))
        assert torch.equal(process.normal(own, 5), expected[rank::2])


def test_a_key_fixes_the_sequence_and_another_changes_it():
    source = Randomness()
    draws = []
    for key in [(0, "train", 1), (0, "train", 1), (0, "train", 2), (1, "train", 1), (0, "evaluation", 1)]:
        source.reseed(*key)
        draws.append(torch.cat([source.normal(20, 2), source.uniform(20, 2)]))
    assert torch.equal(draws[0], draws[1])
    for other in draws[2:]:
        assert not torch.isclose(draws[0], other).any()


def test_seeds_of_neighbouring_keys_differ_in_about_half_their_bits():
    bits = [bin(mix(0, step) ^ mix(0, step + 1)).count("1") for step in range(500)]
    assert 30 < sum(bits) / len(bits) < 33  # of 63
    assert all(0 <= mix(seed) < 2**63 for seed in range(100))


def test_moments():
    source = Randomness(1, 2)
    source.reseed(3)
    normal, uniform = source.normal(20_000, 2), source.uniform(20_000, 2)
    assert normal.mean().abs() < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 5, 64, 100])
def test_in_a_pass_neither_batches_nor_processes_change_a_positions_numbers(world_size, batch_size):
    total = 101

    def drawn(processes, rows):
        found = torch.full((total, 2, 3), torch.nan)
        for rank in range(processes):
            own = range(rank, total, processes)
            source = Randomness(rank, processes)
            for first in range(0, len(own), rows):
                positions = list(own[first : first + rows])
                source.reseed(7, "evaluation", first=first)
                draws = [source.uniform(len(positions), 3), source.normal(len(positions), 3)]
                found[positions] = torch.stack(draws, 1)
        return found

    expected = drawn(1, 16)
    assert torch.equal(drawn(world_size, batch_size), expected)
    assert len(expected.unique()) == expected.numel()


def test_shares_of_different_sizes_stay_together_after_the_first_draw():
    expected = Randomness()
    expected.reseed(0)
    numbers = [expected.normal(16, 2) for _ in range(3)]
    for rank, own in enumerate((6, 5, 5)):
        process = Randomness(rank, 3)
        process.reseed(0)
        for draw in numbers:
            assert torch.equal(process.normal(own, 2), draw[rank::3])


def test_nothing_is_drawn_for_no_samples():
    source = Randomness(1, 2)
    source.reseed(0, first=3)
    assert source.normal(0, 4).shape == (0, 4)


def test_a_draw_passed_over_changes_none_after_it():
    for first in (None, 3):
        drawn, left_out = Randomness(), Randomness()
        for random in (drawn, left_out):
            random.reseed(7, "train", 1, first=first)
        drawn.uniform(5, 4)
        left_out.pass_over()
        assert torch.equal(drawn.normal(5, 3), left_out.normal(5, 3))
