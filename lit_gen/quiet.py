"""Silence for what libraries say that tells a user nothing to do. Imports none of them."""

import logging
import warnings


def quieten(first: bool = True) -> None:
    """Silence advertisements and warnings that tell a user nothing to do.

    Args:
        first: whether this is the first of several processes, which tells what all of them find.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(no_advertisement)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode at the start of training.*")  # the averages
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*The number of training batches.*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    warnings.filterwarnings("ignore", message="Experiment logs directory.*")  # W&B's files in a new run's folder
    warnings.filterwarnings("ignore", module="jsonargparse.*")
    # Of a process without samples, whose metrics are sums over all processes.
    warnings.filterwarnings("ignore", message="The ``compute`` method of metric .* was called before")
    if not first:
        for package in ("torch", "lightning", "torchmetrics", "lit_gen"):
            warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
        for package in ("lightning.fabric", "lightning.pytorch"):
            logging.getLogger(package).setLevel(logging.WARNING)


def no_advertisement(record: logging.LogRecord) -> bool:
    """Whether a message of the framework isn't one for its makers' wares."""
    return "💡" not in record.getMessage()
