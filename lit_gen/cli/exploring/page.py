"""The page of a model, laid out with Gradio, which this module imports."""

import html
from pathlib import Path

import gradio as gr

from lit_gen.cli.exploring.answers import SILENCE, Answers
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.cli.exploring.latent_tabs import Paths, Samples, Sliders, first_states
from lit_gen.cli.exploring.picture_tabs import Reconstruction, Translation

HOUR, DAY = 3600, 86400  # seconds: how often pictures and files are looked through, and how old they become
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.gradio-container img { image-rendering: pixelated; }
#title h1 { margin: 0; font-size: 1.5rem; }
#title p { margin: .15rem 0 0; opacity: .75; }
#note:not(:has([role=alert])) { display: none; }
#note span { color: #b00020; font-weight: 600; }
.dark #note span { color: #ff8a80; }
.picture { gap: .3rem; }
.caption { font-size: .9rem; opacity: .75; padding: 0 !important; }
.picture .icon-button-wrapper { opacity: 0; transition: opacity .15s; }
.picture:hover .icon-button-wrapper, .picture .icon-button-wrapper:focus-within { opacity: 1; }
"""
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # whose own would be fetched
THEME = gr.themes.Default(primary_hue="blue", **FONTS)


def build(explorer: Explorer, folder: Path) -> gr.Blocks:
    """The page of a model, and a folder for the files that it hands out."""
    title = f"<h1>{html.escape(explorer.name)}</h1><p>{html.escape(explorer.told())}</p>"
    with gr.Blocks(title=f"{explorer.name} · lit-gen", analytics_enabled=False, delete_cache=(HOUR, DAY)) as page:
        gr.HTML(title, elem_id="title")
        answers = Answers(gr.HTML(SILENCE, elem_id="note"), folder)
        if explorer.draws:
            _latents(page, explorer, answers)
        elif explorer.translates_to:
            Translation(explorer, answers).join()
        else:
            Reconstruction(explorer, answers).join([])
    return page


def _latents(page: gr.Blocks, explorer: Explorer, answers: Answers) -> None:
    """The tabs of a model with latents, each of which may hand a picture on to others."""
    states = [gr.State(), gr.State(), gr.State()]
    with gr.Tab("Samples"):
        samples = Samples(explorer, answers)
    with gr.Tab("Sliders", elem_id="sliders") as tab:
        Sliders(explorer, answers).join(tab, states[0])
    with gr.Tab("Paths") as tab:
        Paths(explorer, answers).join(tab, states[1:])
    with gr.Tab("Your picture"):
        Reconstruction(explorer, answers).join(states)
    samples.join(states)
    answers.on([page.load], samples.draw, samples.controls, samples.outputs)
    answers.on([page.load], lambda: first_states(explorer), [], states)
