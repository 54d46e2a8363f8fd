"""Evaluation suites: ``data/suites/NAME.jsonl``, one context a line, to be answered by a model."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attunement.artefacts import first_fault
from attunement.errors import DataError
from attunement.records import Prompt, Turn, turns_id

SUITES = Path("data/suites")


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    context: Annotated[tuple[Turn, ...], Field(min_length=1)]
    category: str
    locale: str = "und"
    tags: dict[str, str] = {}


def suite_path(name: str, folder: Path = SUITES) -> Path:
    """Where a suite lies; raises DataError naming the suites that exist when it does not."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in folder.glob("*.jsonl"))) or "none"
        raise DataError(f"suite '{name}': {path} does not exist. Suites here: {known}.")
    return path


def read_suite(name: str, folder: Path = SUITES) -> list[Prompt]:
    """The prompts of a suite, sorted by id; raises DataError with file and line for the first broken one.

    A prompt's id is the hash of its context, so an edited prompt is another prompt and no score of the old
    words is mistaken for one of the new.
    """
    path = suite_path(name, folder)
    prompts: dict[str, Prompt] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = _Line.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number}  {first_fault(error)}.") from error
        if item.context[-1].role != "user":
            raise DataError(f"{path}:{number}  the context must end with a user turn, which the model answers.")
        prompt_id = turns_id(item.context)
        if prompt_id in prompts:
            raise DataError(f"{path}:{number}  repeats a context of this suite; each prompt may stand once.")
        prompts[prompt_id] = Prompt(suite=name, prompt_id=prompt_id, context=item.context, category=item.category,
                                    locale=item.locale, tags=item.tags)
    if not prompts:
        raise DataError(f"{path} holds no prompt.")
    return [prompts[key] for key in sorted(prompts)]
