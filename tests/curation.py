"""Toy corpora for the tests of curation: dialogues that nobody had, as rows, lines and files."""

import json
from pathlib import Path
from typing import Any

from attunement.curate import Curated, curate
from attunement.drafts import Draft, draft_of
from attunement.params import Curate
from attunement.records import Turn
from attunement.runner import running
from attunement.score_cache import ScoreCache
from attunement.sources.base import Row
from attunement.sources.messages import Messages
from attunement.steps.asking import Work
from attunement.steps.form import FormStep

REFERRAL = (
    "Are you thinking of killing yourself? "
    "Please call or text 988, tell your doctor this week, and ask your sister to sit with you."
)


STEPS = (
    {"kind": "form", "min_turns": 2, "max_turns": 6, "max_turn_chars": 1000, "max_repeated_frac": 1.0,
     "drop_last_user": False},
    {"kind": "duplicates", "jaccard": None},
    {"kind": "referral", "helplines": "data/resources/helplines.yaml"},
)


def params(**changes: Any) -> Curate:
    """Curation with easy limits; a source and helplines that tests in other folders name themselves."""
    declared: dict[str, Any] = {
        "sources": (source(),),
        "helplines": "data/resources/helplines.yaml",
        "steps": STEPS,
        "engine": {"runner": "local", "workers": 1, "batch_dialogues": 7},
        "score_cache": "unused",
        "max_quarantined_frac": 0.0,
        "val_frac": 0.2,
        "test_frac": 0.1,
        "group_jaccard": 0.5,
        "group_similarity": None,
        "dialogues": "all",
        "audit": 5,
    }
    return Curate.model_validate(declared | changes)


def curated(*rows: Row, min_turns: int = 2, given: Messages | None = None, **changes: object) -> Curated:
    """What curation decides about rows of one source."""
    declared = params(**changes)
    steps = tuple(step.model_copy(update={"min_turns": min_turns}) if isinstance(step, FormStep) else step
                  for step in declared.steps)
    with running(declared.engine) as runner:
        return curate(declared.model_copy(update={"steps": steps}), [(given or source(), one) for one in rows],
                      Work(runner, ScoreCache(None)))


def source(files: str = "toy.jsonl", name: str = "toy") -> Messages:
    return Messages(kind="messages", name=name, files=files, licence="CC0-1.0", consent="made up")


def row(*texts: str, line: int = 1, roles: str = "", locale: str = "en-US", **tags: str) -> Row:
    """A row of alternating turns, or of the roles spelt as u, a and s."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    spelt = roles or ("ua" * len(texts))[: len(texts)]
    turns = tuple(Turn(role=names[r], text=t) for r, t in zip(spelt, texts, strict=True))
    return Row(file="toy.jsonl", line=line, turns=turns, locale=locale, tags=tags)


def draft(*texts: str, roles: str = "", locale: str = "en-US", **tags: str) -> Draft:
    """The draft of such a row."""
    return draft_of(row(*texts, roles=roles, locale=locale, **tags), source="toy", licence="CC0-1.0")


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
