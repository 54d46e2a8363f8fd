"""Questions to the ledger of curation: how many, why, show me, what changed, what if.

In: ``ledger.parquet`` and ``scores.parquet`` of a folder that stage curate published. Out: plain rows. Nothing here
holds a word of a dialogue: the ledger has none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from attunement.errors import DataError

if TYPE_CHECKING:
    import pyarrow

DECISIVE = ("kept", "dropped", "quarantined")
COLUMNS = ("id", "seq", "source", "file", "line", "action", "step", "rule", "evidence", "turn", "score", "op", "limit",
           "ref")


class Count(NamedTuple):
    """How many decisions of one sort there are."""

    source: str
    action: str
    step: str
    rule: str
    n: int


class Decision(NamedTuple):
    """A row of the ledger."""

    id: str
    seq: int
    source: str
    file: str
    line: int
    action: str
    step: str
    rule: str
    evidence: str
    turn: int | None
    score: float | None
    op: str
    limit: float | None
    ref: str | None

    @property
    def place(self) -> str:
        """Where the row was read."""
        return f"{self.file}:{self.line}"

    def told(self) -> str:
        """The decision as a sentence."""
        parts = [f"{self.action} by {self.step}: {self.rule}"]
        if self.turn is not None:
            parts.append(f"turn {self.turn}")
        if self.score is not None and self.limit is not None:
            parts.append(f"{self.score:.4g} {self.op or 'against'} {self.limit:.4g}")
        if self.evidence:
            parts.append(self.evidence)
        if self.ref:
            parts.append(f"see {self.ref}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Change:
    """What two ledgers say of one row; None where it was not read."""

    place: str
    before: str | None
    after: str | None


class Forecast(NamedTuple):
    """What another limit of a scorer would do: ids dropped or let on, and of how many rows it cannot be told."""

    dropped: list[str]
    let_on: list[str]
    unknown: int


def read(folder: Path) -> list[Decision]:
    """Every row, in the order of the ledger; raises DataError when there is none or it is another table."""
    table = _table(folder / "ledger.parquet")
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DataError(f"{folder}/ledger.parquet has no column {', '.join(missing)}: an earlier version wrote it. Run "
                        "`dvc repro curate` again.")
    columns = [table.column(name).to_pylist() for name in COLUMNS]
    return [Decision(*row) for row in zip(*columns, strict=True)]


def _table(path: Path) -> "pyarrow.Table":
    from pyarrow import ArrowInvalid, parquet

    if not path.is_file():
        raise DataError(f"{path} is missing. Run `dvc repro curate`, which makes it, or name its folder with --at.")
    try:
        return parquet.read_table(path)
    except ArrowInvalid:
        raise DataError(f"{path} is no Parquet file. Run `dvc repro curate` again.") from None


def counts(rows: Sequence[Decision]) -> list[Count]:
    """Decisions by source, action, step and rule; what was kept counts by split."""
    counted = Counter((row.source, row.action, row.step, row.evidence if row.action == "kept" else row.rule)
                      for row in rows)
    return [Count(*key, n) for key, n in sorted(counted.items())]


def totals(rows: Sequence[Decision]) -> dict[str, int]:
    """Rows read and what became of them; raises DataError when the parts do not add up to the whole."""
    actions = Counter(row.action for row in rows if row.action in DECISIVE)
    read_rows = len({(row.source, row.file, row.line) for row in rows})
    if actions.total() != read_rows:
        raise DataError(f"the ledger accounts for {actions.total()} decisions about {read_rows} rows: it is "
                        "damaged. Run `dvc repro curate` again.")
    return {"read": read_rows, **{name: actions[name] for name in DECISIVE}}


def about(rows: Sequence[Decision], key: str) -> list[Decision]:
    """Every decision about the rows that an id (or its beginning) or FILE:LINE names; raises DataError for none."""
    found = [row for row in rows if row.id.startswith(key) or row.place == key or row.place.endswith(f"/{key}")]
    if not found:
        raise DataError(f"no row has an id that begins with '{key}', and none was read at such a FILE:LINE. "
                        "`attune ledger --show RULE` lists ids.")
    return found


def decided_by(rows: Sequence[Decision], rule: str, source: str | None) -> list[Decision]:
    """The decisions of a rule, step or action; raises DataError for one that decided nothing, naming those that did."""
    names = {name for row in rows for name in (row.rule, row.step, row.action)}
    if rule not in names:
        raise DataError(f"'{rule}' decided nothing here; what did: {', '.join(sorted(names))}.")
    return [row for row in rows if rule in (row.rule, row.step, row.action) and source in (None, row.source)]


def changes(before: Sequence[Decision], after: Sequence[Decision]) -> list[Change]:
    """Rows whose fate differs, by what was read: an id in both, or in one alone."""
    old, new = _fates(before), _fates(after)
    return [Change(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)]


def _fates(rows: Sequence[Decision]) -> dict[str, str]:
    fates: dict[str, str] = {}
    for row in rows:
        if row.action in DECISIVE:
            fate = f"kept in {row.evidence}" if row.action == "kept" else f"{row.action} by {row.step}: {row.rule}"
            # Copies share an id: what became of the one that is kept is the id's fate.
            if row.id not in fates or row.action == "kept":
                fates[row.id] = fate
    return fates


def forecast(rows: Sequence[Decision], scores: Mapping[str, float | None], scorer: str, limit: float) -> Forecast:
    """What would become of the dialogues if a scorer's limit were another, from the scores as they were kept.

    Later steps are not foretold: what would be let on they may still drop. Raises DataError when the scorer has no
    limit in this ledger by which to tell which side of one drops.
    """
    ops = {row.op for row in rows if row.step == "score" and row.rule == scorer and row.op}
    op = next(iter(ops), ">=")
    if len(ops) > 1:
        raise DataError(f"{scorer} drops on both sides here; of such a step nothing is foretold.")
    beyond = {key for key, value in scores.items() if value is not None
              and (value >= limit if op == ">=" else value < limit)}
    out = {row.id: row for row in rows if row.action in DECISIVE}
    now = {row.id for row in rows if row.step == "score" and row.rule == scorer and row.action == "dropped"
           and row.score is not None}
    dropped = sorted(key for key in beyond - now if key in out and out[key].action == "kept")
    return Forecast(dropped, sorted(now - beyond), len({row.id for row in rows} - scores.keys()))


def scores_of(folder: Path, scorer: str) -> dict[str, float | None]:
    """A scorer's value by dialogue; raises DataError when it scored nothing, naming those that did."""
    table = _table(folder / "scores.parquet")
    names = table.column("scorer").to_pylist()
    found = {key: value for key, name, value in zip(table.column("id").to_pylist(), names,
                                                    table.column("value").to_pylist(), strict=True) if name == scorer}
    if not found:
        raise DataError(f"no dialogue has a score of '{scorer}'; scores are there of: "
                        f"{', '.join(sorted(set(names))) or 'no scorer'}.")
    return found
