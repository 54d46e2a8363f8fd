"""What a curated corpus looks like, in numbers and in words that a person can read.

Follows the headings of Gebru et al., "Datasheets for Datasets" (2021), as far as a pipeline can fill them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from attunement.records import Dialogue, LedgerRow
from attunement.sources.base import Source

Splits = Mapping[str, Sequence[Dialogue]]


def summary(counts: Mapping[str, int], ledger: Sequence[LedgerRow], splits: Splits) -> dict[str, object]:
    """Counts by split and by rule, as plain JSON."""
    rules = Counter(f"{row.action}:{row.rule}" for row in ledger if row.rule != "split")
    return {
        "rows": dict(counts),
        "dialogues": {name: len(dialogues) for name, dialogues in splits.items()},
        "turns": {name: sum(len(d.turns) for d in dialogues) for name, dialogues in splits.items()},
        "rules": dict(sorted(rules.items())),
    }


def render(
    counts: Mapping[str, int], ledger: Sequence[LedgerRow], splits: Splits, sources: Sequence[Source]
) -> str:
    """The datasheet as Markdown. It holds counts and rules, no word of any dialogue."""
    kept = [dialogue for dialogues in splits.values() for dialogue in dialogues]
    replies = [len(turn.text.split()) for d in kept for turn in d.turns if turn.role == "assistant"]
    rules = Counter((row.action, row.rule) for row in ledger if row.rule != "split")
    parts = [
        "# Datasheet",
        "## Sources",
        _table(("source", "licence", "consent", "rows read", "kept"), [_source_row(s, ledger) for s in sources]),
        "## Every row accounted for",
        f"{counts['read']} read = {counts['kept']} kept + {counts['dropped']} dropped + "
        f"{counts['quarantined']} quarantined.",
        _table(("action", "rule", "rows"), [(a, r, n) for (a, r), n in sorted(rules.items())]) if rules
        else "No row was changed, dropped or quarantined.",
        "## Splits",
        _table(("split", "dialogues", "turns"),
               [(name, len(ds), sum(len(d.turns) for d in ds)) for name, ds in splits.items()]),
        "A dialogue's split follows from a hash of its content; no dialogue lies in two.",
        "## Composition of what is kept",
        f"Words in an assistant's turn: mean {sum(replies) / max(1, len(replies)):.1f}, "
        f"longest {max(replies, default=0)} (n = {len(replies)}).",
        *(_composition(kept, tag) for tag in ("risk", "topic", "style")),
        _table(("locale", "dialogues"), Counter(d.locale for d in kept).most_common()),
    ]
    return "\n\n".join(parts) + "\n"


def _source_row(source: Source, ledger: Sequence[LedgerRow]) -> tuple[object, ...]:
    own = [row.action for row in ledger if row.source == source.name and row.action != "changed"]
    return source.name, source.licence, source.consent, len(own), own.count("kept")


def _composition(dialogues: Sequence[Dialogue], tag: str) -> str:
    counted = Counter(d.tags.get(tag, "not tagged") for d in dialogues)
    most_first = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    return _table((tag, "dialogues"), most_first)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
