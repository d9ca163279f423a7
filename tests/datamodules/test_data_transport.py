"""Batches come from workers through memory that is used again, whole and in order."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from datamodules.loader import Loader
from datamodules.transport import Parcel, Receiver, Sender


class Batches(Dataset):
    """Batches of a kind made of their indices."""

    def __init__(self, make, length=60):
        self.make, self.length = make, length

    def __len__(self):
        return self.length

    def __getitems__(self, indices):
        return self.make(torch.tensor(indices))


def pictures(index):
    """Bytes in the order of pictures, channels last, and labels."""
    values = (index[:, None] * 7 + torch.arange(5 * 4 * 3)).to(torch.uint8)
    return values.view(-1, 5, 4, 3).permute(0, 3, 1, 2), index * 2


def domains(index):
    return {"a": pictures(index), "b": (index.double()[:, None] / 3, index == 4)}


def of_many_sizes(index):
    """Each batch of another size, larger and smaller."""
    side = int(index[0]) % 7 + 1
    return torch.full((len(index), side, side), int(index[0]), dtype=torch.int16), index


def slices(index):
    """No dense tensor: sent as PyTorch does."""
    return torch.arange(100)[::2][index % 50].view(-1, 1).expand(-1, 3), index


def same(left, right):
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, tuple | list):
        return len(left) == len(right) and all(map(same, left, right))
    return left.dtype == right.dtype and left.stride() == right.stride() and torch.equal(left, right)


@pytest.mark.parametrize("make", [pictures, domains, of_many_sizes, slices])
@pytest.mark.parametrize("options", [{"num_workers": 1}, {"num_workers": 2, "prefetch_factor": 1}, {"num_workers": 3}])
def test_batches_are_those_of_the_process_itself(make, options):
    """Held all at once, so that memory used again would show; slower consumers than workers."""
    data = Batches(make)
    expected = list(Loader(data, batch_size=4))
    found = list(Loader(data, batch_size=4, **options))
    assert same(found, expected)


@pytest.mark.parametrize("make", [pictures, of_many_sizes])
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 2), (2, 2), (2, 5), (3, 1)])
@pytest.mark.parametrize("left", [1, 3, 5])
def test_workers_that_stay_serve_epoch_after_epoch_and_ones_that_are_left(make, workers, prefetch, left):
    """What was on its way when a loop ended is thrown away, with the memory that it brought."""
    options = {"num_workers": workers, "prefetch_factor": prefetch, "persistent_workers": True}
    loader = Loader(Batches(make), batch_size=4, **options)
    expected = list(Loader(Batches(make), batch_size=4))
    for _ in range(2):
        for number, batch in enumerate(loader, start=1):
            assert same(batch, expected[number - 1])
            if number == left:
                break
        assert same(list(loader), expected)


def test_two_epochs_at_once_do_not_mix():
    loader = Loader(Batches(pictures), batch_size=4, num_workers=2)
    for left, right in zip(loader, loader, strict=True):
        assert same(left, right)


def test_a_worker_uses_its_memory_again(monkeypatch):
    monkeypatch.setattr("datamodules.transport.get_worker_info", lambda: SimpleNamespace(id=0))
    sender = Sender(workers=1, prefetch=2)
    receiver = Receiver(sender.arrived, pinned=False)
    parcels, batches = [], []
    for i in range(7):
        parcels.append(sender(pictures(torch.arange(4) + i)))
        batches.append(receiver.taken(parcels[-1]))
    assert all(isinstance(parcel, Parcel) for parcel in parcels)
    assert [parcel.memory is not None for parcel in parcels] == [True] * 3 + [False] * 4
    assert [parcel.piece for parcel in parcels] == [0, 1, 2, 0, 1, 2, 0]
    assert all(same(batch, pictures(torch.arange(4) + i)) for i, batch in enumerate(batches))  # copies


def test_nothing_is_sent_without_workers():
    batch = pictures(torch.arange(4))
    assert Sender(workers=0, prefetch=2)(batch) is batch
    assert isinstance(Loader(Batches(pictures), batch_size=4).collate_fn, Sender)


def test_an_error_of_a_worker_reaches_the_user():
    def broken(index):
        if int(index[0]) >= 8:
            raise ValueError("picture 8 is broken")
        return pictures(index)

    with pytest.raises(ValueError, match="picture 8 is broken"):
        list(Loader(Batches(broken), batch_size=4, num_workers=2))


def test_page_locked_memory_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append(self.shape) or self.clone())
    monkeypatch.setattr("datamodules.transport.get_worker_info", lambda: SimpleNamespace(id=0))
    sender = Sender(workers=1, prefetch=1)
    (found,) = Receiver(sender.arrived, pinned=True)([sender(pictures(torch.arange(4)))])
    assert same(found, pictures(torch.arange(4)))
    assert asked == [(4, 3, 5, 4), (4,)]
