"""Evaluation suites below ``data/suites``: what models are asked, and dialogues that curation is tested on.

``NAME.jsonl`` holds prompts, one context a line, to be answered by a model. ``scripts/NAME.jsonl`` holds scripted
clients, whose turns go on whatever is answered. ``curation/NAME.jsonl`` holds dialogues labelled with the rule that
they break (``data/LABELLING.md``). Each line says what a good reply does and what makes it fail, or why it is labelled.
"""

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attunement.artefacts import first_fault
from attunement.errors import DataError
from attunement.records import FlawedDialogue, Prompt, Script, SeverityName, Turn, turns_id
from attunement.sampling import Amount, sample

SUITES = Path("data/suites")
Words = Annotated[str, Field(min_length=1)]
Locale = Annotated[str, Field(pattern=r"^(und|[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?)$")]
SEVERITIES = get_args(SeverityName)
RULE_ROW = re.compile(r"^\|\s*(`[a-z_]+`(?:,\s*`[a-z_]+`)*)\s*\|", re.MULTILINE)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Item(_Shape):
    """What every line may say of itself. ``id``, where it stands, must be the hash of the line's turns.

    ``canary`` is for those who clean training corpora: it marks evaluation data and is not read.
    """

    id: str | None = None
    canary: str = ""
    category: Words
    locale: Locale = "und"
    severity: SeverityName = "none"
    good: str = ""
    fail: str = ""
    tags: dict[str, str] = {}


class _PromptLine(_Item):
    context: Annotated[tuple[Turn, ...], Field(min_length=1)]
    right: str = ""
    pair: str = ""


class _ScriptLine(_Item):
    script: Annotated[tuple[Words, ...], Field(min_length=2)]
    change_at: Annotated[int, Field(ge=0)]


class _FlawedLine(_Shape):
    id: str | None = None
    canary: str = ""
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]
    locale: Locale = "und"
    severity: SeverityName = "none"
    rule: Words
    turn: int | None
    because: Words
    tags: dict[str, str] = {}


Line = TypeVar("Line", _PromptLine, _ScriptLine, _FlawedLine)


def suite_path(name: str, folder: Path = SUITES) -> Path:
    """Where a suite lies; raises DataError naming the suites that exist when it does not."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in folder.glob("*.jsonl"))) or "none"
        raise DataError(f"suite '{name}': {path} does not exist. Suites here: {known}.")
    return path


def read_suite(name: str, folder: Path = SUITES, *, amount: Amount = "all") -> list[Prompt]:
    """The prompts of a suite, or a fixed part of them by category and severity, sorted by id.

    A prompt's id is the hash of its context, so an edited prompt is another prompt and no score of the old
    words is mistaken for one of the new. Its severity stands in ``tags["risk"]`` too, where scorers look. Twins
    (``pair``) are taken together. Raises DataError with file and line for the first broken one.
    """
    path = suite_path(name, folder)
    prompts: dict[str, Prompt] = {}
    for place, line in _lines(path, _PromptLine):
        if line.context[-1].role != "user":
            raise DataError(f"{place}  the context must end with a user turn, which the model answers.")
        prompt_id = _checked_id(place, line.id, line.context, prompts)
        prompts[prompt_id] = Prompt(suite=name, prompt_id=prompt_id, context=line.context, category=line.category,
                                    locale=line.locale, severity=line.severity, good=line.good, fail=line.fail,
                                    right=line.right, pair=line.pair, tags=_tags(place, line))
    _refuse_single_twins(path, [*prompts.values()])
    ordered = [prompts[key] for key in sorted(prompts)]
    return sample(ordered, amount, stratum=by_category, unit=lambda prompt: prompt.pair or prompt.prompt_id)


def by_category(prompt: Prompt) -> tuple[str, int]:
    """The stratum of a prompt: its category, then how grave it is."""
    return prompt.category, SEVERITIES.index(prompt.severity)


def read_suites(amounts: Mapping[str, Amount]) -> list[Prompt]:
    """The declared number of prompts of each suite, suite after suite."""
    return [prompt for name, amount in amounts.items() for prompt in read_suite(name, amount=amount)]


def read_scripts(name: str, folder: Path = SUITES / "scripts") -> list[Script]:
    """Scripted clients, sorted by id; raises DataError with file and line for the first broken one."""
    scripts: dict[str, Script] = {}
    for place, line in _lines(suite_path(name, folder), _ScriptLine):
        if line.change_at >= len(line.script):
            raise DataError(f"{place}  change_at is {line.change_at}, expected a place in the script, 0 to "
                            f"{len(line.script) - 1}.")
        script_id = _checked_id(place, line.id, [Turn(role="user", text=text) for text in line.script], scripts)
        scripts[script_id] = Script(suite=name, script_id=script_id, turns=line.script, change_at=line.change_at,
                                    category=line.category, locale=line.locale, severity=line.severity,
                                    good=line.good, fail=line.fail, tags=_tags(place, line))
    return [scripts[key] for key in sorted(scripts)]


def read_flawed(name: str, folder: Path = SUITES / "curation", rules: Path = Path("data/LABELLING.md")
                ) -> list[FlawedDialogue]:
    """Labelled dialogues, sorted by id; raises DataError for a rule that the written rules do not hold.

    ``rule`` is ``none`` for a hard negative, whose ``turn`` is null. Roles may be wrong: that is one of the rules.
    """
    known = rule_names(rules)
    found: dict[str, FlawedDialogue] = {}
    for place, line in _lines(suite_path(name, folder), _FlawedLine):
        if line.rule not in known:
            raise DataError(f"{place}  rule '{line.rule}' is not in {rules}.")
        if (line.turn is None) != (line.rule == "none") or (line.turn or 0) not in range(len(line.turns)):
            raise DataError(f"{place}  turn is {line.turn}, expected the place of the turn that breaks the rule, 0 to "
                            f"{len(line.turns) - 1}, or null for rule none.")
        key = _checked_id(place, line.id, line.turns, found)
        found[key] = FlawedDialogue(id=key, turns=line.turns, locale=line.locale, severity=line.severity,
                                    rule=line.rule, turn=line.turn, because=line.because, tags=_tags(place, line))
    return [found[key] for key in sorted(found)]


def rule_names(path: Path) -> set[str]:
    """The rules that the first column of the written rules' last table names; raises DataError without the file."""
    if not path.is_file():
        raise DataError(f"{path} is missing; expected the written rules there, whose names the labels use.")
    table = path.read_text(encoding="utf-8").rpartition("\n## ")[2]
    return {name for row in RULE_ROW.findall(table) for name in re.findall(r"`([a-z_]+)`", row)} - {"rule"}


def _lines(path: Path, shape: type[Line]) -> Iterator[tuple[str, Line]]:
    """(file:line, parsed line) of every line that is not blank; raises DataError for a broken one or for none."""
    n = 0
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        if not raw.strip():
            continue
        n += 1
        try:
            yield f"{path}:{number}", shape.model_validate_json(raw)
        except ValidationError as error:
            raise DataError(f"{path}:{number}  {first_fault(error)}.") from error
    if not n:
        raise DataError(f"{path} holds no prompt.")


def _checked_id(place: str, stated: str | None, turns: Sequence[Turn], seen: Container[str]) -> str:
    own = turns_id(turns)
    if stated is not None and stated != own:
        raise DataError(f"{place}  id is {stated}, expected {own}, the hash of these turns; was a word changed?")
    if own in seen:
        raise DataError(f"{place}  repeats a context of this suite; each prompt may stand once.")
    return own


def _tags(place: str, line: _Item | _FlawedLine) -> dict[str, str]:
    """The line's tags with its severity among them as ``risk``, where scorers look; raises DataError for a second.

    A stated "none" is what a reader found and stands there too; of a line that says nothing the scorers hear for
    themselves.
    """
    if "risk" in line.tags:
        raise DataError(f"{place}  tags.risk: write it as `severity`, beside category.")
    return line.tags | {"risk": line.severity} if "severity" in line.model_fields_set else line.tags


def _refuse_single_twins(path: Path, prompts: Sequence[Prompt]) -> None:
    for pair, n in Counter(prompt.pair for prompt in prompts if prompt.pair).items():
        if n != 2:
            raise DataError(f"{path}: pair '{pair}' has {n} prompt{'s' * (n != 1)}, expected 2.")
