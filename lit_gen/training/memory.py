"""State of options that learn from the updates: running means of scores, adaptive strengths."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Memory(nn.Module, ABC):
    """Buffers that an option moves once after each update that was made, and that its formula reads.

    An option (a loss, a penalty, a view) is a stateless object; its method ``memory()`` makes this. The module keeps
    it among its ``memories``, so that checkpoints hold it. It is told the update's values, means over the parts of the
    batch and over all processes, and so is the same everywhere; an update that is left out tells it nothing.
    """

    @abstractmethod
    def tell(self, values: dict[str, Tensor]) -> None:
        """Learn from an update that was made.

        Args:
            values: What the objective logged, scalars by name, and the update's number of ``images`` on all processes.
        """
