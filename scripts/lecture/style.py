"""How the lecture's figures look: opaque and light, so that they are read on light and dark pages alike."""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

DATA, MODEL, THIRD, FOURTH, GREY = "#2f6db5", "#d1661f", "#2a8f6d", "#8a4fa3", "#777777"
COLOURS = (DATA, MODEL, THIRD, FOURTH, GREY)


def panels(columns: int, rows: int = 1, width: float = 3.6, height: float = 3.1, **options: Any) -> tuple[Figure, Any]:
    """A figure of rows and columns of axes, as an array unless there is a single one."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, **options)


def label(axis: Axes, title: str, x: str = "", y: str = "", legend: bool = True) -> None:
    """Title, names of the axes, and a legend if anything has a name."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    if legend and axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7.5, framealpha=0.85)


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG of 128 colours, a third of the size of one of all."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
