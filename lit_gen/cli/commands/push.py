"""``lit-gen push``: a model as a folder for the Hugging Face Hub, uploaded if that is asked for."""

from lit_gen.cli.words import CommandParser
from lit_gen.pretrained.hub import push_to_hub


def parser() -> CommandParser:
    """The command's options."""
    text = "Prepares a model for the Hugging Face Hub, without a network, and prints the command that uploads it."
    command = CommandParser("push", text)
    add = command.add_argument
    add("source", help="a checkpoint, a folder of save_pretrained, or a shipped name")
    add("repository", help="owner/name")
    add("--out", help="a new folder (the repository's name)")
    add("--licence", help="for the card, as the Hub spells it, such as mit or apache-2.0")
    add("--upload", action="store_true", help="upload too; needs an account: hf auth login")
    add("--private", action="store_true", help="of a new repository: for its owner alone")
    add("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    return command


def run(arguments: list[str]) -> None:
    """Prepare, and upload if that is asked for.

    Raises:
        ValueError: for a name that is no repository's, a folder that holds something, or without an account.
        OSError: if there is no such source, or the upload fails.
    """
    options = parser().parse_args(arguments)
    facts = {"licence": options.licence} if options.licence else {}
    how = {"upload": options.upload, "private": options.private, "trusted": options.trust}
    push_to_hub(options.source, options.repository, options.out, facts, **how)
