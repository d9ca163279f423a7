"""Quasi-Newton minimisation of many small, independent problems in one batch."""

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]

SUFFICIENT = 1e-4  # share of the decrease that the gradient promises (Armijo)
CURVED = 1e-8  # least cosine between a step and the change of the gradient for the pair to be kept


class BatchedLBFGS:
    """Limited-memory BFGS (Liu and Nocedal 1989, doi:10.1007/BF01589116) of N problems at once, each by itself.

    Each :meth:`step` is one evaluation for all rows, at x + t d. Where the value has fallen enough the row moves, and
    its next direction is d = −H g by the two-loop recursion over its last pairs s = Δx, y = Δg, from H = (sᵀy / yᵀy) I;
    elsewhere t shrinks to the minimum of the parabola through what is known. Values never rise.

    Args:
        objective: Gives values ``(M,)`` of points ``(M, D)`` and of the numbers of the problems ``(M,)`` that they
            belong to, each differentiable in its own point alone.
        x: Where the problems start, ``(N, D)``.
        memory: Pairs that are kept.
        first: Length of the first trial step.

    Attributes:
        rows: The problems that are still worked on, int64 ``(M,)``.
        x: Their points, ``(M, D)``.
        value: Of the objective there, ``(M,)``.
    """

    def __init__(self, objective: Objective, x: Tensor, memory: int = 40, first: float = 0.3) -> None:
        self._objective = objective
        self.rows = torch.arange(len(x), device=x.device)
        self.x = x.detach()
        self.value, self._gradient = self._evaluate(self.x)
        self._pairs = x.new_zeros(2, memory, *x.shape)  # s and y, the latest at `_latest`
        self._inverse = x.new_zeros(memory, len(x))  # 1 / sᵀy; 0 where no pair is kept
        self._latest = 0
        self._scale = first / self._gradient.norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
        self._length = torch.ones_like(self.value)
        self._direction = -self._scale[:, None] * self._gradient

    def step(self) -> None:
        """Try the next point of every row."""
        x = self.x + self._length[:, None] * self._direction
        value, gradient = self._evaluate(x)
        slope = (self._gradient * self._direction).sum(1)
        moved = value <= self.value + SUFFICIENT * self._length * slope
        self._remember(x - self.x, gradient - self._gradient, moved)
        bend = value - self.value - slope * self._length
        parabola = torch.nan_to_num(-slope * self._length.square() / (2 * bend), 0.0, 0.0, 0.0)
        shorter = torch.maximum(0.1 * self._length, torch.minimum(parabola, 0.5 * self._length))
        self._length = torch.where(moved, 1.0, shorter)
        self.x = torch.where(moved[:, None], x, self.x)
        self.value = torch.where(moved, value, self.value)
        self._gradient = torch.where(moved[:, None], gradient, self._gradient)
        direction = self._two_loops()
        steepest = -self._scale[:, None] * self._gradient
        downhill = (direction * self._gradient).sum(1) < 0
        direction = torch.where(downhill[:, None], direction, steepest)
        self._direction = torch.where(moved[:, None], direction, self._direction)

    def keep(self, kept: Tensor) -> None:
        """Work on with some rows alone.

        Args:
            kept: bool ``(M,)``.
        """
        names = ("rows", "x", "value", "_gradient", "_direction", "_length", "_scale")
        for name in names:
            setattr(self, name, getattr(self, name)[kept])
        self._pairs, self._inverse = self._pairs[:, :, kept], self._inverse[:, kept]

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            value = self._objective(x, self.rows)
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    def _remember(self, s: Tensor, y: Tensor, moved: Tensor) -> None:
        """The pair in the place of the oldest one; zeros in rows that haven't moved or where it has no curvature."""
        product = (s * y).sum(1)
        kept = moved & (product > CURVED * s.norm(dim=1) * y.norm(dim=1))
        self._latest = (self._latest + 1) % len(self._inverse)
        self._pairs[0, self._latest] = torch.where(kept[:, None], s, 0.0)
        self._pairs[1, self._latest] = torch.where(kept[:, None], y, 0.0)
        self._inverse[self._latest] = torch.where(kept, 1 / product, 0.0)
        self._scale = torch.where(kept, product / y.square().sum(1), self._scale)

    def _two_loops(self) -> Tensor:
        """−H g, ``(M, D)``."""
        (steps, changes), count = self._pairs, len(self._inverse)
        latest_first = [(self._latest - age) % count for age in range(count)]
        q, factors = self._gradient, {}
        for i in latest_first:
            factors[i] = self._inverse[i] * (steps[i] * q).sum(1)
            q = q - factors[i][:, None] * changes[i]
        q = self._scale[:, None] * q
        for i in reversed(latest_first):
            q = q + (factors[i] - self._inverse[i] * (changes[i] * q).sum(1))[:, None] * steps[i]
        return -q
