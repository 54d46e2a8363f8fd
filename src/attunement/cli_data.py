"""``attune ledger`` and ``attune compare``: what curation decided about every row, and how two datasets differ.

In: folders that stage curate published, or git revisions. Out: plain text of at most 100 columns, or JSON Lines.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from attunement import ledger as questions
from attunement.compare_data import NO_TAG, Comparison, Spread, compare, shift
from attunement.drafts import draft_of
from attunement.errors import AttunementError, DataError, ends_clearly
from attunement.params import load
from attunement.scorers.crisis import NAME as HEARD
from attunement.sources.base import Row, Source
from attunement.sources.lines import CutError
from attunement.splits import SPLITS
from attunement.steps.score import ScoreStep

if TYPE_CHECKING:
    import pyarrow

CURATED = Path("out/curate")
COLUMNS = 100  # of a terminal
SHOWN = 20  # ids or values of a kind that are listed where --limit is not asked for
LEAST = 8  # characters to which a column of words may be cut
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # in people's words, what could steer a terminal
At = Annotated[Path, typer.Option("--at", help="A folder that stage curate published.")]
Why = Annotated[str | None, typer.Option(
    help="Every decision about one row: an id, its beginning, or FILE:LINE (of Parquet the row's number).")]
Show = Annotated[str | None, typer.Option(
    help="The rows that a rule, step or action decided, by its name in the counts; STEP:RULE for one of several.")]
Against = Annotated[str | None, typer.Option(
    help="What is decided otherwise since another folder, or a git revision whose dvc.lock was committed (HEAD~1).")]
WhatIf = Annotated[str | None, typer.Option(
    "--if", help="SCORER=LIMIT, such as linear=0.5: what another limit would change, without a run.")]


@ends_clearly
def ledger(
    at: At = CURATED,
    why: Why = None,
    show: Show = None,
    source: Annotated[str | None, typer.Option(help="Whatever is asked, of one source alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows are listed.")] = SHOWN,
    words: Annotated[bool, typer.Option("--words", help="With --why: read the dialogue again and print it.")] = False,
    against: Against = None,
    what_if: WhatIf = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object a line.")] = False,
) -> None:
    """Ask the ledger: how many rows, why, show me, what changed, what if.

    Without options: how many rows were read and what became of them,
    by source, step and rule. One question at a time; --source narrows each.

    The ledger holds no word of any dialogue; --words reads them again.
    Of a run that was stopped: --at out/curate.failed.
    """
    asked = [name for name, one in (("--why", why), ("--show", show), ("--against", against), ("--if", what_if))
             if one is not None]
    if len(asked) > 1:
        raise DataError(f"{' and '.join(asked)} are two questions; ask one at a time.")
    if words and why is None:
        raise DataError("--words prints the dialogue that --why names; name one.")
    table = questions.read(at)
    if why is not None:
        _why(table, why, source, limit, words=words, as_json=as_json)
    elif show is not None:
        found = questions.decided_by(table, show)
        _show(found if source is None else questions.of_source(found, source), limit, as_json=as_json)
    elif against is not None:
        with TemporaryDirectory() as folder:
            before = questions.read(version(against, Path(folder), ("ledger.parquet",)))
        if source is not None:
            before, table = questions.both_of_source(before, table, source)
        _changes(before, table, limit, as_json=as_json)
    elif what_if is not None:
        _forecast(table, at, what_if, source, limit, as_json=as_json)
    else:
        _counts(table if source is None else questions.of_source(table, source), as_json=as_json)


def _counts(table: "pyarrow.Table", *, as_json: bool) -> None:
    total, counted = questions.totals(table), questions.counts(table)
    lines = [f"{total['read']} read = {total['kept']} kept + {total['dropped']} dropped + "
             f"{total['quarantined']} quarantined", ""]
    if counted:
        lines += aligned(("source", "decision", "step", "rule", "rows", "decisions"), counted)
        lines += ["", *wrapped("Of a row that was changed or flagged the last decision counts as well: kept, dropped "
                               "or quarantined. `attune ledger --show RULE` lists rows, `--why ID` tells why.")]
    _print([total, *(one._asdict() for one in counted)], lines, as_json=as_json)


def _show(found: "pyarrow.Table", limit: int, *, as_json: bool) -> None:
    shown = questions.decisions(found.slice(0, limit))
    lines = [line for row in shown for line in wrapped(f"{row.id}  {row.place}  {row.told()}", hang=4)]
    _print([row._asdict() for row in shown], lines, as_json=as_json)
    _more(found.num_rows, limit)


def _why(
    table: "pyarrow.Table", key: str, source: str | None, limit: int, *, words: bool, as_json: bool
) -> None:
    own = questions.about(table, key)
    found = questions.accounts(own if source is None else questions.of_source(own, source))
    refs = questions.referred(table, [one for row in found[:limit] for one in row])
    lines: list[str] = []
    records: list[dict[str, object]] = []
    for row in found[:limit]:
        lines += wrapped(f"{row[0].id}  {row[0].place}  ({row[0].source})", hang=4)
        for one in row:
            lines += wrapped(f"  {one.seq + 1}. {one.told(refs.get(one.ref or ''))}", hang=5)
        records += [one._asdict() for one in row]
        if words:
            said = _words(row[0])
            records.append({"id": row[0].id, "place": row[0].place, "turns": said})
            for role, text in said:
                lines += wrapped(f"    {role}: {CONTROL.sub(chr(0xFFFD), text)}", hang=6)
    _print(records, lines, as_json=as_json)
    _more(len(found), limit)


def _words(decision: questions.Decision) -> list[tuple[str, str]]:
    """Role and text of each turn, as the source's file holds them now; raises DataError when they are not those."""
    declared = [one for one in load().curate.sources if one.name == decision.source]
    paths = [(one, path) for one in declared for path in one.paths() if path.as_posix() == decision.file]
    rows = [row for one, path in paths for row in _rows(one, path) if row.line == decision.line]
    for row in rows:
        if draft_of(row, source=decision.source, licence="").id == decision.id:
            left_off = [(f"{turn.role} (left off)", turn.text) for turn in row.unanswered]
            return [(turn.role, turn.text) for turn in row.turns] + left_off or [("nobody", "(could not be read)")]
    if rows:
        raise DataError(f"{decision.place} holds another dialogue now than the ledger accounts for. Restore the file, "
                        "or run `dvc repro curate` again.")
    raise DataError(f"{decision.place} is not among the sources that params.yaml declares now ({decision.source}). "
                    "Restore the file, or declare its source.")


def _rows(source: Source, path: Path) -> Iterator[Row]:
    """The rows of a file, as far as it can be read."""
    with suppress(CutError):
        yield from source.rows(path)


def _changes(before: "pyarrow.Table", after: "pyarrow.Table", limit: int, *, as_json: bool) -> None:
    found = questions.changes(before, after)
    new, gone = sum(one.before is None for one in found), sum(one.after is None for one in found)
    lines = [f"{len(found) - new - gone} rows decided otherwise, {new} new, {gone} gone"]
    lines = (lines if found else ["every row was decided alike"]) + decided_lines(found, limit)
    if shifted := _shifted(questions.counts(before), questions.counts(after)):
        lines += ["", "decisions by rule, of which there are more or fewer", *aligned(
            ("decision", "step", "rule", "before", "now", "change"), shifted)]
    _print([one._asdict() for one in found], lines, as_json=as_json)


def decided_lines(found: Sequence[questions.Change], limit: int) -> list[str]:
    """Changes by what was and is said of a row, with ids."""
    lines: list[str] = []
    for (before, after), rows in questions.by_fate(list(found)).items():
        lines += ["", *wrapped(f"{len(rows):>7}  {before}  ->  {after}", hang=9)]
        lines += [line for one in rows[:limit] for line in wrapped(f"         {one.id}  {one.place}", hang=4)]
        lines += [f"         … and {len(rows) - limit} more"] if len(rows) > limit else []
    return lines


def _shifted(before: Sequence[questions.Count], after: Sequence[questions.Count]
             ) -> list[tuple[str, str, str, int, int, str]]:
    """Numbers of decisions that differ, over all sources."""
    numbers: dict[tuple[str, str, str], list[int]] = {}
    for side, counted in enumerate((before, after)):
        for one in counted:
            numbers.setdefault((one.action, one.step, one.rule), [0, 0])[side] += one.decisions
    return [(*key, a, b, f"{b - a:+}") for key, (a, b) in sorted(numbers.items()) if a != b]


def _forecast(table: "pyarrow.Table", at: Path, told: str, source: str | None, limit: int, *, as_json: bool) -> None:
    scorer, op, wanted = questions.limit_of(told)
    scores = questions.scores_of(at, scorer)
    if scorer == HEARD and not (questions.sides(table, scorer) or _declared_sides(scorer)):
        raise DataError(f"what another limit of {scorer} would do cannot be foretold without a run: step hear drops "
                        "nothing by it. It writes into the tags what danger is told, and the steps after it (referral, "
                        "tiers, mix) and the sample decide by these tags, each about other dialogues than now. Change "
                        "hear's scorer.threshold in params.yaml, run `dvc repro curate`, and ask `attune ledger "
                        "--against HEAD`.")
    table = table if source is None else questions.of_source(table, source)
    op = op if op != "=" else _side(table, scorer, wanted)
    found = questions.forecast(table, scores, scorer, wanted, op=op)
    now = "; ".join(f"{side} {', '.join(f'{one:g}' for one in limits)}" for side, limits in found.now.items())
    lines = wrapped(f"{scorer}, dropping at {op} {wanted:g}{f' in {source}' if source else ''} instead of "
                    f"{now or 'no limit by which a row was dropped'}:")
    if any(len(limits) > 1 for limits in found.now.values()):
        lines += ["(Sources have limits of their own here; --source asks about one of them.)"]
    lines += [f"{len(found.dropped):>7} kept dialogues would be dropped",
              f"{len(found.let_on):>7} dropped ones would go on to the steps after it, which may still drop them",
              f"{found.anyhow:>7} would be dropped here that another limit or a later step takes out now",
              f"{found.unscored:>7} could not be scored, whatever the limit",
              f"{found.unknown:>7} cannot be foretold: taken out before it, or never scored by it"]
    if any(one.rule == "not_in_sample" for one in questions.counts(table)):
        lines += ["A sample was drawn (curate.dialogues): others that are fit would be drawn in their place."]
    for what, rows in (("would be dropped", found.dropped), ("would go on", found.let_on)):
        lines += ["", f"{what}:"] if rows else []
        lines += [line for one in rows[:limit] for line in wrapped(f"{one.score:9.4f}  {one.id}  {one.place}", hang=4)]
        lines += [f"  … and {len(rows) - limit} more (--limit)"] if len(rows) > limit else []
    plain = {**found._asdict(), **{name: [one._asdict() for one in getattr(found, name)]
                                   for name in ("dropped", "let_on")}}
    _print([plain], lines, as_json=as_json)


def _side(table: "pyarrow.Table", scorer: str, wanted: float) -> str:
    """Which side of its limit a scorer drops on: as the ledger shows, else as params.yaml declares."""
    found = set(questions.sides(table, scorer)) or _declared_sides(scorer)
    if len(found) == 1:
        return found.pop()
    why = "drops on both sides" if found else "has no limit"
    raise DataError(f"{scorer} {why} here; say which side is meant: --if '{scorer}>={wanted:g}' or "
                    f"--if '{scorer}<{wanted:g}'.")


def _declared_sides(scorer: str) -> set[str]:
    try:
        steps = load().curate.steps
    except AttunementError:  # a ledger may be asked where no params.yaml is
        return set()
    own = [step for step in steps if isinstance(step, ScoreStep) and step.scorer.name == scorer]
    return {op for step in own for op, limit in ((">=", step.drop_at_least), ("<", step.drop_below))
            if limit is not None}


@ends_clearly
def compare_datasets(
    first: Annotated[str, typer.Argument(help="A folder that stage curate published, or a git revision whose "
                                            "dvc.lock was committed.")],
    second: Annotated[str, typer.Argument(help="The other, likewise.")],
    data: Annotated[bool, typer.Option("--data", help="Always given: runs are compared by `make compare`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Compare two versions of the dataset: attune compare --data HEAD~1 out/curate.

    Rows, splits, composition and scores, and what the rules decided otherwise.
    """
    if not data:
        raise DataError("attune compare takes --data and two versions of the dataset; `make compare` and `dvc exp "
                        "show` compare runs.")
    files = ("ledger.parquet", *(f"{name}.parquet" for name in SPLITS))
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        found = compare(version(first, Path(one), files), version(second, Path(other), files))
    _print([found.plain()], lines_of(found, first, second), as_json=as_json)


def lines_of(found: Comparison, first: str, second: str) -> list[str]:
    """The comparison on a page."""
    lines = wrapped(f"{found.both} dialogues in both, {len(found.only_first)} in {first} alone, "
                    f"{len(found.only_second)} in {second} alone", hang=2)
    numbers = f"{len(found.moved)} moved from one split to another, {len(found.changed)} with other words"
    lines += [numbers + (f", {len(found.rewritten)} places read otherwise" if found.rewritten is not None else "")]
    moved = [(key, f"{a} -> {b}") for key, (a, b) in found.moved.items()]
    changed = [(key, "") for key in found.changed]
    rewritten = [(one.place, f"{one.before} -> {one.after}") for one in found.rewritten or ()]
    for what, rows in (("moved", moved), ("other words", changed), ("read otherwise", rewritten)):
        lines += [line for row in rows[:SHOWN] for line in wrapped(f"  {what}  {'  '.join(row)}".rstrip(), hang=4)]
        lines += [f"  … and {len(rows) - SHOWN} more (--json)"] if len(rows) > SHOWN else []
    tagged = {name: values for name, values in found.composition.items() if set(values) != {NO_TAG}}
    for name, values in tagged.items():
        lines += ["", *aligned((name, "first", "", "second", "", "points"), _shares(values, found.sizes)),
                  f"  {shift(values, found.sizes):.1%} of dialogues would have to differ for these to be alike"]
    for what, quantities in (("length", found.lengths), ("score", found.scores)):
        if quantities:
            lines += ["", *aligned((what, "", "n", "unscored", "mean", "median", "95%"),
                                   [one for name, pair in quantities.items() for one in _spreads(name, pair)])]
    lines += ["", "what the rules decided otherwise, from the ledgers"]
    lines += ["  no ledger stands beside one of them"] if found.decided is None else (
        decided_lines(found.decided, 3) or ["  nothing"])
    return lines


def _shares(values: Mapping[str, tuple[int, int]], sizes: tuple[int, int]) -> list[tuple[str, int, str, int, str, str]]:
    """Numbers and shares by value, the largest shifts first."""
    a, b = (max(1, size) for size in sizes)
    rows = sorted(values.items(), key=lambda pair: (-abs(pair[1][1] / b - pair[1][0] / a), -sum(pair[1]), pair[0]))
    shown = [(value, one, f"{one / a:.1%}", other, f"{other / b:.1%}", f"{100 * (other / b - one / a):+.1f}")
             for value, (one, other) in rows[:SHOWN]]
    if rest := rows[SHOWN:]:
        one, other = (sum(numbers[side] for _, numbers in rest) for side in (0, 1))
        shown.append((f"{len(rest)} others (--json)", one, f"{one / a:.1%}", other, f"{other / b:.1%}",
                      f"{100 * (other / b - one / a):+.1f}"))
    return shown


def _spreads(name: str, pair: tuple[Spread | None, Spread | None]) -> list[tuple[object, ...]]:
    return [(label, which, "-", "-", "-", "-", "-") if one is None else
            (label, which, one.n, one.unscored, f"{one.mean:.3f}", f"{one.median:.3f}", f"{one.p95:.3f}")
            for label, which, one in ((name, "first", pair[0]), ("", "second", pair[1]))]


def version(named: str, into: Path, files: Sequence[str]) -> Path:
    """The folder itself, or these files of out/curate as a git revision has them; raises DataError for neither."""
    if Path(named).is_dir():
        return Path(named)
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        # Not DVCFileSystem(rev=…): of a revision that is none it leaves git's files open.
        with Repo(uninitialized=True) as repo, repo.switch(named):
            for name in files:
                DVCFileSystem(repo=repo).get_file((CURATED / name).as_posix(), str(into / name))
    except (DvcException, SCMError, OSError) as error:
        raise DataError(f"'{named}' is no folder, and {CURATED} cannot be had as of such a git revision "
                        f"({type(error).__name__}): it is no revision, or neither the cache nor a remote keeps what it "
                        "made. `dvc fetch --all-commits` brings what a remote keeps.") from None
    return into


def aligned(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table of plain text: words to the left, numbers to the right; words are cut where it would be too wide."""
    text = [[str(value) for value in row] for row in rows]
    number = [all(isinstance(row[at], int) or _is_number(row[at]) for row in rows) for at in range(len(heads))]
    widths = [max(map(len, (head, *(row[at] for row in text)))) for at, head in enumerate(heads)]
    while (excess := sum(widths) + 2 * (len(widths) - 1) - COLUMNS) > 0:
        widest = max((width, at) for at, width in enumerate(widths) if not number[at])[1]
        if widths[widest] <= LEAST:
            break
        others = max((width for at, width in enumerate(widths) if not number[at] and at != widest), default=LEAST)
        widths[widest] = max(LEAST, min(widths[widest] - 1, max(others, widths[widest] - excess)))
    return ["  ".join(_cell(value, width, right=right)
                      for value, width, right in zip(row, widths, number, strict=True)).rstrip()
            for row in (heads, *text)]


def _is_number(value: object) -> bool:
    return isinstance(value, str) and (not value or value == "-" or re.fullmatch(r"[+-]?[\d.]+%?", value) is not None)


def _cell(value: object, width: int, *, right: bool) -> str:
    text = str(value)
    text = text if len(text) <= width else f"{text[: width - 1]}…"
    return text.rjust(width) if right else text.ljust(width)


def wrapped(text: str, *, hang: int = 0) -> list[str]:
    """Lines that fit, all but the first indented; a path or an id is never broken, so that it can be copied."""
    return [line for number, part in enumerate(text.split("\n")) for line in textwrap.wrap(
        part, COLUMNS, initial_indent=" " * hang if number else "", subsequent_indent=" " * hang,
        break_long_words=False, break_on_hyphens=False)]


def _more(n: int, limit: int) -> None:
    if n > limit:
        typer.echo(f"… and {n - limit} more (--limit)", err=True)


def _print(records: Sequence[Mapping[str, object]], lines: list[str], *, as_json: bool) -> None:
    for line in [json.dumps(one, ensure_ascii=False) for one in records] if as_json else lines:
        typer.echo(line)
