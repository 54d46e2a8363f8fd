"""What readers of conversations share: who is who, and what to do with empty, doubled, leading and trailing turns.

    roles: {therapist: assistant, client: user}  # the source's names; any other is a fault of its row
    merge_same_speaker: true       # turns in a row by one speaker become one, a line each
    drop_empty: false              # else an empty turn is a fault
    drop_leading_assistant: true   # what is said before the user speaks
    drop_trailing_user: true       # what nobody answered: not learnt, but danger told in it is still heard

What was changed stands in the row's repairs, and so in the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from attunement.records import Role, Turn
from attunement.sources.base import Source
from attunement.sources.lines import RowError

# Half as dear as building one Turn after the other, and checked all the same.
_TURNS = TypeAdapter(tuple[Turn, ...])
Said = tuple[str, str]  # (who, by the source's name; what)


class Spoken(NamedTuple):
    """The turns of a row, what was mended, and the user's last words that were left off."""

    turns: tuple[Turn, ...]
    repairs: tuple[str, ...]
    unanswered: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Spots:
    """How a fault names the field of a turn; ``{}`` stands for its number."""

    role: str
    text: str


class Talk(Source):
    """A source whose rows are turns by named speakers."""

    roles: dict[str, Role]
    merge_same_speaker: bool = False
    drop_empty: bool = False
    drop_leading_assistant: bool = False
    drop_trailing_user: bool = False

    def turns_of(self, said: Sequence[Said], spots: Spots) -> Spoken:
        """What was said, by roles of ours; raises RowError."""
        spoken: list[dict[str, str]] = []
        repairs: list[str] = []
        roles, empty = self.roles, 0
        for number, (who, what) in enumerate(said):
            role = roles.get(who)
            if role is None:
                raise RowError(f"an unknown role; declared are {', '.join(roles)}", spots.role.format(number))
            text = what.strip()
            if text:
                spoken.append({"role": role, "text": text})
            elif self.drop_empty:
                empty += 1
            else:
                raise RowError("is empty", spots.text.format(number))
        if empty:
            repairs.append(f"dropped {_counted(empty, 'empty turn')}")
        if self.merge_same_speaker:
            spoken = _merged(spoken, repairs)
        unanswered: list[dict[str, str]] = []
        if self.drop_leading_assistant or self.drop_trailing_user:
            spoken, unanswered = self._trimmed(spoken, repairs)
        if not spoken:
            raise RowError("no turn is left", "the row")
        return Spoken(built(spoken, spots), tuple(repairs), built(unanswered, spots))

    def _trimmed(
        self, spoken: list[dict[str, str]], repairs: list[str]
    ) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """(what is left, the user's words after the last reply)."""
        opening = next((n for n, turn in enumerate(spoken) if turn["role"] != "system"), len(spoken))
        first, last = opening, len(spoken)
        while self.drop_leading_assistant and first < last and spoken[first]["role"] == "assistant":
            first += 1
        while self.drop_trailing_user and last > first and spoken[last - 1]["role"] == "user":
            last -= 1
        if first > opening:
            repairs.append(f"dropped {_counted(first - opening, 'leading turn')} of the assistant")
        if last < len(spoken):
            repairs.append(f"dropped {_counted(len(spoken) - last, 'trailing turn')} of the user")
        return spoken[:opening] + spoken[first:last] if first < last else [], spoken[last:]


def built(spoken: Sequence[dict[str, str]], spots: Spots) -> tuple[Turn, ...]:
    """Turns of roles and texts; raises RowError for a text that is no Unicode (half of a surrogate pair)."""
    try:
        return _TURNS.validate_python(spoken)
    except ValidationError as error:
        number = error.errors(include_input=False, include_url=False)[0]["loc"][0]
        raise RowError("no valid text", spots.text.format(number)) from None


def _merged(spoken: list[dict[str, str]], repairs: list[str]) -> list[dict[str, str]]:
    """Turns in a row by one speaker as one."""
    merged: list[dict[str, str]] = []
    sizes: list[int] = []
    for turn in spoken:
        if merged and merged[-1]["role"] == turn["role"]:
            merged[-1]["text"] += "\n" + turn["text"]
            sizes[-1] += 1
        else:
            merged.append(turn)
            sizes.append(1)
    if count := sum(size for size in sizes if size > 1):
        repairs.append(f"merged {count} turns of one speaker")
    return merged


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count > 1 else "")
