"""Losses and gradients that are not finite: found, named, and left out or the end of the run."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from lightning.fabric.utilities import rank_zero_warn
from torch import Tensor, nn

from lit_gen.training.draw import Draw

Policy = Literal["raise", "skip"]


class Findings:
    """Which terms of one update's loss, and whether its gradient, are not finite; the device is asked only at the end.

    Args:
        step: Training batches before this one.
        players: Whose update it is.
        explain: Says which inputs and weights, and gradients if asked, are not finite.
    """

    def __init__(self, step: int, players: Sequence[str], explain: Callable[[bool], list[str]]) -> None:
        self.step, self.players, self.explain = step, tuple(players), explain
        self.names: list[str] = []
        self.whole: set[str] = set()  # names of the loss itself: it is not finite because of its terms
        # (1, gradients + terms), or (processes, 1 + terms) of several: 0, but NaN where one of them is not finite.
        self.marks = torch.empty(0)
        self._terms: list[Tensor] = []  # the loss and its terms, NaN where a later part's are not finite

    def see(self, losses: Tensor | dict[str, Tensor], values: dict[str, Tensor]) -> None:
        """Look at the loss of a part of the batch, or at that of each player, and at its terms."""
        of_players = [losses] if isinstance(losses, Tensor) else list(losses.values())
        loss = losses if isinstance(losses, Tensor) else torch.stack(of_players).sum()
        terms = [loss.detach(), *(value.detach() for value in values.values())]
        if not self._terms:
            self.names = ["gradient", "loss", *values]
            wholes = set(map(id, of_players))
            self.whole = {"gradient", "loss", *(name for name, value in values.items() if id(value) in wholes)}
            self._terms = terms
        else:
            self._terms = [seen + mark(term) for seen, term in zip(self._terms, terms, strict=True)]

    def conclude(self, gradients: list[Tensor], look: bool, rank: int, processes: int) -> Tensor:
        """The marks with this process' row filled, to be summed over processes.

        A gradient above 1e19 counts too, whose norm overflows: by a sum of squares this look costs the least.

        Args:
            gradients: Of this process.
            look: Whether to look at them; a gradient scaler, to which overflow is no fault, does so itself.
            rank: This process.
            processes: Their number.
        """
        norms = torch._foreach_norm(gradients) if look else [gradients[0].new_zeros(())]
        own = mark(torch.stack([*norms, *self._terms]))
        self.marks = own[None]
        if processes > 1:  # one number for all gradients, in a message of their size
            of_gradients, of_terms = own.split([len(norms), len(self._terms)])
            own = torch.cat([of_gradients.sum(0, keepdim=True), of_terms])
            self.marks = gradients[0].new_zeros(processes, len(own))
            self.marks[rank] = own
        return self.marks

    def message(self) -> str:
        """Which player, step, terms, process and tensors. A collective."""
        marks, where = self.marks.cpu().isnan(), ""
        of_gradients, of_terms = marks.split([marks.shape[1] - len(self._terms), len(self._terms)], 1)
        marks = torch.cat([of_gradients.any(1, keepdim=True), of_terms], 1)
        found = [name for name, bad in zip(self.names, marks.any(0).tolist(), strict=True) if bad]
        terms = [name for name in found if name not in self.whole] or found[-1:]
        causes = self.explain(terms == ["gradient"])
        if (processes := len(marks)) > 1:
            gathered: list[list[str]] = [[]] * processes
            torch.distributed.all_gather_object(gathered, causes)
            causes = list(dict.fromkeys(cause for each in gathered for cause in each))
            ranks = [str(rank) for rank, row in enumerate(marks) if row.any()]
            where = f" on process{'es' if len(ranks) > 1 else ''} {', '.join(ranks)} of {processes}"
        are = "is" if len(terms) == 1 else "are"
        return (
            f"step {self.step}: the {' and '.join(self.players)}'s {', '.join(terms)} {are} not finite"
            f"{where}, {'nor ' + ', '.join(causes) if causes else 'but all inputs and weights are'}"
        )


def mark(x: Tensor) -> Tensor:
    """NaN where x is not finite, else 0: one small operation, where isfinite takes four at every update."""
    return x - x


class Faults:
    """What becomes of updates with a loss or gradient that is not finite, and how many there were.

    All processes come to the same decision at the same update, because all have the marks of all.

    Attributes:
        policy: "raise" ends the run. "skip" leaves the update out: weights, optimizer, schedule, average, running
            statistics and the player's count stay as they were.
        limit: Updates of one player in a row that may be left out, those that a gradient scaler leaves out included.
        skipped: Updates of each player left out so far.
    """

    def __init__(self) -> None:
        self.policy: Policy = "raise"
        self.limit = 50
        self.skipped: dict[str, int] = {}
        self._in_a_row: dict[str, int] = {}
        self._unread: Findings | None = None

    def keep(self, networks: Iterable[nn.Module], scaled: bool = False) -> Callable[[], None]:
        """Keep what a forward pass changes, if an update may be left out; what it returns restores that.

        Args:
            networks: Whose buffers.
            scaled: Whether a gradient scaler is in use, which may leave an update out under either policy.
        """
        if self.policy != "skip" and not scaled:
            networks = ()
        kept = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]

        def restore() -> None:
            for buffer, old in kept:
                buffer.copy_(old)

        return restore

    def permit(self, findings: Findings) -> bool:
        """Whether the update may go on.

        Where the run only ends, a GPU's findings are read one update later: it need not be waited for.

        Raises:
            ValueError: for a fault under "raise", or beyond the limit of "skip".
        """
        if self.policy == "raise":
            self.settle()
            self._unread = findings
            if findings.marks.device.type == "cpu":
                self.settle()
            return True
        if not findings.marks.any():
            return True
        message = findings.message()
        for player in findings.players:
            if player not in self.skipped:
                rank_zero_warn(f"{message}. This update is left out; all are counted in skipped/{player}.")
            self.left_out(player, message)
        return False

    def settle(self) -> None:
        """Read the findings that have not been read yet, as before weights are saved.

        Raises:
            ValueError: for a fault.
        """
        unread, self._unread = self._unread, None
        if unread is not None and unread.marks.any():
            raise ValueError(f"{unread.message()}; clean the data, lower the learning rate or clip the gradient")

    def taken(self, player: str) -> None:
        """The player has made a step."""
        self._in_a_row[player] = 0

    def left_out(self, player: str, message: str) -> None:
        """Count an update left out.

        Raises:
            ValueError: beyond the limit.
        """
        self.skipped[player] = self.skipped.get(player, 0) + 1
        self._in_a_row[player] = self._in_a_row.get(player, 0) + 1
        if self._in_a_row[player] > self.limit:
            raise ValueError(f"{self._in_a_row[player]} updates in a row were left out, limit={self.limit}; {message}")


def causes(module: nn.Module, parameters: list[nn.Parameter], draw: Draw, gradient: bool) -> list[str]:
    """Inputs of an update, weights of the module, and if asked gradients of ``parameters`` that are not finite."""
    own = [(name, p) for name, p in module.named_parameters() if not name.startswith("averages.")]
    moving = set(map(id, parameters)) if gradient else set()
    return [
        *not_finite((f"input {name}", x) for name, x in draw.tensors.items()),
        *not_finite((f"weight {name}", p) for name, p in own),
        *not_finite((f"gradient of {name}", p.grad) for name, p in own if id(p) in moving),
    ]


def not_finite(tensors: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    """Names of those tensors that hold values that are not finite, and in how many of their rows."""
    found = []
    for name, tensor in tensors:
        if tensor is not None and tensor.is_floating_point():
            rows = (~tensor.detach().isfinite()).reshape(len(tensor) if tensor.ndim else 1, -1).any(1)
            if rows.any():
                found.append(f"{name} ({int(rows.sum())} of {len(rows)} rows)")
    return found
