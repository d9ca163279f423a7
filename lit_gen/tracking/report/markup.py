"""Text of anybody as HTML: escaped, and with every character that hides or turns round others told by its number."""

import html
import re
from collections.abc import Iterable, Sequence

# Controls, halves of surrogate pairs (of names of files that are no UTF-8), and what changes a line's direction.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def clean(text: str) -> str:
    """The text without characters that hide or turn round others."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def text(value: object) -> Markup:
    """A value as HTML text or the value of an attribute."""
    return value if isinstance(value, Markup) else Markup(html.escape(clean(str(value))))


def alone(value: object) -> Markup:
    """A value as HTML text from left to right, whatever it is written in, that changes no direction around it."""
    return value if isinstance(value, Markup) else Markup(f'<bdi dir="ltr">{text(value)}</bdi>')


def listing(items: Iterable[object]) -> Markup:
    """A list of sentences."""
    return Markup("<ul>" + "".join(f"<li>{alone(item)}</li>" for item in items) + "</ul>\n")


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A table whose first cells name their rows."""
    head = "".join(f'<th scope="col">{alone(cell)}</th>' for cell in header)
    lines = (
        f'<tr><th scope="row">{alone(first)}</th>' + "".join(f"<td>{alone(cell)}</td>" for cell in rest) + "</tr>\n"
        for first, *rest in rows
    )
    return Markup(
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{"".join(lines)}</tbody></table></div>\n'
    )


def folded(title: object, content: str) -> Markup:
    """Content that is opened by its title."""
    return Markup(f"<details><summary>{alone(title)}</summary>\n{content}</details>\n")
