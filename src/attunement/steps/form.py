"""Step `form`: is it a dialogue of user and assistant that a model may learn from at all?

A last turn of the user's, a thank-you as a rule, is left off where that is declared: no model learns from it. It is not
forgotten: steps `hear` and `referral` still hear danger that is told in it, so a dialogue that ends on an unanswered
disclosure carries its severity, and goes out where no reply held a referral that suffices. Quarantined are: turns that
do not alternate user, assistant, …; too few or too many; a turn that is empty, too long, or that repeats itself or
another; markers of chat templates and pasted instructions to a model, which a model that learnt them would speak; and
tags that say nothing known. The source's own system prompt is taken out, and told.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from attunement.drafts import Draft, Note
from attunement.errors import DataError
from attunement.near_duplicates import batches, grams, hashed_words
from attunement.phrases import Severity
from attunement.prefilter import candidates
from attunement.records import Turn
from attunement.risk import HEARD_KIND, known_kind
from attunement.steps.base import Direction, Step

# What stands in chat templates, prompts and code, and hardly in talk. Entries are named: evidence gives the name.
_ROLES = r"(?:human|user|assistant|system|bot|gpt|chatgpt|counsell?or|therapist|client|patient|listener|supporter)"
MARKERS = {
    "template": re.compile(
        r"<\|[\w/ .-]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk|mask)>|\[(?:CLS|SEP|MASK|PAD)\]"
        r"|<(?:start|end)_of_turn>|<\uff5c.{1,30}?\uff5c>|\{\{.{1,60}?\}\}|\{%.{1,60}?%\}"),
    "role": re.compile(
        rf"(?im)^\s*(?:#{{2,}}\s*)?(?:{_ROLES}|ai)\s*:\s|^\s*#{{2,}}\s*(?:instruction|response|input|system|human|assistant)s?\b"
        rf"|[.!?]\s+{_ROLES}:\s|\[(?:{_ROLES})\]"),
    "tool": re.compile(
        r"</?(?:tool_call|tool_response|function_call|think|thinking|scratchpad|system|instructions?|prompt|assistant"
        r"|user)>"
        r'|"(?:tool(?:_calls?)?|function(?:_call)?|arguments|role)"\s*:\s*["\[{]|\bfunctions\.\w+\(', re.IGNORECASE),
    "instruction": re.compile(
        r"\b(?:ignore|disregard|forget|override)\b[^.\n]{0,40}\b(?:previous|prior|above|earlier|all)\b[^.\n]{0,30}"
        r"\b(?:instructions?|prompts?|rules|messages|guidelines)\b"
        r"|\byou are (?:now )?(?:a|an) (?:[\w-]+ ){0,4}(?:language model|AI assistant|chatbot"
        r"|assistant (?:that|who|trained))\b"
        r"|\byou are now [A-Z]{2,}\b|\b(?:hidden|system|initial|secret) (?:prompt|instructions?)\b"
        r"|\b(?:developer mode|jailbreak)\b\s*[:=]"
        r"|\b(?:note|message|instructions?) (?:to|for) (?:the |any |all )?(?:AI|LLM|model|assistant|annotators?)\b"
        r"|\blabel this (?:conversation|dialogue|example|row)\b"
        r"|\b(?:respond|reply|answer|output) (?:only |strictly )?(?:in|with|as) (?:valid )?(?:json|xml|yaml|markdown)\b"
        r"|\bas an AI language model\b"
        r"|\bdo not (?:reveal|mention|disclose) (?:this|these|the) (?:prompt|instructions?)\b",
        re.IGNORECASE),
    "code": re.compile(
        r"```|<script\b|\bimport \w+(?:\.\w+)+|\bdef \w+\([^)]*\):|\$\(\w+ |\bcurl (?:-|http)|\bsudo (?:apt|rm|su)\b"
        r"|\bSELECT\b.{1,40}\bFROM\b|\bDROP TABLE\b|\bINSERT INTO\b"),
}
REPEAT_WORDS = 6  # words whose verbatim repetition within a turn is a loop
WORD = re.compile(r"[^\W_]+")
OWNER = np.uint64(0x9E3779B97F4A7C15)  # sets the runs of one text apart from those of the next


class FormStep(Step):
    """What a row must look like."""

    kind: Literal["form"]
    min_turns: int = Field(ge=2)
    max_turns: int = Field(ge=2)
    max_turn_chars: int = Field(ge=1)
    drop_last_user: bool = Field(description="leave off a last turn of the user's, which has no answer to learn")
    max_repeated_frac: float = Field(ge=0, le=1, description="of a turn's words that stand in a repeated run of six")

    safety: ClassVar[bool] = True
    strict: ClassVar[dict[str, Direction]] = {"max_turns": "lower", "max_turn_chars": "lower",
                                              "max_repeated_frac": "lower"}
    free: ClassVar[frozenset[str]] = frozenset({"min_turns"})  # how much listening there is to learn from

    @model_validator(mode="after")
    def _turns_hold(self) -> Self:
        if self.min_turns > self.max_turns:
            raise ValueError(f"min_turns {self.min_turns} is above max_turns {self.max_turns}")
        return self

    def each(self, drafts: Sequence[Draft]) -> None:
        """Quarantine what is no dialogue, naming the turn."""
        for draft in drafts:
            if self.drop_last_user and len(draft.turns) > 1 and draft.turns[-1].role == "user":
                draft.note(Note("changed", self.name, "last_user_turn_removed", turn=len(draft.turns) - 1))
                draft.turns, draft.unanswered = draft.turns[:-1], (draft.turns[-1], *draft.unanswered)
        texts = [turn.text for draft in drafts for turn in _spoken(draft.turns)]
        suspected = zip(candidates(texts, tuple(MARKERS.values())), looping(texts), strict=True)
        for draft in drafts:
            spoken = _spoken(draft.turns)
            suspicions = [next(suspected) for _ in spoken]
            if problem := self._problem(draft, spoken, suspicions):
                draft.note(problem)
            elif len(spoken) < len(draft.turns):
                draft.note(Note("changed", self.name, "system_turn_removed", turn=0))
                draft.turns = spoken

    def _problem(self, draft: Draft, spoken: Sequence[Turn], suspicions: Sequence[tuple[list[int], bool]]
                 ) -> Note | None:
        if found := _roles_problem(draft.turns, spoken):
            return self._bad("roles", *found)
        if not self.min_turns <= len(spoken) <= self.max_turns:
            return self._bad("turns", f"{len(spoken)} turns, expected {self.min_turns} to {self.max_turns}")
        for number, (turn, (markers, loops)) in enumerate(zip(spoken, suspicions, strict=True)):
            if wrong := self._turn_problem(turn.text, markers, loops):
                return self._bad(*wrong, number)
        if again := _said_again(spoken):
            return self._bad("repetition", f"the assistant says turn {again[0]} again", again[1])
        try:
            Severity.of(draft.tags.get("risk", "none"))
            known_kind(draft.tags)
            known_kind(draft.tags, HEARD_KIND)
        except DataError as error:
            return self._bad("tags", str(error))
        return None

    def _bad(self, rule: str, evidence: str, turn: int | None = None) -> Note:
        return Note("quarantined", self.name, rule, evidence, turn=turn)

    def _turn_problem(self, text: str, markers: Sequence[int], loops: bool) -> tuple[str, str] | None:
        """The rule that a turn breaks, and where; ``markers`` are the numbers of those that may stand in it."""
        if not text or text.isspace():
            return "empty_turn", "no words"
        if len(text) > self.max_turn_chars:
            return "length", f"{len(text)} characters, at most {self.max_turn_chars}"
        names = tuple(MARKERS)
        for number in markers:
            if match := MARKERS[names[number]].search(text):
                return "markers", f"{names[number]} at {match.start()}-{match.end()}"
        share = repeated_frac(text) if loops else 0.0
        if share > self.max_repeated_frac:
            return "repetition", f"{share:.2f} of its words are repeated, at most {self.max_repeated_frac:g}"
        return None


def repeated_frac(text: str) -> float:
    """The share of a text's words that stand in a run of six that has stood there before."""
    words = WORD.findall(text)
    seen: set[tuple[str, ...]] = set()
    repeated: set[int] = set()
    for at in range(len(words) - REPEAT_WORDS + 1):
        run = tuple(words[at : at + REPEAT_WORDS])
        if run in seen:
            repeated.update(range(at, at + REPEAT_WORDS))
        seen.add(run)
    return len(repeated) / max(1, len(words))


def looping(texts: Sequence[str]) -> list[bool]:
    """Whether a run of six words, case aside, may stand in a text twice: many texts at once, by their hashes."""
    flags: list[bool] = []
    for batch in batches(texts):
        found = grams(hashed_words(batch), REPEAT_WORDS)
        owners = np.repeat(np.arange(len(batch)), np.diff(found.starts))
        runs = found.hashes + owners.astype(np.uint64) * OWNER  # the same run in two texts is none
        short = (runs >> np.uint64(32)).astype(np.uint32)  # sorted in half the time; who asks looks closer
        ordered = np.sort(short)
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        loops = np.zeros(len(batch), bool)
        loops[owners[np.isin(short, again)]] = True
        flags += loops.tolist()
    return flags


def _spoken(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    return tuple(turn for turn in turns if turn.role != "system")


def _roles_problem(turns: Sequence[Turn], spoken: Sequence[Turn]) -> tuple[str, int | None] | None:
    for number, turn in enumerate(turns[1:], 1):
        if turn.role == "system":
            return "a system turn after the first turn", number
    for number, turn in enumerate(spoken):
        expected = "user" if number % 2 == 0 else "assistant"
        if turn.role != expected:
            return f"turn {number}: expected {expected}, got {turn.role}", number
    if not spoken or spoken[-1].role != "assistant":
        return "the last turn is not the assistant's", None
    return None


def _said_again(turns: Sequence[Turn]) -> tuple[int, int] | None:
    """(first, second) place of an assistant's turn of some length that stands there twice, word for word."""
    said: dict[str, int] = {}
    texts = Counter(turn.text for turn in turns if turn.role == "assistant")
    if texts and max(texts.values()) == 1:
        return None
    for number, turn in enumerate(turns):
        if turn.role == "assistant" and len(turn.text.split()) > REPEAT_WORDS:
            if turn.text in said:
                return said[turn.text], number
            said[turn.text] = number
    return None
