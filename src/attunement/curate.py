"""Stage curate: declared corpora → ``out/curate``: train, val and test dialogues, and a ledger of every row.

In order: rows that do not parse or break the form of a dialogue are quarantined; exact duplicates are dropped;
dialogues of crisis without an explicit safe referral are dropped; of the rest a declared number is taken, stratified
by severity, and split by a hash of its content, so that a dialogue keeps its split when the corpus grows. A later
stage learns only from what is kept.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attunement import datasheet
from attunement.artefacts import dialogue_schema, ledger_schema, publishing, write_json, write_parquet, write_text
from attunement.errors import DataError, ends_clearly
from attunement.helplines import Helplines, load_helplines
from attunement.params import Curate, load
from attunement.phrases import Severity
from attunement.process import begin
from attunement.records import Action, Dialogue, LedgerRow, Turn, turns_id
from attunement.referral import judge_referral, referral_in
from attunement.risk import risk_told
from attunement.sampling import sample
from attunement.sources.base import Row, Source

OUT = Path("out/curate")
SPLITS = ("train", "val", "test")


@dataclass
class Curated:
    """What curation decided: dialogues by split, and one ledger row per decision."""

    splits: dict[str, list[Dialogue]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    ledger: list[LedgerRow] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Rows read and what became of them; the parts add up to the whole."""
        actions = Counter(row.action for row in self.ledger if row.action != "changed")
        return {"read": actions.total(), **{name: actions[name] for name in ("kept", "dropped", "quarantined")}}


def curate(params: Curate, rows: Iterable[tuple[Source, Row]], helplines: Helplines) -> Curated:
    """Decide about every row, in order. Pure: rows in, decisions out."""
    done = Curated()
    seen: dict[str, str] = {}
    fit: list[tuple[Dialogue, _Book]] = []
    for source, row in rows:
        book = _Book(done.ledger, source, row)
        if row.fault is not None:
            book.note("quarantined", "unreadable", f"{row.fault_at}: {row.fault}")
            continue
        if problem := form_problem(row, params):
            book.note("quarantined", *problem)
            continue
        key = _normalised(row)
        if key in seen:
            book.note("dropped", "exact_duplicate", f"of {seen[key]}")
            continue
        seen[key] = book.id
        if gap := _referral_gap(row, helplines):
            book.note("dropped", "crisis_without_safe_referral", gap.evidence, score=gap.share, limit=1.0)
            continue
        fit.append((_dialogue(source, row, book), book))
    _divide(fit, params, done)
    for dialogues in done.splits.values():
        dialogues.sort(key=lambda dialogue: dialogue.id)
    done.ledger.sort(key=lambda entry: (entry.file, entry.line))
    return done


def _divide(fit: Sequence[tuple[Dialogue, "_Book"]], params: Curate, done: Curated) -> None:
    """Dialogues that may be learnt from into splits; of more than the declared number a sample by severity of risk."""
    ordered = sorted(fit, key=lambda one: one[0].id)
    taken = sample(ordered, params.dialogues, stratum=lambda one: Severity.of(one[0].tags.get("risk", "none")))
    chosen = {dialogue.id for dialogue, _ in taken}
    for dialogue, book in fit:
        if dialogue.id not in chosen:
            book.note("dropped", "not_in_sample", f"{len(chosen)} of {len(fit)}, curate.dialogues")
            continue
        split = _split_of(dialogue.id, params)
        done.splits[split].append(dialogue)
        book.note("kept", "split", split)


@dataclass
class _Book:
    """Writes ledger rows about one row of a source."""

    ledger: list[LedgerRow]
    source: Source
    row: Row

    @property
    def id(self) -> str:
        """The hash of what is spoken, as the dialogue's own; a row that did not parse is known by its place."""
        spoken = _spoken(self.row)
        return turns_id(spoken) if spoken else f"{self.row.file}:{self.row.line}"

    def note(
        self, action: Action, rule: str, evidence: str, *, score: float | None = None, limit: float | None = None
    ) -> None:
        self.ledger.append(
            LedgerRow(id=self.id, source=self.source.name, file=self.row.file, line=self.row.line, action=action,
                      rule=rule, evidence=evidence, score=score, limit=limit)
        )


def form_problem(row: Row, params: Curate) -> tuple[str, str] | None:
    """(rule, evidence) when the turns are not a dialogue of user and assistant, user first, assistant last."""
    spoken = _spoken(row)
    if any(turn.role == "system" for turn in row.turns[1:]):
        return "roles", "a system turn after the first turn"
    for i, turn in enumerate(spoken):
        expected = "user" if i % 2 == 0 else "assistant"
        if turn.role != expected:
            return "roles", f"turn {i}: expected {expected}, got {turn.role}"
    if not spoken or spoken[-1].role != "assistant":
        return "roles", "the last turn is not the assistant's"
    if not params.min_turns <= len(spoken) <= params.max_turns:
        return "turns", f"{len(spoken)} turns, expected {params.min_turns} to {params.max_turns}"
    try:
        risk_told((), row.tags)
    except DataError as error:
        return "tags", str(error)
    return None


def _spoken(row: Row) -> tuple[Turn, ...]:
    """The turns without the source's own system prompt."""
    return tuple(turn for turn in row.turns if turn.role != "system")


def _normalised(row: Row) -> str:
    """Equal for dialogues that differ only in case and white space."""
    text = "\n".join(f"{turn.role}:{' '.join(turn.text.casefold().split())}" for turn in _spoken(row))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Gap:
    evidence: str
    share: float


def _referral_gap(row: Row, helplines: Helplines) -> _Gap | None:
    """What is missing when the dialogue holds risk and its assistant's words hold no complete safe referral.

    What the words show and what the source's own tags say count together: a tag may raise the demand and never
    lower it.
    """
    replies = [turn.text for turn in row.turns if turn.role == "assistant"]
    severity, kind = risk_told(row.turns, row.tags)
    if severity == Severity.NONE:
        return None
    referral = referral_in(replies, locale=row.locale, helplines=helplines)
    verdict = judge_referral(referral, severity, kind=kind)
    if verdict.label == "complete":
        return None
    return _Gap(evidence=f"{severity.label} risk; {verdict.because}", share=verdict.share)


def _dialogue(source: Source, row: Row, book: _Book) -> Dialogue:
    """The record that later stages read; a system prompt of the source is replaced by ours, so it is left out."""
    turns = _spoken(row)
    if len(turns) < len(row.turns):
        book.note("changed", "system_turn_removed", "turn 0")
    return Dialogue(id=turns_id(turns), source=source.name, licence=source.licence, locale=row.locale, turns=turns,
                    tags=row.tags, scores={})


def _split_of(dialogue_id: str, params: Curate) -> str:
    """By hash of the dialogue's id: stable when other dialogues come or go."""
    place = int(hashlib.sha256(dialogue_id.encode()).hexdigest()[:13], 16) / 16**13
    if place < params.test_frac:
        return "test"
    return "val" if place < params.test_frac + params.val_frac else "train"


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


def check_splits(splits: dict[str, list[Dialogue]]) -> None:
    """Raise DataError when there is nothing to train on or to validate with."""
    empty = [name for name in ("train", "val") if not splits[name]]
    if empty:
        raise DataError(f"no dialogue is left for: {', '.join(empty)}. Add dialogues or change curate.val_frac and "
                        "curate.test_frac; the ledger says why each row was dropped.")


def publish(done: Curated, sources: Sequence[Source], out: Path = OUT) -> None:
    """Write the splits, the ledger, the summary and the datasheet, all or nothing."""
    with publishing(out) as folder:
        for name, dialogues in done.splits.items():
            write_parquet(folder / f"{name}.parquet", dialogues, dialogue_schema())
        write_parquet(folder / "ledger.parquet", done.ledger, ledger_schema())
        write_json(folder / "summary.json", datasheet.summary(done.counts(), done.ledger, done.splits))
        write_text(folder / "datasheet.md", datasheet.render(done.counts(), done.ledger, done.splits, sources))


@ends_clearly
def main() -> None:
    """``python -m attunement.curate``"""
    params = load().curate
    helplines = load_helplines(Path(params.helplines))
    rows = ((source, row) for source in params.sources for row in source.read())
    done = curate(params, rows, helplines)
    check_quarantine(done, params.max_quarantined_frac)
    check_splits(done.splits)
    publish(done, params.sources)
    counts = ", ".join(f"{name} {n}" for name, n in done.counts().items())
    sizes = ", ".join(f"{name} {len(dialogues)}" for name, dialogues in done.splits.items())
    print(f"curate: {counts}; {sizes}. Reasons: {OUT}/ledger.parquet, {OUT}/datasheet.md", file=sys.stderr)


if __name__ == "__main__":
    begin("curate", __doc__)
    main()
