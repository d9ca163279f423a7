"""What mkdocstrings does beyond mkdocs.yml: Sphinx's roles in docstrings become links or code."""

import re

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod):`~?([\w.]+)`")
PUBLIC = re.compile(r"(?:lit_gen(?:\.\w+)?|datamodules)\.[A-Z]\w*")  # classes, which pages of the API hold


class Roles(griffe.Extension):
    """Turns ``:class:`lit_gen.models.GAN` `` into a link, and names that have no page of their own into code."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Look at one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(markdown, obj.docstring.value)


def markdown(match: re.Match[str]) -> str:
    """A role in Markdown."""
    name = match[1]
    return f"[`{name}`][{name}]" if PUBLIC.fullmatch(name) else f"`{name}`"
