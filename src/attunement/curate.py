"""Stage curate: declared corpora → ``out/curate``: train, val and test dialogues, and a ledger of every row.

Every row of every source becomes a draft; the steps of ``curate.steps``, in their order, mend it, tag it, or take it
out with a reason; what is left is sampled where a number is declared, and split by groups that belong together. Steps
that decide about each dialogue by itself run wherever ``curate.engine`` says, with the same bytes as a result. A later
stage learns only from what is kept.
"""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from attunement import audit, croissant, datasheet, flaws, leaks
from attunement.artefacts import (
    dialogue_schema,
    ledger_schema,
    publishing,
    score_schema,
    write_json,
    write_parquet,
    write_text,
)
from attunement.drafts import DECISIVE, Draft, Note, draft_of, ledger_rows
from attunement.errors import DataError, ends_clearly
from attunement.flaws import Measured
from attunement.leaks import Held, Limits, check_leaks, cut
from attunement.params import Curate, load
from attunement.phrases import Severity
from attunement.process import begin, without_collector
from attunement.records import Dialogue, DialogueScore, LedgerRow
from attunement.runner import running
from attunement.sampling import first_of_each
from attunement.score_cache import ScoreCache
from attunement.sources.base import Row, Source
from attunement.splits import SPLITS
from attunement.steps.asking import Work
from attunement.steps.hear import HearStep
from attunement.steps.lost import lost
from attunement.steps.order import after_steps
from attunement.steps.score import ScoreStep
from attunement.suites import read_flawed

OUT = Path("out/curate")
FAILED = Path("out/curate.failed")  # the ledger of a run that was stopped, until one succeeds
TOLD = 10  # rules that the error of a stopped run counts
LABELLED = ("flawed", "fine")  # of data/suites/curation: what the rules are measured on


@dataclass
class Curated:
    """What curation decided: every draft with its notes, and what follows from them."""

    drafts: list[Draft]
    splits: dict[str, list[Dialogue]] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)
    held: dict[str, list[Held]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Rows read and what became of them; the parts add up to the whole."""
        actions = Counter(row.action for row in self.ledger if row.action in DECISIVE)
        return {"read": len(self.drafts), **{name: actions[name] for name in DECISIVE}}


def curate(params: Curate, rows: Iterable[tuple[Source, Row]], work: Work) -> Curated:
    """Decide about every row, in order. Rows in, decisions out."""
    read = (draft_of(row, source=source.name, licence=source.licence) for source, row in rows)
    drafts = after_steps(params.steps, read, work)
    fit = sorted((draft for draft in drafts if not draft.out), key=lambda draft: draft.id)
    fit = _sampled(fit, params)
    held = cut(fit, limits_of(params), work, val_frac=params.val_frac, test_frac=params.test_frac)
    return replace(finished(drafts, fit), held=held)


def limits_of(params: Curate) -> Limits:
    """From which likeness on dialogues lie in one split."""
    return Limits(params.group_jaccard, params.group_similarity)


def finished(drafts: list[Draft], fit: Sequence[Draft]) -> Curated:
    """The account of all drafts, once those that are fit have their split."""
    with without_collector():
        return _finished(drafts, fit)


def _finished(drafts: list[Draft], fit: Sequence[Draft]) -> Curated:
    for draft in fit:
        draft.note(Note("kept", "split", "split", draft.split))
    drafts.sort(key=lambda draft: (draft.source, draft.file, draft.line))
    done = Curated(drafts, {name: [] for name in SPLITS}, [entry for draft in drafts for entry in ledger_rows(draft)])
    for draft in fit:
        done.splits[draft.split].append(_dialogue(draft))
    return done


def _sampled(fit: Sequence[Draft], params: Curate) -> list[Draft]:
    """Of more dialogues than declared a sample by severity; the others are told of."""
    taken = first_of_each(fit, params.dialogues, stratum=lambda draft: Severity.of(draft.tags.get("risk", "none")))
    chosen = {id(draft) for draft in taken}
    for draft in fit:
        if id(draft) not in chosen:
            draft.note(Note("dropped", "sample", "not_in_sample", f"{len(taken)} of {len(fit)}, curate.dialogues"))
    return taken


def _dialogue(draft: Draft) -> Dialogue:
    return Dialogue(id=draft.id, source=draft.source, licence=draft.licence, locale=draft.locale, turns=draft.turns,
                    tags=draft.tags, scores=draft.scores)


def check_quarantine(done: Curated, limit_frac: float) -> None:
    """Raise DataError, naming the first rows, when more than the declared share was quarantined."""
    bad = [row for row in done.ledger if row.action == "quarantined"]
    share = len(bad) / max(1, done.counts()["read"])
    if share > limit_frac:
        rows = "\n".join(f"  {row.file}:{row.line}  {row.rule}: {row.evidence}" for row in bad[:10])
        more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise DataError(f"{len(bad)} of {done.counts()['read']} rows are broken ({share:.1%}), more than "
                        f"curate.max_quarantined_frac allows ({limit_frac:.1%}):\n{rows}{more}\n"
                        "Mend these rows, or raise the limit in params.yaml if losing them is right.")


def check_splits(done: Curated) -> None:
    """Raise DataError, with the size of the largest group, when there is nothing to train on or to validate with."""
    if not done.drafts:
        raise DataError("no row was read: the files of curate.sources are empty. Put dialogues there, or correct "
                        "`files`.")
    empty = [name for name in ("train", "val") if not done.splits[name]]
    if not empty:
        return
    fit = [draft for draft in done.drafts if draft.split]
    groups = Counter(draft.together for draft in fit).most_common()
    told = f"Fit are {len(fit)} dialogues in {len(groups)} groups, each of which lies in one split whole"
    if groups:
        first = next(draft for draft in fit if draft.together == groups[0][0])
        told += (f". The largest has {groups[0][1]} and begins at {first.file}:{first.line}: its dialogues share a "
                 "thread, an opening or most words, or mean the same (curate.sources: group; curate.group_jaccard, "
                 "curate.group_similarity)")
    raise DataError(f"no dialogue is left for: {', '.join(empty)}. {told}. Add dialogues, or change "
                    "curate.val_frac and curate.test_frac.")


def check_all(done: Curated, params: Curate) -> None:
    """Raise DataError when the dataset may not be published, with what the rules decided; FAILED has its ledger."""
    try:
        check_quarantine(done, params.max_quarantined_frac)
        check_splits(done)
        check_leaks(done.held, limits_of(params))
    except DataError as error:
        with publishing(FAILED) as folder:
            write_parquet(folder / "ledger.parquet", done.ledger, ledger_schema())
            write_parquet(folder / "scores.parquet", list(_scores(done.drafts, params)), score_schema())
        sorts = Counter(sort for draft in done.drafts
                        for sort in {(note.action, note.step, note.rule) for note in draft.notes})
        ordered = sorted((n, *sort) for sort, n in sorts.items() if sort[0] != "kept")
        ordered.sort(key=lambda one: (one[1] not in DECISIVE, -one[0]))
        rules = [f"  {n:>7}  {action} by {step}: {rule}" for n, action, step, rule in ordered[:TOLD]]
        rules += [f"  … and {len(ordered) - TOLD} rules more"] if len(ordered) > TOLD else []
        counts = ", ".join(f"{name} {n}" for name, n in done.counts().items())
        raise DataError("\n".join([
            str(error), f"Rows of this run: {counts}.", *rules, *lost(done.drafts, params.steps),
            f"Nothing was published. `attune ledger --at {FAILED}` answers for this run."])) from None


def publish(done: Curated, params: Curate, measured: Mapping[str, Measured] | None, out: Path = OUT) -> None:
    """Write the splits, the ledger, the scores, what people read of them, and what they are asked, all or nothing."""
    with publishing(out) as folder, without_collector():
        for name, dialogues in done.splits.items():
            write_parquet(folder / f"{name}.parquet", dialogues, dialogue_schema())
        write_parquet(folder / "ledger.parquet", done.ledger, ledger_schema())
        write_parquet(folder / "scores.parquet", list(_scores(done.drafts, params)), score_schema())
        found = leaks.summary(done.held, limits_of(params))
        write_json(folder / "summary.json", datasheet.summary(done.counts(), done.ledger, done.splits, found))
        write_text(folder / "datasheet.md",
                   datasheet.render(done.counts(), done.ledger, done.splits, params.sources, measured, found))
        write_text(folder / "croissant.json", croissant.described(folder, params.sources, params.steps))
        audit.write(folder / "audit.jsonl", done.drafts, params.audit)


def _scores(drafts: Sequence[Draft], params: Curate) -> Iterator[DialogueScore]:
    """Every score of every dialogue, also of those that were taken out afterwards."""
    scorers = [step.scorer for step in params.steps if isinstance(step, ScoreStep | HearStep)]
    versions = {scorer.name: scorer.version for scorer in scorers}
    for draft in sorted(drafts, key=lambda draft: (draft.id, draft.file, draft.line)):
        for name, value in sorted(draft.scores.items()):
            yield DialogueScore(id=draft.id, scorer=name, version=versions[name], value=value)


@ends_clearly
def main() -> None:
    """``python -m attunement.curate``"""
    params = load().curate
    rows = ((source, row) for source in params.sources for row in source.read())
    cache = ScoreCache(Path(params.score_cache))
    began = time.perf_counter()
    with running(params.engine) as runner:
        work = Work(runner, cache)
        done = curate(params, rows, work)
        read = {draft.source for draft in done.drafts}
        for source in params.sources:
            if source.name not in read:
                print(f"curate: source '{source.name}' has files, and no row was read from them", file=sys.stderr)
        check_all(done, params)
        for told in lost(done.drafts, params.steps):
            print(f"curate: {told}", file=sys.stderr)
        labelled = [one for name in LABELLED for one in read_flawed(name)]
        measured = flaws.measured(params.steps, labelled, work)
    publish(done, params, measured)
    shutil.rmtree(FAILED, ignore_errors=True)
    seconds = time.perf_counter() - began
    for name, spent in work.spent.items():
        print(f"curate: {spent.line(name, seconds)}", file=sys.stderr)
    counts = ", ".join(f"{name} {n}" for name, n in done.counts().items())
    sizes = ", ".join(f"{name} {len(dialogues)}" for name, dialogues in done.splits.items())
    print(f"curate: {seconds:.0f} s; {counts}; {sizes}. Why: `attune ledger`; {OUT}/datasheet.md", file=sys.stderr)


if __name__ == "__main__":
    begin("curate", __doc__)
    main()
