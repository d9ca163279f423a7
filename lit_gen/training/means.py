"""Means over the whole batch, for an objective that sees one part of it on one of several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.training.draw import Draw
from lit_gen.training.processes import average_over_processes


class BatchMeans:
    """Called within an objective with a mean over the samples at hand: the mean over all parts and processes.

    The parts of a batch are taken one after another. Where the first of them asks for a mean, its pass is broken off
    and every part is taken as far as there; then the mean is known to all. So it costs further passes only with
    ``accumulate`` above 1; they leave no trace in buffers, but layers that draw by themselves, such as dropout, draw
    other numbers in them. Between processes each mean is a message. Every part has to ask for as many.

    Attributes:
        processes: Their number.
        share: Of the batch's samples, those of the part at hand.
    """

    def __init__(self) -> None:
        self.processes = 1
        self.share = 1.0
        self._known: list[Tensor] = []
        self._asked = 0
        self._parts = 1

    def __call__(self, x: Tensor) -> Tensor:
        """The mean of ``x``, itself a mean over this part's samples, over the whole batch; without a gradient."""
        x, self._asked = x.detach().clone(), self._asked + 1
        if self._asked > len(self._known):
            if self._parts > 1:
                raise _Unknown(x)
            self._known.append(self._over_processes(x))
        return self._known[self._asked - 1]

    def passes(self, draw: Draw, count: int, objective: Callable[..., Any], networks: Iterable[nn.Module]) -> Iterator:
        """Each part of the draw, of at most ``count``, with the objective's value of it."""
        parts = list(draw.parts(count))
        self._known, self._parts = [], len(parts)
        if len(parts) > 1:
            self.share = len(parts[0]) / len(draw)
            first = self._first(parts, objective, len(draw), list(networks))
        try:
            for i, part in enumerate(parts):
                self._asked, self.share = 0, len(part) / len(draw)
                yield part, first if i == 0 and len(parts) > 1 else part.given_to(objective)
        finally:
            self._known, self._parts, self.share = [], 1, 1.0  # as for an objective outside of an update

    def _first(self, parts: list[Draw], objective: Callable[..., Any], rows: int, networks: list[nn.Module]) -> Any:
        """The objective's value of the first part, once all means that it asks for are known."""
        kept = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
        state = torch.get_rng_state()
        while True:
            self._asked = 0
            try:
                return parts[0].given_to(objective)
            except _Unknown as unknown:
                shares = [unknown.value * (len(parts[0]) / rows)]
            for part in parts[1:]:
                self._asked = 0
                try:
                    part.given_to(objective)
                except _Unknown as unknown:
                    shares.append(unknown.value * (len(part) / rows))
            torch.set_rng_state(state)
            for buffer, old in kept:
                buffer.copy_(old)
            self._known.append(self._over_processes(torch.stack(shares).sum(0)))

    def _over_processes(self, mean: Tensor) -> Tensor:
        if self.processes > 1:
            average_over_processes([mean])
        return mean


class _Unknown(Exception):
    """Ends a pass that asks for a mean over parts that haven't been seen yet."""

    def __init__(self, value: Tensor) -> None:
        super().__init__("every part of a batch has to ask for the same means")
        self.value = value
