"""The page's tabs of models with latents: samples, sliders, paths. Imports Gradio."""

from typing import Any

import gradio as gr
import torch

from lit_gen.cli.exploring.answers import Answers, class_choice, download, picture
from lit_gen.cli.exploring.explorer import REACH, Explorer
from lit_gen.cli.exploring.latents import MOST, Latents, arrays
from lit_gen.distributions.latents import PATHS

PLACES = ("Sliders", "Paths: from", "Paths: to")


def tell_place(place: str) -> None:
    """Say for a moment where a picture has gone."""
    gr.Info(f"Now in {place}", duration=2, title="")


class Samples:
    """A grid of a seed's pictures; a click puts one of them into another tab."""

    def __init__(self, explorer: Explorer, answers: Answers) -> None:
        self.explorer, self.answers, self.shown = explorer, answers, gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=240):
                self.seed = gr.Number(0, label="Seed", precision=0, elem_id="seed")
                self.next = gr.Button("Next seed", size="sm", elem_id="next-seed")
                self.count = gr.Slider(1, MOST, 36, step=1, label="Pictures")
                self.choice = class_choice(explorer, none="any")
                smooth = explorer.model.smooth  # quantiles of codes have no middle
                self.truncation = gr.Slider(0, 3, 0, step=0.05, label="Truncation (0: none)", visible=smooth)
                self.place = gr.Radio(PLACES, value=PLACES[0], label="A click on a picture puts it into")
                self.file = download()
            with gr.Column(scale=3):
                self.grid = picture("Samples", "samples")
        self.controls = [self.seed, self.count, self.choice, self.truncation]
        self.outputs = [self.grid, self.shown, self.file]

    def join(self, states: list[Any]) -> None:
        """Add the events.

        Args:
            states: Latents of the sliders' start, and of a path's ends.
        """
        changes = [self.seed.change, self.count.release, self.choice.change, self.truncation.input]
        self.answers.on(changes, self.draw, self.controls, self.outputs, live=True)
        self.answers.on([self.next.click], lambda seed: [int(seed or 0) + 1], [self.seed], [self.seed])
        self.answers.on([self.grid.select], self.put, [self.shown, self.place], states)

    def draw(self, seed: float | None, count: int, name: str | None, truncation: float) -> list[Any]:
        """The grid of the controls' values."""
        grid, latents = self.explorer.samples(seed, count, name, truncation)
        return [grid, latents, self.answers.file(arrays(latents, self.explorer.class_names))]

    def put(self, shown: Latents, place: str, event: gr.SelectData) -> list[Any]:
        """The picture under the pointer for the state of its place, the others as they are."""
        chosen = self.explorer.at(shown, *event.index)
        tell_place(place)
        return [chosen if name == place else gr.skip() for name in PLACES]


class Sliders:
    """A picture whose latents are moved along axes."""

    def __init__(self, explorer: Explorer, answers: Answers) -> None:
        self.explorer, self.answers = explorer, answers
        self.end, self.begun = gr.State(), gr.State()
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                kinds = explorer.directions.kinds
                self.kind = gr.Dropdown(list(kinds), value=kinds[0], label="Sliders move along", interactive=True)
                self.first = gr.Number(1, label="Number of the first", precision=0)
                self.choice = class_choice(explorer, none="its own")
                self.amounts = [
                    gr.Slider(-REACH, REACH, 0, step=0.05, label=f"{k + 1}", elem_id=f"slider-{k + 1}")
                    for k in range(explorer.sliders)
                ]
                with gr.Row():
                    self.reset = gr.Button("All to 0", size="sm")
                    self.go_on = gr.Button("Go on from here", size="sm")
                self.file = download()
            with gr.Column(scale=3):
                with gr.Row():
                    self.before, self.after = picture("Start", "start"), picture("Moved", "moved")
                self.rows = picture(f"Each slider alone, a row each, from −{REACH:g} to {REACH:g}", "rows")

    def join(self, tab: gr.Tab, start: Any) -> None:
        """Add the events.

        Args:
            tab: This one.
            start: The state of the start.
        """
        where = [start, self.kind, self.first, self.choice]
        pictures = [self.before, self.after, self.rows]
        begun = [*self.amounts, *pictures, self.end, self.begun, self.file]
        self.answers.on(
            [s.input for s in self.amounts], self.move, [*where, *self.amounts], [self.after, self.end], live=True
        )
        self.answers.on([slider.release for slider in self.amounts], self.keep, [self.end], [self.file])
        self.answers.on(
            [self.kind.change, self.first.change, self.choice.change, self.reset.click], self.begin, where, begun
        )
        self.answers.on([tab.select], self.begin_if_new, [self.begun, *where], begun)
        self.answers.on([self.go_on.click], self.begin_here, [self.end, *where[1:]], [start, *begun])

    def begin_if_new(self, begun: Latents | None, start: Latents, *where: Any) -> list[Any]:
        """As `begin`, but where the start is the one that was begun with everything stays as it is."""
        if begun is not None and torch.equal(begun.z, start.z):
            return [gr.skip()] * (len(self.amounts) + 6)
        return self.begin(start, *where)

    def begin_here(self, end: Latents, *where: Any) -> list[Any]:
        """The moved picture as the start, and as `begin`."""
        return [end, *self.begin(end, *where)]

    def begin(self, start: Latents, kind: str, first: float | None, name: str | None) -> list[Any]:
        """Sliders at 0, and what they would do."""
        axes = self.explorer.axes(kind, first)
        labels = [*axes.names, *[""] * (len(self.amounts) - len(axes.names))]
        sliders = [gr.Slider(value=0, label=label, visible=bool(label)) for label in labels]
        end = self.explorer.of_class(start, name)
        pictures = [self.explorer.picture(start), self.explorer.picture(end), self.explorer.rows(end, axes)]
        return [*sliders, *pictures, end, start, *self.keep(end)]

    def move(self, start: Latents, kind: str, first: float | None, name: str | None, *amounts: float) -> list[Any]:
        """The picture of the sliders' values."""
        axes = self.explorer.axes(kind, first)
        return list(self.explorer.slid(self.explorer.of_class(start, name), axes, list(amounts)))

    def keep(self, end: Latents) -> list[Any]:
        """The file of the latents."""
        return [self.answers.file(arrays(end, self.explorer.class_names))]


class Paths:
    """A path from one picture to another."""

    def __init__(self, explorer: Explorer, answers: Answers) -> None:
        self.explorer, self.answers = explorer, answers
        with gr.Row():
            with gr.Column(scale=1, min_width=240):
                self.kind = gr.Radio(list(PATHS), value="spherical", label="Path")
                self.steps = gr.Slider(2, 16, 8, step=1, label="Pictures")
                self.place = gr.Slider(0, 1, 0.5, step=0.01, label="Place on the path", elem_id="place")
                self.other = gr.Button("Two other pictures", size="sm", elem_id="other-pair")
                self.seed = gr.State(0)
                self.file = download()
            with gr.Column(scale=3):
                with gr.Row():
                    self.pictures = [picture("From", "from"), picture("On the path", "on-path"), picture("To", "to")]
                self.strip = picture("Path", "strip")

    def join(self, tab: gr.Tab, ends: list[Any]) -> None:
        """Add the events.

        Args:
            tab: This one.
            ends: The states of both ends.
        """
        how, outputs = [self.kind, self.place, self.steps], [*self.pictures, self.strip, self.file]
        self.answers.on([self.place.input], self.on_path, [*ends, *how[:2]], [self.pictures[1]], live=True)
        self.answers.on([tab.select, self.kind.change, self.steps.release], self.draw, [*ends, *how], outputs)
        self.answers.on([self.other.click], self.pair, [self.seed, *how], [self.seed, *ends, *outputs])

    def draw(self, first: Latents, last: Latents, kind: Any, place: float, steps: int) -> list[Any]:
        """All pictures of the path."""
        strip, latents = self.explorer.path(first, last, kind, steps)
        (between,) = self.on_path(first, last, kind, place)
        file = self.answers.file(arrays(latents, self.explorer.class_names))
        return [self.explorer.picture(first), between, self.explorer.picture(last), strip, file]

    def on_path(self, first: Latents, last: Latents, kind: Any, place: float) -> list[Any]:
        """The picture at a place of the path."""
        return [self.explorer.place(first, last, kind, place)]

    def pair(self, seed: int, kind: Any, place: float, steps: int) -> list[Any]:
        """Two pictures of the next seed, and as `draw`."""
        _, latents = self.explorer.samples(seed + 1, 2, None, 0)
        ends = latents[:1], latents[1:]
        return [seed + 1, *ends, *self.draw(*ends, kind, place, steps)]


def first_states(explorer: Explorer) -> list[Latents]:
    """The sliders' start and the ends of a path before anything was chosen."""
    _, latents = explorer.samples(0, 2, None, 0)
    return [latents[:1], latents[:1], latents[1:]]
