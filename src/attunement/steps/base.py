"""What every step of curation shares: its settings as a frozen model, and how it sees the drafts.

A step that decides about each dialogue by itself implements `each`, which a runner may call with any part of the
drafts, on any machine; one that needs to see all of them (duplicates, shares of a mix) sets ``whole`` and is called
once, after `prepare` where it ``prepares``. A step never raises for one dialogue that it cannot judge: it flags or
quarantines it, and says why. It raises only when it cannot work at all (a model or file is missing).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attunement.drafts import Draft
from attunement.errors import DataError

if TYPE_CHECKING:
    from attunement.steps.asking import Work

Direction = Literal["lower", "higher"]


class Step(BaseModel):
    """A step's settings. Subclasses add ``kind: Literal[…]`` and fields, and implement ``each``.

    ``overrides`` gives a source its own value of a field. What is a rule of safety (``safety``) may be made stricter
    for a source and never looser: ``strict`` says for each such field which way is stricter. Those of ``free`` a source
    may set as it likes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)

    whole: ClassVar[bool] = False
    prepares: ClassVar[bool] = False  # a whole step that has something to do with each dialogue before
    asks: ClassVar[bool] = False  # asks a scorer, through the cache: see `attunement.steps.asking`
    safety: ClassVar[bool] = False
    strict: ClassVar[Mapping[str, Direction]] = {}
    free: ClassVar[frozenset[str]] = frozenset()  # fields of a rule of safety that are none of safety themselves

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return self.kind

    @property
    def version(self) -> str:
        """What the step's decisions depend on beside the dialogue, as text: its settings and its data files' hashes."""
        return self.model_dump_json()

    def data_files(self) -> tuple[Path, ...]:
        """The files it reads beside the dialogues."""
        return ()

    def each(self, drafts: Sequence[Draft]) -> None:
        """Look at each draft (none of them is out), in place. A step that asks scorers has `over` in its place."""
        raise NotImplementedError(f"{self.kind} sees drafts through `over`")

    def prepare(self, drafts: Sequence[Draft]) -> None:
        """What a whole step can do with any part of the drafts, on any machine, before it sees all of them."""
        raise NotImplementedError(f"{self.kind} prepares nothing")

    def over(self, drafts: Sequence[Draft], work: "Work") -> None:
        """As `each`, for all drafts at once, with what scorers and runners are asked through."""
        self.each(drafts)

    def run(self, drafts: Sequence[Draft]) -> None:
        """`each` for the drafts that are not out, those of a source with overrides by settings of their own."""
        left = [draft for draft in drafts if not draft.out]
        if not self.overrides:
            self.each(left)
            return
        by_source: dict[str, list[Draft]] = {}
        for draft in left:
            by_source.setdefault(draft.source if draft.source in self.overrides else "", []).append(draft)
        for source, own in by_source.items():
            self.for_source(source).each(own)

    def for_source(self, source: str) -> Self:
        """The step with what a source overrides; read as params.yaml is, where a tuple's values stand as a list."""
        changes = self.overrides.get(source, {})
        return type(self).model_validate_json(json.dumps({**self.model_dump(mode="json"), "overrides": {}, **changes}))

    @model_validator(mode="after")
    def _overrides_hold(self) -> Self:
        """Raises ValueError for an override that is no field, does not validate, or loosens a rule of safety."""
        if self.overrides and self.whole:
            raise ValueError(f"{self.kind} looks at all sources together and takes no overrides")
        for source, changes in self.overrides.items():
            known = type(self).model_fields.keys() - {"kind", "overrides"}
            if unknown := [key for key in changes if key not in known]:
                raise ValueError(f"overrides.{source}.{unknown[0]} is no setting of {self.kind}")
            try:
                own = self.for_source(source)
            except ValidationError as error:
                fault = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, fault["loc"])) or ", ".join(changes)
                raise ValueError(f"overrides.{source}.{where}: {fault['msg'].removeprefix('Value error, ')}") from None
            for key in changes if self.safety else ():
                if key in self.free:
                    continue
                if key not in self.strict:
                    raise ValueError(f"overrides.{source}.{key}: a source may not change it, it is a rule of safety")
                before, after, way = getattr(self, key), getattr(own, key), self.strict[key]
                if _looser(before, after, way):
                    raise ValueError(f"overrides.{source}.{key}: {after} is looser than {before}; a source may make a "
                                     f"rule of safety stricter ({way}), never looser")
        return self


def _looser(before: float | None, after: float | None, way: Direction) -> bool:
    """Whether a limit lets more pass than another; no limit lets everything pass."""
    if after is None or before is None:
        return after is None and before is not None
    return after > before if way == "lower" else after < before


def missing(path: Path, what: str) -> DataError:
    """The error for a file without which a step cannot work."""
    return DataError(f"curate.steps: {what} needs {path}, and no file is there. Run `dvc repro`, which makes it.")
