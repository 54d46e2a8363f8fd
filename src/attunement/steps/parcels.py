"""Drafts on their way to another process and back, in few bytes: there what steps read, back what they changed.

A draft as Python pickles it costs more than most steps do. What no step reads (the notes of steps before) stays where
it is.
"""

from collections.abc import Sequence

import msgspec
from pydantic import TypeAdapter

from attunement.drafts import Draft, Fingerprint, Note
from attunement.process import without_collector
from attunement.records import Turn
from attunement.steps.base import Step

_TURNS = TypeAdapter(tuple[Turn, ...])
_Said = list[tuple[str, str]]  # role, text


class _Sent(msgspec.Struct, array_like=True, gc=False):
    """A draft as steps see it."""

    id: str
    source: str
    licence: str
    file: str
    line: int
    locale: str
    group: str
    turns: _Said
    tags: dict[str, str]
    scores: dict[str, float | None]
    unanswered: _Said


class _Changed(msgspec.Struct, array_like=True, gc=False):
    """What the steps did to a draft; None for what they left as it was."""

    notes: list[Note]
    turns: _Said | None
    unanswered: _Said | None
    tags: dict[str, str] | None
    scores: dict[str, float | None] | None
    letters: bytes | None
    sketch: bytes | None


_SENT = msgspec.msgpack.Decoder(list[_Sent])
_CHANGED = msgspec.msgpack.Decoder(list[_Changed])


def packed(drafts: Sequence[Draft]) -> bytes:
    """What `changes_by` needs of drafts that are not out."""
    return msgspec.msgpack.encode([
        _Sent(draft.id, draft.source, draft.licence, draft.file, draft.line, draft.locale, draft.group,
              _said(draft.turns), draft.tags, draft.scores, _said(draft.unanswered)) for draft in drafts])


def changes_by(steps: Sequence[Step], parcel: bytes) -> bytes:
    """What the steps change of the drafts in a parcel, for `change`."""
    sent = _SENT.decode(parcel)
    with without_collector():
        drafts = [_draft(one) for one in sent]
        before = [(draft.turns, draft.unanswered) for draft in drafts]
        applied(steps, drafts)
        return msgspec.msgpack.encode([
            _changed(draft, one, *had) for draft, one, had in zip(drafts, sent, before, strict=True)])


def change(drafts: Sequence[Draft], changes: bytes) -> None:
    """Do to drafts what was done to their likes."""
    for draft, done in zip(drafts, _CHANGED.decode(changes), strict=True):
        draft.turns = draft.turns if done.turns is None else _turns(done.turns)
        draft.unanswered = draft.unanswered if done.unanswered is None else _turns(done.unanswered)
        draft.tags = draft.tags if done.tags is None else done.tags
        draft.scores = draft.scores if done.scores is None else done.scores
        draft.notes += done.notes
        if done.letters is not None and done.sketch is not None:
            draft.fingerprint = Fingerprint(draft.turns, done.letters, done.sketch)


def applied(steps: Sequence[Step], drafts: Sequence[Draft]) -> None:
    """Steps one after the other; of one that needs to see all drafts what it can do about each before."""
    for step in steps:
        if step.whole:
            step.prepare([draft for draft in drafts if not draft.out])
        else:
            step.run(drafts)


def _draft(one: _Sent) -> Draft:
    return Draft(one.id, one.source, one.licence, one.file, one.line, one.locale, one.group, _turns(one.turns),
                 dict(one.tags), _turns(one.unanswered), dict(one.scores))


def _changed(draft: Draft, sent: _Sent, turns: tuple[Turn, ...], unanswered: tuple[Turn, ...]) -> _Changed:
    made = draft.fingerprint
    return _Changed(draft.notes, None if draft.turns is turns else _said(draft.turns),
                    None if draft.unanswered is unanswered else _said(draft.unanswered),
                    None if draft.tags == sent.tags else draft.tags,
                    None if draft.scores == sent.scores else draft.scores,
                    made and made.letters, made and made.sketch)


def _said(turns: Sequence[Turn]) -> _Said:
    return [(turn.role, turn.text) for turn in turns]


def _turns(said: _Said) -> tuple[Turn, ...]:
    return _TURNS.validate_python([{"role": role, "text": text} for role, text in said])
