"""A linear bag of words as a second opinion on toxicity: alt-profanity-check's calibrated support vector machine.

In: texts or replies. Out: a probability that the words are abusive, and which part of the text decided.
Source: https://github.com/dimitrismistriotis/alt-profanity-check, after Victor Zhou's profanity-check; trained on
Davidson et al. (2017) tweets and on the Wikipedia comments of Jigsaw's 2018 challenge. Ships in its package: no weights
to fetch, and a thousand texts in a tenth of a second.

It sees single English words. It hears "idiot" wherever it stands: "you are an idiot" and "you are not an idiot" are the
same to it, as is a kind reply that names a slur, a diagnosis or an identity. It does not see contempt in plain words
("you deserved it"), nor harm ("stop taking your medication"), nor a misspelt insult. It agrees or disagrees with
another detector for reasons of its own, which is what a second opinion is for; it is never the only one.
"""

import re
from collections.abc import Sequence
from importlib.metadata import version as package_version
from typing import ClassVar, Literal

from pydantic import Field

from attunement.records import content_id
from attunement.scorers.base import Item, Scored, Scorer, unscored

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


class Linear(Scorer):
    """The most alarming of a text and its sentences.

    Each sentence is scored too, because the model weighs words by their share of the text: one insult after
    eight kind turns is all but gone from the whole (benchmarks/toxicity/results.md tells what that costs).
    """

    kind: Literal["linear"]
    threshold: float = Field(gt=0, lt=1)

    labels: ClassVar[tuple[str, ...]] = ("toxic", "ok")
    higher_is_better: ClassVar[bool | None] = False

    @property
    def version(self) -> str:
        """As every scorer's, and the package's version: it pins its weights and the scikit-learn that reads them."""
        return content_id([super().version, package_version("alt-profanity-check")], length=12)

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item, in the same order."""
        parts = [_parts(item.words) for item in items]
        values = iter(_probabilities([part for found in parts for part in found]))
        return [self._answer(item, [next(values) for _ in found]) for item, found in zip(items, parts, strict=True)]

    def _answer(self, item: Item, values: Sequence[float | None]) -> Scored:
        """The answer from the probabilities of a text and of its sentences; the text itself is not quoted."""
        if not values:
            return unscored(item, "empty text")
        known = [(value, number) for number, value in enumerate(values) if value is not None]
        if not known:
            return unscored(item, "no word of the text is in the model's vocabulary, which is English")
        value, number = max(known, key=lambda found: found[0])
        toxic = value >= self.threshold
        among = f"maximum over the text and its {len(values) - 1} sentences: " if len(values) > 1 else ""
        where = f"sentence {number}" if number else "the whole text"
        because = f"{among}{where} {value:.4g} {'≥' if toxic else '<'} {self.threshold:g}"
        return Scored(id=item.id, value=value, label="toxic" if toxic else "ok", because=because)


def _parts(text: str) -> list[str]:
    """The text, and its sentences when it has more than one; nothing for an empty text."""
    if not text.strip():
        return []
    sentences = [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]
    return [text, *sentences] if len(sentences) > 1 else [text]


def _probabilities(texts: Sequence[str]) -> list[float | None]:
    """A probability a text; None where the model knows no word, since its answer is then the same for any text."""
    if not texts:
        return []
    from profanity_check import predict_prob
    from profanity_check.profanity_check import vectorizer

    words = re.compile(vectorizer.token_pattern)
    known = vectorizer.vocabulary_.keys() | vectorizer.get_stop_words()
    values = predict_prob(list(texts)).tolist()
    heard = [any(word in known for word in words.findall(text.lower())) for text in texts]
    return [value if hears else None for value, hears in zip(values, heard, strict=True)]
