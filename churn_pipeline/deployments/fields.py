"""What a setting is: a field with an environment variable, a default and a sentence.

Belongs here: the field, and reading numbers from its text. Does not: any setting.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from churn_pipeline.errors import UsageError

#: `kind` of a setting whose value is never shown.
SECRET = "secret"


class SettingInvalid(UsageError):
    """An environment variable holds a value that its setting cannot have."""


def setting(variable: str, default: str, sentence: str, **more: Any) -> Any:
    """A field of a settings dataclass; the sentence stands in the README."""
    return field(default=default, metadata={"variable": variable, "sentence": sentence, **more})


def whole_number(variable: str, text: str, least: int = 1) -> int:
    """Read a count.

    Raises:
        SettingInvalid: no whole number, or less than `least`.
    """
    if not text.isdecimal() or int(text) < least:
        raise SettingInvalid(f"{variable} is {text!r}. Write a whole number, {least} or more.")
    return int(text)
