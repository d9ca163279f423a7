"""How controls of the page are joined to functions, and the pieces that its tabs share. Imports Gradio."""

import functools
import html
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from lit_gen.cli.exploring.explorer import Explorer

SILENCE = "<span></span>"


class Answers:
    """Joins controls to functions: one call at a time, and what is wrong with a control is a line on the page.

    Args:
        note: Where the line goes.
        folder: Of files that the page hands out.
    """

    def __init__(self, note: Any, folder: Path) -> None:
        self.note, self.folder = note, folder

    def file(self, arrays: dict[str, Any]) -> str:
        """An ``.npz`` file of these, for a download button."""
        path = Path(tempfile.mkdtemp(dir=self.folder)) / "latents.npz"
        np.savez_compressed(path, **arrays)
        return str(path)

    def on(
        self,
        triggers: list[Any],
        function: Callable[..., Sequence[Any]],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        live: bool = False,
        clears: bool = False,
    ) -> Any:
        """Call a function on every trigger.

        Args:
            triggers: Events of components.
            function: Takes the inputs' values and returns a value for each of the outputs; its ValueErrors are told.
            inputs: Components.
            outputs: Components. After an error pictures are empty, and all else stays unless it is cleared.
            live: The trigger goes on while a control is dragged: of calls that wait only the last is made.
            clears: Whether an error empties all outputs.
        """

        @functools.wraps(function)  # whose signature may ask for the event
        def answer(*values: Any) -> tuple[Any, ...]:
            try:
                return (*function(*values), SILENCE)
            except ValueError as error:
                told = f'<span role="alert">{html.escape(" ".join(str(error).split()))}</span>'
                return (*(None if clears or isinstance(output, gr.Image) else gr.skip() for output in outputs), told)

        return gr.on(
            triggers,
            answer,
            list(inputs),
            [*outputs, self.note],
            api_visibility="private",
            concurrency_id="model",  # two calls would switch its networks' modes under each other
            concurrency_limit=1,
            trigger_mode="always_last" if live else "multiple",
            show_progress="hidden" if live else "minimal",
        )


def picture(caption: str, name: str) -> Any:
    """A picture that is shown, below its caption, which Gradio's own label would lay over it.

    Args:
        caption: Said to who can't see, too.
        name: Of the element.
    """
    with gr.Column(min_width=120, elem_classes="picture"):
        gr.HTML(html.escape(caption), elem_classes="caption", padding=False)
        buttons = ["download", "fullscreen"]
        return gr.Image(
            show_label=False, alt_text=caption, format="png", interactive=False, buttons=buttons, elem_id=name
        )


def download() -> Any:
    """A button for the latents of what is shown."""
    return gr.DownloadButton("Download latents (.npz)", size="sm")


def class_choice(explorer: Explorer, none: str | None = None) -> Any:
    """A choice of a class, whose value is its name, hidden for a model without classes.

    Args:
        explorer: The model.
        none: What no class in particular is called, whose value is ""; None where one has to be chosen.
    """
    names = list(explorer.class_names)
    choices = [*([] if none is None else [(none, "")]), *((name, name) for name in names)]
    value = choices[0][1] if choices else None
    return gr.Dropdown(choices, value=value, label="Class", visible=bool(names), interactive=True)
