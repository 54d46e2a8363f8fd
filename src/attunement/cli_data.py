"""``attune ledger`` and ``attune compare``: what curation decided about every row, and how two datasets differ."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from attunement import ledger as questions
from attunement.compare_data import Comparison, compare
from attunement.errors import DataError, ends_clearly
from attunement.params import load

CURATED = Path("out/curate")
At = Annotated[Path, typer.Option("--at", help="A folder that stage curate published.")]


@ends_clearly
def ledger(
    at: At = CURATED,
    why: Annotated[str | None, typer.Option(help="Every decision about one row: an id, its beginning, or FILE:LINE.")]
    = None,
    show: Annotated[str | None, typer.Option(help="The rows that a rule, step or action decided.")] = None,
    source: Annotated[str | None, typer.Option(help="With --show: of one source.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="With --show: how many.")] = 20,
    words: Annotated[bool, typer.Option("--words", help="With --why: read the dialogue again and print it.")] = False,
    against: Annotated[str | None, typer.Option(help="What changed since another folder or git revision.")] = None,
    what_if: Annotated[str | None, typer.Option("--if", help="SCORER=LIMIT: what would change, without a run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object a line.")] = False,
) -> None:
    """Ask the ledger: how many rows, why, show me, what changed, what if.

    Without options: how many rows were read and what became of them, by source, step and rule. The ledger holds no word
    of any dialogue; --words reads them from their file again.
    """
    rows = questions.read(at)
    if why is not None:
        _why(rows, why, words=words, as_json=as_json)
    elif show is not None:
        found = questions.decided_by(rows, show, source)
        shown = found[:limit]
        _print([row._asdict() for row in shown], [f"{row.id}  {row.place}  {row.told()}" for row in shown],
               as_json=as_json)
        if len(found) > limit:
            typer.echo(f"… and {len(found) - limit} more (--limit)", err=True)
    elif against is not None:
        with TemporaryDirectory() as folder:
            _changes(questions.changes(questions.read(version(against, Path(folder))), rows), as_json=as_json)
    elif what_if is not None:
        _forecast(rows, at, what_if, as_json=as_json)
    else:
        _counts(rows, as_json=as_json)


def _counts(rows: list[questions.Decision], *, as_json: bool) -> None:
    total = questions.totals(rows)
    counted = questions.counts(rows)
    lines = [f"{total['read']} read = {total['kept']} kept + {total['dropped']} dropped + "
             f"{total['quarantined']} quarantined", ""]
    widths = [max(len(getattr(one, name)) for one in counted) for name in ("source", "action", "step", "rule")]
    lines += ["  ".join(f"{value:{width}}" for value, width in zip(one, widths, strict=False)) + f"  {one.n:>7}"
              for one in counted]
    _print([total, *(one._asdict() for one in counted)], lines, as_json=as_json)


def _why(rows: list[questions.Decision], key: str, *, words: bool, as_json: bool) -> None:
    found = questions.about(rows, key)
    lines: list[str] = []
    for place in dict.fromkeys(row.place for row in found):
        own = [row for row in found if row.place == place]
        lines += [f"{own[0].id}  {place}  ({own[0].source})", *(f"  {row.seq + 1}. {row.told()}" for row in own)]
        if words:
            lines += [f"    {line}" for line in _words(own[0])]
    _print([row._asdict() for row in found], lines, as_json=as_json)


def _words(decision: questions.Decision) -> list[str]:
    """The dialogue as its source holds it now."""
    for source in load().curate.sources:
        if source.name == decision.source:
            for row in source.read():
                if (row.file, row.line) == (decision.file, decision.line):
                    return [f"{turn.role}: {turn.text}" for turn in row.turns] or ["(could not be read)"]
    raise DataError(f"{decision.place} is not among the sources that params.yaml declares now; restore its file.")


def _changes(found: list[questions.Change], *, as_json: bool) -> None:
    by_sort: dict[tuple[str, str], list[str]] = {}
    for one in found:
        by_sort.setdefault((one.before or "not read", one.after or "not read"), []).append(one.place)
    lines = [f"{len(found)} rows decided otherwise"] if found else ["every row was decided alike"]
    lines += [f"{len(keys):>7}  {before}  ->  {after}   ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
              for (before, after), keys in sorted(by_sort.items())]
    _print([{"id": one.place, "before": one.before, "after": one.after} for one in found], lines, as_json=as_json)


def _forecast(rows: list[questions.Decision], at: Path, told: str, *, as_json: bool) -> None:
    scorer, _, number = told.partition("=")
    try:
        wanted = float(number)
    except ValueError:
        raise DataError(f"--if takes SCORER=LIMIT, such as detoxify=0.5; got '{told}'.") from None
    found = questions.forecast(rows, questions.scores_of(at, scorer), scorer, wanted)
    lines = [f"{scorer} at {wanted:g}: {len(found.dropped)} kept dialogues would be dropped, "
             f"{len(found.let_on)} dropped ones would go on to the steps after it",
             f"{found.unknown} rows were never scored by it (taken out before), of which nothing can be told"]
    lines += [f"  would be dropped  {key}" for key in found.dropped[:20]]
    lines += [f"  would be let on   {key}" for key in found.let_on[:20]]
    _print([found._asdict()], lines, as_json=as_json)


@ends_clearly
def compare_datasets(
    first: Annotated[str, typer.Argument(help="A folder that stage curate published, or a git revision.")],
    second: Annotated[str, typer.Argument(help="The other.")],
    data: Annotated[bool, typer.Option("--data", help="Compare datasets (`make compare` compares runs).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Compare two versions of the dataset: rows, splits, composition, scores, and the rules that decided otherwise."""
    if not data:
        raise DataError("attune compare takes --data and two versions of the dataset; `make compare` and `dvc exp "
                        "show` compare runs.")
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        found = compare(version(first, Path(one)), version(second, Path(other)))
    _print([found.plain()], lines_of(found, first, second), as_json=as_json)


def lines_of(found: Comparison, first: str, second: str) -> list[str]:
    """The comparison on a page."""
    lines = [f"{found.both} dialogues in both, {len(found.only_first)} in {first} alone, {len(found.only_second)} in "
             f"{second} alone",
             f"{len(found.moved)} moved from one split to another, {len(found.changed)} with other words"]
    lines += [f"  moved  {key}: {a} -> {b}" for key, (a, b) in list(found.moved.items())[:20]]
    for name, values in found.composition.items():
        lines += ["", f"{name:24} {'first':>14} {'second':>14}"]
        of_first, of_second = (max(1, size) for size in found.sizes)
        lines += [f"  {value or 'none':22} {a:>6} {a / of_first:>7.1%} {b:>6} {b / of_second:>7.1%}"
                  for value, (a, b) in values.items()]
    if found.scores:
        lines += ["", f"{'mean score (n)':24} {'first':>14} {'second':>14}"]
        lines += [f"  {name:22} {_mean(a):>14} {_mean(b):>14}" for name, (a, b) in found.scores.items()]
    return lines


def _mean(found: tuple[float, int] | None) -> str:
    return "-" if found is None else f"{found[0]:.3f} ({found[1]})"


def version(named: str, into: Path) -> Path:
    """The folder itself, or out/curate as a git revision has it; raises DataError when there is neither."""
    if Path(named).is_dir():
        return Path(named)
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        files = DVCFileSystem(rev=named)
        files.get(CURATED.as_posix(), str(into / "curate"), recursive=True)
    except (DvcException, SCMError, FileNotFoundError, OSError) as error:
        shutil.rmtree(into / "curate", ignore_errors=True)
        raise DataError(f"'{named}' is no folder, and out/curate cannot be had as of such a revision "
                        f"({type(error).__name__}). `dvc fetch` brings what a remote keeps of it.") from None
    return into / "curate"


def _print(records: Sequence[Mapping[str, object]], lines: list[str], *, as_json: bool) -> None:
    for line in [json.dumps(one, ensure_ascii=False) for one in records] if as_json else lines:
        typer.echo(line)
