"""What a curated corpus looks like, in numbers and in words that a person can read.

Follows the headings of Gebru et al., "Datasheets for Datasets" (2021), as far as a pipeline can fill them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from attunement.drafts import DECISIVE
from attunement.flaws import NONE, Measured
from attunement.records import Dialogue, LedgerRow
from attunement.sources.base import Source
from attunement.stats import rate_interval

Splits = Mapping[str, Sequence[Dialogue]]


def summary(counts: Mapping[str, int], ledger: Sequence[LedgerRow], splits: Splits) -> dict[str, object]:
    """Counts by split and by rule, as plain JSON."""
    rules = Counter(f"{row.action}:{row.step}:{row.rule}" for row in ledger if row.action != "kept")
    return {
        "rows": dict(counts),
        "dialogues": {name: len(dialogues) for name, dialogues in splits.items()},
        "turns": {name: sum(len(d.turns) for d in dialogues) for name, dialogues in splits.items()},
        "rules": dict(sorted(rules.items())),
    }


def render(
    counts: Mapping[str, int], ledger: Sequence[LedgerRow], splits: Splits, sources: Sequence[Source],
    measured: Mapping[str, Measured] | None,
) -> str:
    """The datasheet as Markdown. It holds counts and rules, no word of any dialogue."""
    kept = [dialogue for dialogues in splits.values() for dialogue in dialogues]
    replies = [len(turn.text.split()) for d in kept for turn in d.turns if turn.role == "assistant"]
    rules = Counter((row.action, row.step, row.rule) for row in ledger if row.action != "kept")
    parts = [
        "# Datasheet",
        "## Sources",
        _table(("source", "licence", "consent", "rows read", "kept"), [_source_row(s, ledger) for s in sources]),
        "## Every row accounted for",
        f"{counts['read']} read = {counts['kept']} kept + {counts['dropped']} dropped + "
        f"{counts['quarantined']} quarantined. `attune ledger` answers why for each.",
        _table(("action", "step", "rule", "decisions"), [(*key, n) for key, n in sorted(rules.items())]) if rules
        else "No row was changed, dropped or quarantined.",
        "## What the rules find",
        *_measured(measured),
        "## Splits",
        _table(("split", "dialogues", "turns"),
               [(name, len(ds), sum(len(d.turns) for d in ds)) for name, ds in splits.items()]),
        "A dialogue's split follows from a hash of the group that it belongs to: its thread, its opening words, and "
        "what is nearly the same. No group lies in two.",
        "## Composition of what is kept",
        f"Words in an assistant's turn: mean {sum(replies) / max(1, len(replies)):.1f}, "
        f"longest {max(replies, default=0)} (n = {len(replies)}).",
        *(_composition(splits, tag) for tag in ("risk", "topic", "style", "tier")),
        _table(("locale", "dialogues"), Counter(d.locale for d in kept).most_common()),
        *_scores(kept),
        "## What it cannot be used for",
        "The rules see words, not people. A dialogue that passed them all may still be unhelpful; what is told in "
        "other words than the rules and classifiers know is not found. No clinician has judged these dialogues unless "
        "their source says so. `audit.jsonl` is a sample of decisions to read and disagree with.",
    ]
    return "\n\n".join(parts) + "\n"


def _measured(measured: Mapping[str, Measured] | None) -> list[str]:
    """Recall of each labelled flaw and precision of each step, with exact 95% intervals."""
    if measured is None:
        return ["Not measured in this run."]
    flaws = [(name, f"{one.found} of {one.n}", _rate(one.found, one.n)) for name, one in measured.items() if one.n
             and name != NONE]
    steps = [(name.removeprefix("step "), f"{one.right} of {one.fired}", _rate(one.right, one.fired))
             for name, one in measured.items() if one.fired]
    fine = measured[NONE]
    return [
        "On the labelled dialogues of data/suites/curation, with the steps as declared; exact 95% intervals. Found is "
        "what a step that is meant for the flaw took out or masked; one that another step took first does not count.",
        _table(("flaw", "found", "recall"), flaws),
        f"Without a flaw and untouched: {fine.found} of {fine.n}, {_rate(fine.found, fine.n)}.",
        _table(("step", "right", "precision"), steps),
    ]


def _rate(k: int, n: int) -> str:
    found = rate_interval(k, n, confidence=0.95)
    return "-" if found is None else f"{k / n:.2f} ({found.low:.2f} to {found.high:.2f})"


def _scores(kept: Sequence[Dialogue]) -> list[str]:
    """Mean and quartiles of every scorer."""
    values: dict[str, list[float | None]] = {}
    for dialogue in kept:
        for name, value in dialogue.scores.items():
            values.setdefault(name, []).append(value)
    rows = []
    for name, every in sorted(values.items()):
        known = sorted(value for value in every if value is not None)
        if known:
            cuts = [f"{known[min(len(known) - 1, int(at * len(known)))]:.3f}" for at in (0.25, 0.5, 0.75)]
            rows.append((name, len(known), len(every) - len(known), f"{sum(known) / len(known):.3f}", *cuts))
    return ["## Scores", _table(("scorer", "n", "unscored", "mean", "25%", "50%", "75%"), rows)] if rows else []


def _source_row(source: Source, ledger: Sequence[LedgerRow]) -> tuple[object, ...]:
    own = [row.action for row in ledger if row.source == source.name and row.action in DECISIVE]
    return source.name, source.licence, source.consent, len(own), own.count("kept")


def _composition(splits: Splits, tag: str) -> str:
    """Counts of a tag's values, over all and by split."""
    by_split = {name: Counter(d.tags.get(tag, "not tagged") for d in dialogues) for name, dialogues in splits.items()}
    whole = sum(by_split.values(), Counter())
    rows = [(value, n, *(counted[value] for counted in by_split.values()))
            for value, n in sorted(whole.items(), key=lambda pair: (-pair[1], pair[0]))]
    return _table((tag, "dialogues", *by_split), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
