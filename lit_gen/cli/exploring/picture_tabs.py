"""The page's tabs of pictures from elsewhere: reconstruction and translation. Imports Gradio."""

import functools
from typing import Any, ClassVar

import gradio as gr

from lit_gen.cli.exploring.answers import Answers, class_choice, download, picture
from lit_gen.cli.exploring.explorer import MOST_STEPS, Explorer
from lit_gen.cli.exploring.latent_tabs import PLACES, tell_place
from lit_gen.cli.exploring.latents import Latents
from lit_gen.cli.exploring.uploads import MOST_BYTES, MOST_PIXELS

ACCEPTED = f"PNG, JPEG, WebP, TIFF, … of at most {MOST_PIXELS // 10**6} megapixels and {MOST_BYTES // 2**20} MiB"


def upload() -> Any:
    """A place for a file, which Gradio, unlike for pictures, hands on unread."""
    file = gr.File(label="Picture", elem_id="upload", height=140)
    gr.HTML(ACCEPTED, elem_classes="caption", padding=False)
    return file


class Reconstruction:
    """A picture, and the nearest of the model's own."""

    def __init__(self, explorer: Explorer, answers: Answers) -> None:
        self.explorer, self.answers, self.start = explorer, answers, gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=240):
                self.source = upload()
                grey = explorer.channels == 1
                self.negative = gr.Checkbox(False, label="Dark on light: swap black and white", visible=grey)
                self.choice = class_choice(explorer)
                self.steps = gr.Slider(
                    0,
                    MOST_STEPS,
                    0 if explorer.encodes else 100,
                    step=10,
                    label="Steps of a search" + (" (0: the encoder)" if explorer.encodes else ""),
                    visible=explorer.draws,
                )
                with gr.Row(visible=explorer.draws):
                    self.puts = [gr.Button(f"Into {place}", size="sm") for place in PLACES]
                self.file = download()
            with gr.Column(scale=3):
                with gr.Row():
                    self.seen, self.made = picture("As the model takes it", "seen"), picture("The model's own", "made")
                self.told = gr.HTML(elem_classes="caption", padding=False)

    def join(self, states: list[Any]) -> None:
        """Add the events.

        Args:
            states: Those that a picture can be put into; none for latents that are no vectors.
        """
        outputs = [self.seen, self.made, self.told, self.start, self.file]
        changes = [self.source.change, self.negative.change, self.choice.change, self.steps.release]
        controls = [self.source, self.choice, self.negative, self.steps]
        self.answers.on(changes, self.reconstruct, controls, outputs, clears=True)
        for place, button, state in zip(PLACES, self.puts, states, strict=False):
            self.answers.on([button.click], functools.partial(self.put, place), [self.start], [state])

    def reconstruct(self, file: str | None, name: str | None, negative: bool, steps: int) -> list[Any]:
        """Both pictures, and how near they are."""
        if file is None:  # taken away again
            return [None, None, "", None, None]
        found = self.explorer.reconstruct(file, name, negative, steps)
        return [found.seen, found.made, found.told, found.latents, self.answers.file(found.arrays)]

    def put(self, place: str, start: Latents | None) -> list[Any]:
        """The picture's latents for a state."""
        if start is None:
            raise ValueError("no picture yet")
        tell_place(place)
        return [start]


class Translation:
    """A picture at its own size, its translation, and the way back of a model that has one."""

    WAYS: ClassVar = {"b": "a → b", "a": "b → a"}

    def __init__(self, explorer: Explorer, answers: Answers) -> None:
        self.explorer, self.answers = explorer, answers
        with gr.Row():
            with gr.Column(scale=1, min_width=240):
                self.source = upload()
                ways = [way for domain, way in self.WAYS.items() if domain in explorer.translates_to]
                self.way = gr.Radio(ways, value=ways[0], label="Translate", visible=len(ways) > 1)
            with gr.Column(scale=3), gr.Row():
                self.pictures = [picture("Picture", "seen"), picture("Translation", "made")]
                if len(ways) > 1:
                    self.pictures.append(picture("And back", "back"))

    def join(self) -> None:
        """Add the events."""
        self.answers.on([self.source.change, self.way.change], self.translate, [self.source, self.way], self.pictures)

    def translate(self, file: str | None, way: str) -> list[Any]:
        """The picture and what is made of it."""
        return [None] * len(self.pictures) if file is None else list(self.explorer.translate(file, way[-1]))
