"""What travels between processes: the gradients of the player that moves, once an update, and nothing else."""

from collections import defaultdict
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from process_group import in_group
from test_update import SHAPE, SMALL, fit
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lit_gen import GAN, VAE
from lit_gen.losses import R1
from lit_gen.networks import MLPDecoder, MLPEncoder, MLPGenerator

STEPS = 3
ACCUMULATED = {"discriminator_accumulate": 4, "generator_accumulate": 2}


class Messages(TorchDispatchMode):
    """Notes every collective that goes through torch, whoever asks for it: (name, bytes)."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            tensors = [x for x in tree_leaves(args) if isinstance(x, torch.Tensor)]
            self.sent.append((func.__name__, sum(x.nbytes for x in tensors)))
        return func(*args, **(kwargs or {}))


class Steps(L.Callback):
    """Collects what is sent in training steps, by player, and beside its updates."""

    def __init__(self, messages):
        self.messages, self.of = messages, defaultdict(list)

    def on_train_batch_start(self, *_):
        self.messages.sent = []

    def on_train_batch_end(self, *_):
        self.of["beside"] += self.messages.sent


def watched(kind, messages, of):
    class Watched(kind):
        def update(self, name, objective, *batch):
            of["beside"] += messages.sent
            messages.sent = []
            super().update(name, objective, *batch)
            of[name] += messages.sent
            messages.sent = []

    return Watched


def sent(kind, **arguments):
    messages = Messages()
    steps = Steps(messages)
    module = watched(kind, messages, steps.of)(SHAPE, **arguments)
    with messages:
        fit(module, steps=STEPS, devices=2, callbacks=[steps], log_every_n_steps=1000)
    parameters = {p.name: sum(x.numel() for x in p.parameters) for p in module._players}
    statistics = sum(b.numel() for p in module._players for n in p.networks for b in getattr(module, n).buffers())
    return {"sent": dict(steps.of), "parameters": parameters, "statistics": statistics}


def all_sent():
    batch_norm = partial(MLPGenerator, width=16, depth=1, norm="batch")
    vae = {"encoder": partial(MLPEncoder, width=16, depth=1), "decoder": partial(MLPDecoder, width=16, depth=1)}
    return {
        "plain": sent(GAN, **SMALL, penalty=R1(weight=1.0)),
        "accumulated": sent(GAN, **SMALL, **ACCUMULATED),
        "batch_norm": sent(GAN, **{**SMALL, "generator": batch_norm}),
        "vae": sent(VAE, latent_dim=4, **vae),
    }


@pytest.fixture(scope="module")
def both():
    first, second = in_group(2, all_sent)
    assert first == second
    return first


@pytest.mark.parametrize("name", ["plain", "accumulated", "batch_norm", "vae"])
def test_one_message_an_update_holds_the_moving_players_gradients(both, name):
    run = both[name]
    # Lightning's wrapper sends the buffers before the first batch, a message for each type.
    assert [kind for kind, _ in run["sent"].pop("beside")] == ["broadcast_.default"] * 2 * (run["statistics"] > 0)
    assert run["sent"].keys() == run["parameters"].keys()
    for player, messages in run["sent"].items():
        assert [kind for kind, _ in messages] == ["allreduce_.default"] * STEPS
        # The marks of faults: for each process the gradient, the loss and its terms.
        floats = run["parameters"][player] + run["statistics"]
        assert all(floats + 4 <= size / 4 <= floats + 2 * 8 for _, size in messages)


def test_running_statistics_travel_along(both):
    # Of one layer of 16 features; the count of batches is no float and the same everywhere.
    assert both["batch_norm"]["statistics"] == 2 * 16 + 1
    assert both["plain"]["statistics"] == 0


def run_against_the_trainers_own():
    """Bytes of an update where every backward pass sends all gradients, which is what the counter would show."""
    from torch.nn.parallel import DistributedDataParallel

    L.Trainer(accelerator="cpu", devices=2, logger=False, barebones=True).strategy.setup_environment()
    network = torch.nn.Linear(3, 1)
    messages, model = Messages(), DistributedDataParallel(network)
    with messages:
        model(torch.ones(2, 3)).sum().backward()
    return messages.sent


def test_the_counter_sees_messages_sent_from_a_backward_pass():
    for messages in in_group(2, run_against_the_trainers_own):
        assert sum(size for kind, size in messages if kind.startswith("allreduce")) == 4 * 4
