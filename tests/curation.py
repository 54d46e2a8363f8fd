"""Toy corpora for the tests of curation: dialogues that nobody had, as rows, lines and files."""

import json
from pathlib import Path
from typing import Any

from attunement.params import Curate
from attunement.records import Turn
from attunement.sources.base import Row
from attunement.sources.messages import Messages

REFERRAL = (
    "Are you thinking of killing yourself? "
    "Please call or text 988, tell your doctor this week, and ask your sister to sit with you."
)


def params(**changes: Any) -> Curate:
    """Curation with easy limits; a source and helplines that tests in other folders name themselves."""
    declared: dict[str, Any] = {
        "sources": (source(),),
        "helplines": "data/resources/helplines.yaml",
        "max_quarantined_frac": 0.0,
        "min_turns": 2,
        "max_turns": 6,
        "val_frac": 0.2,
        "test_frac": 0.1,
        "dialogues": "all",
    }
    return Curate.model_validate(declared | changes)


def source(files: str = "toy.jsonl", name: str = "toy") -> Messages:
    return Messages(kind="messages", name=name, files=files, licence="CC0-1.0", consent="made up")


def row(*texts: str, line: int = 1, roles: str = "", locale: str = "en-US", **tags: str) -> Row:
    """A row of alternating turns, or of the roles spelt as u, a and s."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    spelt = roles or ("ua" * len(texts))[: len(texts)]
    turns = tuple(Turn(role=names[r], text=t) for r, t in zip(spelt, texts, strict=True))
    return Row(file="toy.jsonl", line=line, turns=turns, locale=locale, tags=tags)


def harmless(number: int) -> Row:
    """A dialogue unlike any other number's."""
    return row(f"Kettle {number} sings.", f"What does kettle {number} sing?", line=number)


def as_line(given: Row) -> str:
    """The row as the reader `messages` takes it."""
    messages = [{"role": turn.role, "content": turn.text} for turn in given.turns]
    return json.dumps({"messages": messages, "locale": given.locale, "tags": given.tags}, ensure_ascii=False)


def write(path: Path, *rows: Row) -> Path:
    path.write_text("".join(as_line(one) + "\n" for one in rows), encoding="utf-8")
    return path
