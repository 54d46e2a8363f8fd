"""What readers of records with named fields share: which field keeps rows together, tells a tag, or the locale.

Beside what every source declares:

    tags: {topic: problem_type}   # tag: field
    group: thread_id              # rows that share its value lie in one split; over several lines the first one's
    locale_from: language         # a BCP 47 tag; an empty one is the declared locale
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from attunement.sources.about import TAG_KEY
from attunement.sources.base import Source
from attunement.sources.lines import RowError


class Fielded(Source):
    """A source whose rows carry named fields beside what was said."""

    tags: dict[Annotated[str, StringConstraints(pattern=rf"^{TAG_KEY}$")], str] = Field(default_factory=dict)
    group: str = ""
    locale_from: str = ""

    def about(self) -> list[str]:
        """The fields that tell about a row."""
        return [field for field in (*self.tags.values(), self.group, self.locale_from) if field]

    def told(self, values: dict[str, Any]) -> dict[str, Any]:
        """Locale, tags and group of a row, as a Row takes them; raises RowError."""
        found = {tag: plain_value(values.get(field), field) for tag, field in self.tags.items()}
        locale = plain_value(values.get(self.locale_from), self.locale_from) if self.locale_from else ""
        return {
            "locale": locale or self.locale,
            "tags": {tag: text for tag, text in found.items() if text},
            "group": plain_value(values.get(self.group), self.group) if self.group else "",
        }


def plain_value(value: Any, field: str) -> str:
    """A word, number or date as text; empty when there is none; raises RowError for anything else."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float | date | datetime):
        return str(value)
    raise RowError(f"expected a word or a number, got {type(value).__name__}", field)


def text_of(values: Mapping[str, Any], field: str) -> str:
    """A text that must be there; raises RowError."""
    text = optional_text(values, field)
    if not text:
        raise RowError("is empty" if field in values else "is missing", field)
    return text


def optional_text(values: Mapping[str, Any], field: str) -> str:
    """A text, empty when there is none; raises RowError for anything that is no text."""
    value = values.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"expected str, got {type(value).__name__}", field)
    return value.strip()
