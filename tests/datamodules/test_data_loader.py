import itertools
import pickle

import numpy as np
import pytest
import torch

from datamodules.datasets import InMemoryDataset, RandomFlip, hash64, splitmix64
from datamodules.loader import Loader, ResumableLoader, ShardSampler, ShuffledSampler


def indexed(size: int) -> InMemoryDataset:
    """Images (1, 1, 2) that are dark on the left; the label is the index."""
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(size, 1, 1, 2).contiguous()
    return InMemoryDataset(images, torch.arange(size))


def loader(size: int = 23, batch_size: int = 4, rank: int = 0, world_size: int = 1, seed: int = 0, **kwargs):
    sampler = ShuffledSampler(range(size), batch_size, rank, world_size, seed)
    dataset = kwargs.pop("dataset", indexed(size))
    return ResumableLoader(dataset, batch_size=batch_size // world_size, sampler=sampler, drop_last=True, **kwargs)


def labels_of(batches) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def test_splitmix64_gives_the_published_sequence_of_seed_1234567():
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    states = 1234567 + np.arange(5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert splitmix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_hash64_depends_on_every_word_and_on_their_order():
    words = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 3), (3, 2, 1)]
    assert len({int(hash64(*w)[0]) for w in words}) == len(words)
    many = hash64(7, 3, np.arange(1000))
    assert len(np.unique(many)) == 1000
    assert many[5] == hash64(7, 3, 5)[0]


def test_an_epoch_is_a_permutation_without_its_incomplete_last_batch():
    batches = labels_of(loader())
    assert [len(b) for b in batches] == [4] * 5 == [4] * len(loader())
    seen = list(itertools.chain(*batches))
    assert len(set(seen)) == 20
    assert set(seen) <= set(range(23))


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShuffledSampler(range(50), 50, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    orders = [tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9  # seed + 1 at epoch 0 is not seed at epoch 1


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_together_see_the_batches_of_one(world_size):
    one = labels_of(loader(50, 12))
    parts = [labels_of(loader(50, 12, rank, world_size)) for rank in range(world_size)]
    for t, batch in enumerate(one):
        assert [part[t] for part in parts] == [batch[r::world_size] for r in range(world_size)]
    assert {len(loader(50, 12, r, world_size)) for r in range(world_size)} == {4}


@pytest.mark.parametrize(("size", "world_size"), [(10, 1), (10, 3), (2, 3), (9, 3)])
def test_shards_cover_everything_once_and_differ_by_one_at_most(size, world_size):
    shards = [ShardSampler(range(size), rank, world_size) for rank in range(world_size)]
    assert sorted(itertools.chain(*shards)) == list(range(size))
    assert [list(s) for s in shards] == [list(range(r, size, world_size)) for r in range(world_size)]
    lengths = [len(s) for s in shards]
    assert lengths == [len(list(s)) for s in shards]
    assert max(lengths) - min(lengths) <= 1


class Counting(InMemoryDataset):
    fetches = 0

    def __getitems__(self, indices):
        self.fetches += 1
        return super().__getitems__(indices)


@pytest.mark.parametrize("rounds", [2, 3, 5, 8])
def test_a_round_is_fetched_at_once_and_changes_nothing(rounds):
    counting = Counting(torch.arange(23, dtype=torch.uint8).reshape(-1, 1, 1, 1), torch.arange(23))
    plain, whole, interrupted, resumed = loader(), loader(dataset=counting), loader(), loader()
    for item in (whole, interrupted, resumed):
        item.round_length = rounds
    assert labels_of(whole) == labels_of(plain)
    assert [images.flatten().tolist() for images, _ in whole] == labels_of(plain)
    assert counting.fetches == 2 * -(-5 // rounds)
    first = labels_of(itertools.islice(interrupted, 3))
    resumed.load_state_dict(interrupted.state_dict())
    assert first + labels_of(resumed) == labels_of(plain)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_state_continues_after_the_last_batch_given_out(num_workers):
    whole, interrupted, resumed = (loader(num_workers=num_workers) for _ in range(3))
    whole.sampler.set_epoch(3)
    interrupted.sampler.set_epoch(3)
    first = labels_of(itertools.islice(interrupted, 2))
    resumed.load_state_dict(interrupted.state_dict())
    assert resumed.state_dict() == interrupted.state_dict()
    iterator = iter(resumed)  # as Lightning does, before set_epoch
    resumed.sampler.set_epoch(3)
    assert len(resumed) == 5
    assert first + labels_of(iterator) == labels_of(whole)


def test_state_of_a_finished_epoch_starts_the_next_at_its_beginning():
    done, resumed, fresh = loader(), loader(), loader()
    assert len(labels_of(done)) == 5
    resumed.load_state_dict(done.state_dict())
    for item in (resumed, fresh):
        item.sampler.set_epoch(1)
    assert labels_of(resumed) == labels_of(fresh)


def test_a_second_pass_in_the_epoch_of_the_state_is_a_whole_one():
    resumed = loader()
    resumed.load_state_dict({**resumed.state_dict(), "batch": 3})
    assert [len(labels_of(resumed)) for _ in range(2)] == [2, 5]


def test_resuming_with_another_order_warns():
    with pytest.warns(UserWarning, match=r"seed=1 \(was 0\).*batch_size=2 \(was 4\)"):
        loader(batch_size=2, seed=1).load_state_dict(loader().state_dict())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loading_leaves_the_global_random_numbers_alone(num_workers):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(loader(num_workers=num_workers))
    list(Loader(indexed(6), batch_size=2, num_workers=num_workers))
    assert torch.equal(torch.rand(3), expected)


def flips(dataset: RandomFlip, indices: list[int]) -> list[bool]:
    return (dataset.__getitems__(indices)[0][:, 0, 0, 0] == 255).tolist()


def test_half_of_the_images_are_mirrored_and_each_only_left_to_right():
    images = torch.arange(4 * 3 * 5 * 7, dtype=torch.uint8).view(4, 3, 5, 7)
    mirrored = RandomFlip(InMemoryDataset(images.repeat(1000, 1, 1, 1)), seed=0)
    out, _ = mirrored.__getitems__(list(range(4000)))
    flipped = [not torch.equal(x, images[i % 4]) for i, x in enumerate(out)]
    for i in range(40):
        assert torch.equal(out[i], images[i % 4].flip(-1) if flipped[i] else images[i % 4])
    assert abs(sum(flipped) - 2000) < 4 * 31.6  # four standard deviations of a fair coin


def test_flips_change_with_seed_and_epoch_but_not_with_the_batch():
    size = 4000
    everything = list(range(size))
    dataset = RandomFlip(indexed(size), seed=0)
    first = flips(dataset, everything)
    assert flips(dataset, everything[::-1]) == first[::-1]
    assert [flips(dataset, [i])[0] for i in range(20)] == first[:20]
    other_seed = flips(RandomFlip(indexed(size), seed=1), everything)
    dataset.set_epoch(1)
    for other in (other_seed, flips(dataset, everything)):
        agreement = np.mean(np.array(first) == np.array(other))
        assert abs(agreement - 0.5) < 4 * 0.5 / size**0.5  # independent


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_and_processes_flip_the_same_images(num_workers):
    def flipped(rank: int, world_size: int, workers: int) -> dict[tuple[int, int], bool]:
        data = loader(40, 8, rank, world_size, dataset=RandomFlip(indexed(40), seed=5), num_workers=workers)
        seen = {}
        for epoch in range(2):
            data.sampler.set_epoch(epoch)
            for images, labels in data:
                seen |= {(epoch, int(i)): bool(x[0, 0, 0] == 255) for x, i in zip(images, labels, strict=True)}
        return seen

    one = flipped(0, 1, 0)
    assert flipped(0, 2, num_workers) | flipped(1, 2, num_workers) == one
    assert 5 < sum(one[0, i] != one[1, i] for i in range(40)) < 35  # each epoch decides anew


def test_data_sets_iterate_and_pickle():
    dataset = RandomFlip(indexed(5), seed=0)
    dataset.set_epoch(4)
    copy = pickle.loads(pickle.dumps(dataset))
    assert [int(label) for _, label in copy] == [0, 1, 2, 3, 4]
    assert flips(copy, [0, 1, 2]) == flips(dataset, [0, 1, 2])
    assert int(copy[-1][1]) == 4
    with pytest.raises(IndexError):
        dataset[5]
