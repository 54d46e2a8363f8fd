"""Questions to the ledger of curation: how many, why, show me, what changed, what if.

In: ``ledger.parquet`` and ``scores.parquet`` of a folder that stage curate published. Out: counts, decisions, ids.
Nothing here holds a word of a dialogue: the ledger has none. A ledger of a quarter of a million rows is asked as Arrow
columns; what is listed for a person becomes Decisions.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attunement.drafts import DECISIVE
from attunement.errors import DataError
from attunement.faults import nearest

if TYPE_CHECKING:
    import numpy
    import pyarrow

    Mask = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]

# What the rules mean, by (step, rule); of a step whose rules carry names of their own, by (step, "").
MEANING = {
    ("read", "reader"): "the reader mended it",
    ("read", "unreadable"): "it cannot be read",
    ("form", "roles"): "user and assistant do not take turns",
    ("form", "turns"): "it has too few or too many turns",
    ("form", "empty_turn"): "a turn has no words",
    ("form", "length"): "a turn is too long",
    ("form", "markers"): "it holds marks of a template, a prompt or code",
    ("form", "repetition"): "it repeats itself",
    ("form", "tags"): "a tag says nothing known",
    ("form", "system_turn_removed"): "the source's own system prompt was left out",
    ("form", "last_user_turn_removed"): "a last turn without an answer was left off; danger told in it still counts",
    ("repair", "text"): "its text was mended",
    ("repair", "unseen_turn"): "it has a turn of which nothing can be seen",
    ("language", "other_language"): "it is in another language",
    ("duplicates", "exact_duplicate"): "it is the same as another but for case and space",
    ("duplicates", "near_duplicate"): "it is nearly the same as another (Jaccard index of runs of words)",
    ("duplicates", "template"): "it was written on a template",
    ("decontaminate", "contaminated"): "it holds this share of an evaluation's text",
    ("semantic", "paraphrased_evaluation"): "it says in other words what an evaluation asks (cosine)",
    ("semantic", "semantic_duplicate"): "it means nearly the same as another (cosine of the user's words)",
    ("hear", "risk"): "more danger is heard in it than its tags told",
    ("hear", "unheard"): "nobody could hear whether danger is told",
    ("referral", "crisis_without_safe_referral"): "danger is told, and no complete and safe referral answers",
    ("pii", "personal_record"): "it tells too much of a person to be masked",
    ("pii", ""): "what tells a person apart was masked",
    ("score", ""): "the scorer's limit decides",
    ("tiers", ""): "dialogues of its tier are left out",
    ("mix", ""): "there are enough like it",
    ("sample", "not_in_sample"): "it is fit, and was not drawn",
    ("split", "split"): "nothing speaks against it",
}
LIMIT = re.compile(r"(?P<scorer>[^=<>]+?)\s*(?P<op>>=|<|=)\s*(?P<limit>[^=<>\s]+)")


class Count(NamedTuple):
    """How many decisions of one sort there are, about how many rows; of what was kept the rule is the split."""

    source: str
    action: str
    step: str
    rule: str
    rows: int
    decisions: int


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

    def told(self, ref: str | None = None) -> str:
        """The decision as a sentence; ``ref``: what is to be said of the dialogue or item that it refers to."""
        meaning = MEANING.get((self.step, self.rule)) or MEANING.get((self.step, ""))
        parts = [f"{self.action} by {self.step}: {self.rule}"]
        if self.action == "kept":
            parts = [f"kept in {self.evidence}"]
        elif meaning:
            parts.append(meaning)
        if self.turn is not None:
            parts.append(f"turn {self.turn}")
        if self.score is not None:
            held = f" {self.op or 'against'} {self.limit:.4g}" if self.limit is not None else ""
            parts.append(f"score {self.score:.4g}{held}")
        if self.evidence and self.action != "kept":
            parts.append(self.evidence)
        if self.ref:
            parts.append(f"see {ref or self.ref}")
        return "; ".join(parts)


COLUMNS = Decision._fields


class Change(NamedTuple):
    """What two ledgers say became of one row; None where it was not read."""

    id: str
    place: str
    before: str | None
    after: str | None


class Foretold(NamedTuple):
    """A row that another limit decides otherwise."""

    id: str
    place: str
    score: float


class Forecast(NamedTuple):
    """What another limit of a scorer would do, and of how many rows it cannot be told.

    ``dropped``: kept now. ``let_on``: dropped by this limit now; what later steps say of them nobody knows.
    ``anyhow``: out by a later step now, and by this one then. ``unscored``: the scorer could not judge them, no limit
    changes that. ``unknown``: taken out before the scorer was asked, or never shown to it.
    """

    scorer: str
    op: str
    limit: float
    now: dict[str, list[float]]
    dropped: list[Foretold]
    let_on: list[Foretold]
    anyhow: int
    unscored: int
    unknown: int


def read(folder: Path) -> "pyarrow.Table":
    """Every decision, in the order of the ledger; raises DataError when there is no ledger or it is another table."""
    table = _table(folder / "ledger.parquet")
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DataError(f"{folder}/ledger.parquet has no column {', '.join(missing)}: an earlier version wrote it. Run "
                        "`dvc repro curate` again.")
    return table.select(COLUMNS).combine_chunks()


def _table(path: Path) -> "pyarrow.Table":
    from pyarrow import ArrowInvalid, parquet

    if not path.is_file():
        failed = Path(f"{path.parent}.failed")
        stopped = f" The last run was stopped: `attune ledger --at {failed}` answers for it." if failed.is_dir() else ""
        raise DataError(f"{path} is missing. Run `dvc repro curate`, which makes it, or name its folder with --at."
                        f"{stopped}")
    try:
        return parquet.read_table(path)
    except ArrowInvalid:
        raise DataError(f"{path} is no Parquet file. Run `dvc repro curate` again.") from None


def decisions(table: "pyarrow.Table") -> list[Decision]:
    """Rows of the ledger one by one; for what a person is shown, not for all of them."""
    return [Decision(*row) for row in zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)]


def totals(table: "pyarrow.Table") -> dict[str, int]:
    """Rows read and what became of them; raises DataError when an account has no end, or more than one."""
    import numpy as np

    first = table.column("seq").to_numpy() == 0
    last = np.append(first[1:], True)[: len(first)]
    ends = _among(table, "action", DECISIVE)
    if (last != ends).any():
        at = decisions(table.slice(int(np.argmax(last != ends)), 1))[0].place
        raise DataError(f"the ledger's account of {at} does not end with exactly one of {', '.join(DECISIVE)}: it is "
                        "damaged. Run `dvc repro curate` again.")
    return {"read": int(first.sum()), **{name: int(_is(table, "action", name).sum()) for name in DECISIVE}}


def counts(table: "pyarrow.Table") -> list[Count]:
    """Decisions by source, action, step and rule; what was kept counts by split."""
    import pyarrow as pa
    from pyarrow import compute as pc

    named = pc.if_else(pc.equal(table["action"], "kept"), table["evidence"], table["rule"])
    row = pa.array((table.column("seq").to_numpy() == 0).cumsum())
    keys = ("source", "action", "step", "rule")
    sorts = pa.table([table["source"], table["action"], table["step"], named, row], names=[*keys, "row"])
    found = sorts.group_by(keys).aggregate([("row", "count_distinct"), ("row", "count")])
    columns = [found.column(name).to_pylist() for name in (*keys, "row_count_distinct", "row_count")]
    order = ("kept", "dropped", "quarantined", "changed", "flagged")
    return sorted((Count(*one) for one in zip(*columns, strict=True)),
                  key=lambda one: (one.source, order.index(one.action), -one.rows, one.step, one.rule))


def about(table: "pyarrow.Table", key: str) -> "pyarrow.Table":
    """Every decision about the rows that an id (or its beginning) or FILE:LINE names; raises DataError for none."""
    from pyarrow import compute as pc

    mask = pc.starts_with(table["id"], key)
    file, _, line = key.rpartition(":")
    if file and line.isdecimal():
        there = pc.or_(pc.equal(table["file"], file), pc.ends_with(table["file"], f"/{file}"))
        mask = pc.or_(mask, pc.and_(pc.equal(table["line"], int(line)), there))
    found = table.filter(mask)
    if not key or not found.num_rows:
        raise DataError(f"no row has an id that begins with '{key}', and none was read at such a FILE:LINE. "
                        "`attune ledger --show RULE` lists ids.")
    return found


def accounts(found: "pyarrow.Table") -> list[list[Decision]]:
    """The decisions about each row together."""
    rows: list[list[Decision]] = []
    for one in decisions(found):
        if one.seq == 0 or not rows:
            rows.append([])
        rows[-1].append(one)
    return rows


def referred(table: "pyarrow.Table", found: list[Decision]) -> dict[str, str]:
    """Of each dialogue that decisions refer to its id, where it was read and what became of it; items by name alone."""
    import pyarrow as pa
    from pyarrow import compute as pc

    refs = sorted({one.ref for one in found if one.ref})
    ends = _fates(table.filter(pc.is_in(table["id"], pa.array(refs, pa.string()))))
    told: dict[str, str] = {}
    for key, fate, file, line in zip(*(ends[name].to_pylist() for name in ("id", "fate", "file", "line")), strict=True):
        if key not in told or fate.startswith("kept"):  # copies share an id: the one that is kept is meant
            told[key] = f"{key} ({file}:{line}, {fate})"
    return told


def decided_by(table: "pyarrow.Table", name: str) -> "pyarrow.Table":
    """The decisions of a rule, step, action or STEP:RULE; raises DataError for one that decided nothing."""
    step, _, rule = name.partition(":")
    mask = _is(table, "rule", name) | _is(table, "step", name) | _is(table, "action", name)
    mask |= _is(table, "step", step) & _is(table, "rule", rule)  # STEP:RULE
    if not mask.any():
        names = sorted({one for column in ("rule", "step", "action") for one in table[column].unique().to_pylist()})
        raise DataError(f"'{name}' decided nothing here; what did: {', '.join(names)}{nearest(name, names)}")
    return table.filter(mask)


def of_source(table: "pyarrow.Table", source: str) -> "pyarrow.Table":
    """What concerns the rows of one source; raises DataError when there is none of it."""
    mask = _is(table, "source", source)
    if not mask.any():
        names = sorted(table["source"].unique().to_pylist())
        raise DataError(f"no row of a source '{source}' is here; sources: {', '.join(names)}{nearest(source, names)}")
    return table.filter(mask)


def both_of_source(
    before: "pyarrow.Table", after: "pyarrow.Table", source: str
) -> tuple["pyarrow.Table", "pyarrow.Table"]:
    """Two ledgers' rows of one source; raises DataError when neither has any. One that came or went is in one alone."""
    import pyarrow as pa

    of_source(pa.concat_tables([before, after]), source)
    return before.filter(pa.array(_is(before, "source", source))), after.filter(pa.array(_is(after, "source", source)))


def changes(before: "pyarrow.Table", after: "pyarrow.Table") -> list[Change]:
    """Rows that came, went, or were decided otherwise. A row is known by what was read, wherever it stands now."""
    import pyarrow as pa
    from pyarrow import compute as pc

    ends = [_fates(table) for table in (before, after)]
    both = pa.concat_tables([one.append_column("side", pa.array([side] * one.num_rows, pa.int64()))
                             for side, one in zip((-1, 1), ends, strict=True)])
    # What both say of a row cancels out; copies of one id are told apart by number alone.
    net = both.group_by(["id", "fate"]).aggregate([("side", "sum")])
    net = net.filter(pc.not_equal(net["side_sum"], 0))
    fates: dict[str, tuple[list[str], list[str]]] = {}
    for key, fate, n in sorted(zip(*(net[name].to_pylist() for name in ("id", "fate", "side_sum")), strict=True)):
        fates.setdefault(key, ([], []))[n > 0].extend([fate] * abs(n))
    places: dict[str, str] = {}
    for one in ends:
        part = one.filter(pc.is_in(one["id"], pa.array(list(fates), pa.string())))
        places |= {key: f"{file}:{line}" for key, file, line in
                   zip(*(part[name].to_pylist() for name in ("id", "file", "line")), strict=True)}
    return [Change(key, places[key], old[at] if at < len(old) else None, new[at] if at < len(new) else None)
            for key, (old, new) in sorted(fates.items()) for at in range(max(len(old), len(new)))]


def _fates(table: "pyarrow.Table") -> "pyarrow.Table":
    """One line a row: id, fate in words, file, line."""
    import pyarrow as pa
    from pyarrow import compute as pc

    ends = table.filter(pa.array(_among(table, "action", DECISIVE)))
    kept = pc.binary_join_element_wise("kept in ", ends["evidence"], "")
    out = pc.binary_join_element_wise(pc.binary_join_element_wise(ends["action"], ends["step"], " by "), ends["rule"],
                                      ": ")
    fate = pc.if_else(pc.equal(ends["action"], "kept"), kept, out)
    return pa.table([ends["id"], fate, ends["file"], ends["line"]], names=["id", "fate", "file", "line"])


def limit_of(told: str) -> tuple[str, str, float]:
    """(scorer, op, limit) of SCORER=LIMIT, SCORER>=LIMIT or SCORER<LIMIT; raises DataError for anything else."""
    match = LIMIT.fullmatch(told.strip())
    try:
        limit = float(match["limit"]) if match else math.nan
    except ValueError:
        limit = math.nan
    if match is None or not math.isfinite(limit):
        raise DataError(f"--if takes SCORER=LIMIT, such as detoxify=0.5, or which side drops: detoxify>=0.5, "
                        f"listening<-1; got '{told}'.")
    return match["scorer"], match["op"], limit


def sides(table: "pyarrow.Table", scorer: str) -> dict[str, list[float]]:
    """The limits by which a scorer dropped here: ">=" and "<", each with its numbers (sources may be stricter)."""
    own = table.filter(_limited(table, scorer))
    found: dict[str, set[float]] = {}
    for op, limit in zip(own["op"].to_pylist(), own["limit"].to_pylist(), strict=True):
        found.setdefault(op, set()).add(limit)
    return {op: sorted(limits) for op, limits in sorted(found.items())}


def scores_of(folder: Path, scorer: str) -> "pyarrow.Table":
    """Id and value of what a scorer was shown; raises DataError when it was shown nothing, naming those that were."""
    from pyarrow import compute as pc

    table = _table(folder / "scores.parquet")
    found = table.filter(pc.equal(table["scorer"], scorer)).select(["id", "value"])
    if not found.num_rows:
        names = sorted(table["scorer"].unique().to_pylist())
        raise DataError(f"no dialogue has a score of '{scorer}'; scores are there of: "
                        f"{', '.join(names) or 'no scorer'}{nearest(scorer, names)}")
    return found


def forecast(
    table: "pyarrow.Table", scores: "pyarrow.Table", scorer: str, limit: float, *, op: str
) -> Forecast:
    """What would become of the rows if a scorer dropped at ``op limit``, from its scores as they were kept.

    Nothing is asked anew. The other side's limit, if there is one, stays. Not foretold are the steps after it, and the
    sample, which is drawn anew from what is fit.
    """
    import pyarrow as pa
    from pyarrow import compute as pc

    ends = table.filter(pa.array(_among(table, "action", DECISIVE)))
    places = pc.index_in(ends["id"], value_set=scores["id"].combine_chunks())
    value = scores["value"].combine_chunks().take(places)
    # A copy that was dropped for its twin was never shown: the score under its id is the twin's.
    copy = pc.and_(pc.equal(ends["action"], "dropped"), pc.equal(ends["ref"], ends["id"])).fill_null(False).to_numpy()
    shown = pc.is_valid(places).to_numpy(zero_copy_only=False) & ~copy
    scored = pc.is_valid(value).to_numpy(zero_copy_only=False) & shown
    beyond = (pc.greater_equal if op == ">=" else pc.less)(value, limit).fill_null(False).to_numpy(
        zero_copy_only=False) & scored
    here = _limited(ends, scorer) & _is(ends, "op", op)
    kept = _is(ends, "action", "kept")

    def listed(mask: "Mask") -> list[Foretold]:
        part, found = ends.filter(pa.array(mask)), value.filter(pa.array(mask))
        return sorted(Foretold(key, f"{file}:{line}", score) for key, file, line, score in
                      zip(*(part[name].to_pylist() for name in ("id", "file", "line")), found.to_pylist(), strict=True))

    return Forecast(scorer=scorer, op=op, limit=limit, now=sides(table, scorer), dropped=listed(beyond & kept),
                    let_on=listed(here & scored & ~beyond), anyhow=int((beyond & ~kept & ~here).sum()),
                    unscored=int((shown & ~scored).sum()), unknown=int((~shown).sum()))


def by_fate(found: list[Change]) -> Mapping[tuple[str, str], list[Change]]:
    """Changes by what was said before and what is said now, the commonest first."""
    sorts: dict[tuple[str, str], list[Change]] = {}
    for one in found:
        sorts.setdefault((one.before or "not read", one.after or "not read"), []).append(one)
    return dict(sorted(sorts.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def _limited(table: "pyarrow.Table", scorer: str) -> "Mask":
    """Where a scorer's limit dropped a row; what it could not judge carries no score and no limit."""
    scored: Mask = table["score"].is_valid().to_numpy()
    return (_is(table, "step", "score") & _is(table, "rule", scorer) & _is(table, "action", "dropped")) & scored


def _is(table: "pyarrow.Table", column: str, value: str) -> "Mask":
    from pyarrow import compute as pc

    mask: Mask = pc.equal(table[column], value).fill_null(False).to_numpy()
    return mask


def _among(table: "pyarrow.Table", column: str, values: tuple[str, ...]) -> "Mask":
    import pyarrow as pa
    from pyarrow import compute as pc

    mask: Mask = pc.is_in(table[column], value_set=pa.array(values)).to_numpy()
    return mask
