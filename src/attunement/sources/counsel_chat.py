"""Reader of counsel-chat (Bertagnolli 2020): CSV of questions to therapists and their answers, which are HTML.

The question is its title and its text; answers to one question (questionID) lie in one split.

    - kind: counsel_chat
      name: counsel_chat
      files: data/sources/counsel_chat.csv
      licence: MIT
      consent: written in public by named therapists and by people without a name
      locale: en-US
      tags: {topic: topic}
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar, Literal

from attunement.sources.base import Row
from attunement.sources.entries import DELIMITED, PARQUET, Layout, entries, entry_rows
from attunement.sources.fields import Fielded, optional_text, text_of
from attunement.sources.lines import RowError
from attunement.sources.pairs import pair

BLOCKS = ("br", "div", "h1", "h2", "h3", "h4", "li", "ol", "p", "ul")
UNSAID = ("script", "style")  # what stands inside is no words


class CounselChat(Fielded):
    """Questions and answers of counselchat.com."""

    kind: Literal["counsel_chat"]
    group: str = "questionID"

    suffixes: ClassVar[tuple[str, ...]] = (*DELIMITED, *PARQUET)

    def rows(self, path: Path) -> Iterator[Row]:
        """Every record as a Row of two turns."""
        layout = Layout(columns=("questionTitle", "questionText", "answerText", *self.about()))
        yield from entry_rows(path, entries(path, layout), lambda line, values: self._row(path, line, values))

    def _row(self, path: Path, line: int, values: dict[str, Any]) -> Row:
        given = (optional_text(values, "questionTitle"), optional_text(values, "questionText"))
        title, text = map(without_html, given)
        asked = text if text.startswith(title) else f"{title}\n{text}".strip()
        if not asked:
            raise RowError("is empty", "questionText")
        answer = text_of(values, "answerText")
        answered = without_html(answer)
        if not answered:
            raise RowError("holds HTML and no words", "answerText")
        seen = (("questionTitle", given[0], title), ("questionText", given[1], text), ("answerText", answer, answered))
        changed = [field for field, before, after in seen if before != after]
        return pair(self, path, line, values, asked=asked, answered=answered,
                    repairs=tuple(f"took HTML out of {field}" for field in changed))


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.unsaid = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unsaid += tag in UNSAID
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.unsaid -= tag in UNSAID and self.unsaid > 0
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.unsaid:
            self.parts.append(data)


def without_html(text: str) -> str:
    """The words of an HTML text, a block a line; text that holds no tag and no entity comes back as it is."""
    if not re.search(r"<[/!a-zA-Z]|&[#\w]+;", text):
        return text
    words = _Words()
    words.feed(text)
    words.close()
    plain = "".join(words.parts).replace("\xa0", " ")
    return "\n".join(line for line in (re.sub(r"[ \t]+", " ", line).strip() for line in plain.split("\n")) if line)
