"""``lit-gen explore``: a page in the browser on which a trained model is looked at."""

from pathlib import Path

from lit_gen.cli.commands.embedding import load
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.cli.exploring.serving import require_gradio, serve
from lit_gen.cli.exploring.space import write_space
from lit_gen.cli.words import CommandParser
from lit_gen.pretrained.stored import stored_facts


def parser() -> CommandParser:
    """The command's options."""
    text = "Serves a page on which a model is looked at, to this machine alone and without a network."
    command = CommandParser("explore", text)
    add = command.add_argument
    add("source", help="a checkpoint, a folder of save_pretrained, or a shipped name")
    add("--directions", metavar="FOLDER", help="of lit-gen directions, for the sliders")
    add("--port", type=int, help="of 127.0.0.1 (the first free one from 7860)")
    add("--no-browser", action="store_true", help="print the page's address, and don't open it")
    add(
        "--space",
        metavar="FOLDER",
        help="write the page as a new folder for a Hugging Face Space instead",
    )
    add("--device", default="cpu", help="where the network runs, e.g. cuda (cpu)")
    add("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    return command


def name_of(path: Path) -> str:
    """What the page calls a model: its own name, or for a run's checkpoint that of the experiment."""
    return path.parents[2].name if path.suffix == ".ckpt" and path.parent.name == "checkpoints" else path.stem


def run(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C, or write it.

    Raises:
        ValueError: for an option out of range, a model without pictures, or without Gradio.
        FileNotFoundError: if there is no such source.
    """
    options = parser().parse_args(arguments)
    if options.port is not None and not 1 <= options.port <= 65535:
        raise ValueError(f"--port {options.port}: from 1 to 65535")
    if options.space is None:
        require_gradio()
    elif options.port is not None or options.no_browser:
        raise ValueError(f"--space {options.space}: writes a folder, and serves at no --port and in no browser")
    model = load(options)
    explorer = Explorer(model, name_of(Path(options.source).absolute()), options.directions)
    if options.space is not None:
        write_space(explorer, options.space, stored_facts(options.source), options.trust, options.directions)
        own = f"; put {', '.join(options.trust)} beside app.py" if options.trust else ""
        print(
            f"lit-gen: {options.space} is ready: python {options.space}/app.py serves it here{own}; to upload it: "
            f"hf upload --repo-type space OWNER/NAME {options.space} ."
        )
    else:
        serve(explorer, port=options.port, browser=not options.no_browser)
