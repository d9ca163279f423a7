"""YAML that somebody wrote by hand."""

from typing import Any

import yaml


def read_yaml(text: str, loader: type = yaml.SafeLoader) -> Any:
    """The content of a text.

    Raises:
        ValueError: if it isn't YAML, or holds a value that doesn't fit its tag.
    """
    try:
        return yaml.load(text, Loader=loader)
    except Exception as error:  # tagged values raise whatever their conversion does: `!!bool x` a KeyError
        raise ValueError(f"not YAML ({' '.join(str(error).split()) or type(error).__name__})") from None
