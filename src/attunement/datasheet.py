"""What a curated corpus looks like, in numbers and in words that a person can read.

Follows the headings of Gebru et al., "Datasheets for Datasets" (2021), as far as a pipeline can fill them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from attunement.drafts import DECISIVE
from attunement.flaws import NONE, Measured
from attunement.leaks import Summary
from attunement.records import Dialogue, LedgerRow
from attunement.sources.base import Source
from attunement.stats import rate_interval

Splits = Mapping[str, Sequence[Dialogue]]
TAGS = ("risk", "risk_kind", "heard_kind", "topic", "style", "tier")
TAGS_TOLD = (
    "Tags are the source's own, but for what curation writes: step `hear` raises `risk` (none, passive, active, "
    "imminent) and names `risk_kind` where more danger is heard than they tell, and never lowers them; `heard_kind` is "
    "the kind it hears beside another that `risk_kind` names, and a referral is demanded for both; step `tiers` writes "
    "`tier`. Severities and kinds are those of data/LABELLING.md."
)
NO_TAG = "not tagged"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summary(
    counts: Mapping[str, int], ledger: Sequence[LedgerRow], splits: Splits, leaks: Summary
) -> dict[str, object]:
    """Counts by split and by rule, and what val and test share with train, as plain JSON."""
    rules = Counter(f"{row.action}:{row.step}:{row.rule}" for row in ledger if row.action != "kept")
    return {
        "rows": dict(counts),
        "dialogues": {name: len(dialogues) for name, dialogues in splits.items()},
        "turns": {name: sum(len(d.turns) for d in dialogues) for name, dialogues in splits.items()},
        "rules": dict(sorted(rules.items())),
        "leaks": leaks,
    }


def render(
    counts: Mapping[str, int], ledger: Sequence[LedgerRow], splits: Splits, sources: Sequence[Source],
    measured: Mapping[str, Measured] | None, leaks: Summary,
) -> str:
    """The datasheet as Markdown. It holds counts and rules, no word of any dialogue."""
    parts = [
        "# Datasheet",
        "Written by the stage that made the dataset, under the headings of Gebru et al. (2021). It holds numbers and "
        "rules; who the people of the sources are and why they were asked, their own datasheets tell.",
        "## Motivation",
        "Conversations in which a person tells of what weighs on them and is answered, to fine-tune a model that "
        "listens and to measure it.",
        "## Composition", *_composition(splits),
        "### What val and test share with train", *_leaks(leaks),
        "## Collection process",
        _table(("source", "licence", "consent", "rows read", *DECISIVE), [_source_row(s, ledger) for s in sources]),
        "## Preprocessing, cleaning and labelling", *_account(counts, ledger),
        "### What the rules find", *_measured(measured),
        "## Uses",
        "For fine-tuning and for evaluating models of support conversations, under review by people.",
        "### What it cannot be used for",
        "The rules see words, not people. A dialogue that passed them all may still be unhelpful; what is told in "
        "other words than the rules and classifiers know is not found. A score says what its scorer sees, with the "
        "errors that data/cards tells of; a tag of risk is no diagnosis, and none found is not none there. That "
        "somebody in danger is in another country, and needs a contact there, is found only where it is said plainly "
        "(data/DATASHEET.md, A third person abroad). No clinician has judged these dialogues unless their source says "
        "so.",
        "## Distribution",
        f"train, val and test.parquet, described for machines in croissant.json. {_licences(splits)}",
        "## Maintenance",
        "The same sources and parameters make the same bytes again; `attune compare --data` tells what another version "
        "changes, and `attune ledger --against` which row was decided otherwise. `audit.jsonl` is a sample of "
        "decisions to read and disagree with. A row that a person wants gone is taken out of its source's file.",
    ]
    return "\n\n".join(parts) + "\n"


def _composition(splits: Splits) -> list[str]:
    kept = [dialogue for dialogues in splits.values() for dialogue in dialogues]
    spoken = {name: [(turn.role, len(turn.text.split())) for dialogue in dialogues for turn in dialogue.turns]
              for name, dialogues in splits.items()}
    replies = [words for turns in spoken.values() for role, words in turns if role == "assistant"]
    return [
        _table(("split", "dialogues", "turns", "words"),
               [(name, len(dialogues), len(spoken[name]), sum(words for _, words in spoken[name]))
                for name, dialogues in splits.items()]),
        "A dialogue's split follows from a hash of the group that it belongs to: its thread, its opening words, and "
        "what is nearly the same, or alike in meaning where curate.group_similarity says from where. No group lies in "
        "two.",
        f"Words in an assistant's turn: mean {sum(replies) / max(1, len(replies)):.1f}, "
        f"longest {max(replies, default=0)} (n = {len(replies)}).",
        *(_counted(splits, tag, _tag(tag)) for tag in TAGS),
        TAGS_TOLD,
        _counted(splits, "locale", lambda dialogue: dialogue.locale),
        _counted(splits, "source", lambda dialogue: dialogue.source),
        *_scores(kept),
    ]


def _leaks(leaks: Summary) -> list[str]:
    """By split the likeness to the nearest dialogue of train, every pair compared."""
    rows = []
    for name, one in leaks.items():
        meaning = [f"{one[key]:.2f}" if one[key] is not None else "-" for key in ("median_cosine", "highest_cosine")]
        rows.append((name, one["dialogues"], one["exact"], one["near"], f"{one['highest_jaccard']:.2f}",
                     one["compared_in_meaning"], one["alike_in_meaning"], *meaning))
    limits = next(iter(leaks.values()), {})
    return [
        _table(("split", "dialogues", "exact", "near", "highest Jaccard", "compared in meaning", "alike in meaning",
                "median cosine", "highest cosine"), rows),
        f"Each dialogue beside the one of train that is nearest to it, all pairs compared. Near: a Jaccard index of "
        f"word 5-grams from {limits.get('group_jaccard')}, one of which stops the stage; alike in meaning: a cosine of "
        f"what the user says, or of the opening, from {limits.get('group_similarity')} (None: not compared, nor what "
        "is shorter than 20 words).",
    ]


def _tag(name: str) -> Callable[[Dialogue], str]:
    return lambda dialogue: dialogue.tags.get(name, NO_TAG)


def _account(counts: Mapping[str, int], ledger: Sequence[LedgerRow]) -> list[str]:
    """Every row by step and rule, and of what was masked and of copies more."""
    decisions = Counter((row.action, row.step, row.rule) for row in ledger if row.action != "kept")
    rows = Counter(key for account in _accounts(ledger) for key in sorted({(row.action, row.step, row.rule)
                                                                          for row in account}))
    return [
        f"{counts['read']} read = {counts['kept']} kept + {counts['dropped']} dropped + "
        f"{counts['quarantined']} quarantined. `attune ledger` answers why for each.",
        _table(("action", "step", "rule", "decisions", "rows"),
               [(*key, n, rows[key]) for key, n in sorted(decisions.items())]) if decisions
        else "No row was changed, dropped or quarantined.",
        *_masked(ledger), *_duplicates(ledger),
    ]


def _accounts(ledger: Sequence[LedgerRow]) -> Iterable[list[LedgerRow]]:
    """The decisions about each row together, as they stand in the ledger one after the other."""
    account: list[LedgerRow] = []
    for row in ledger:
        if row.seq == 0 and account:
            yield account
            account = []
        account.append(row)
    if account:
        yield account


def _masked(ledger: Sequence[LedgerRow]) -> list[str]:
    """Findings that tell a person apart, by type, in what is kept and in all."""
    found, kept = Counter[str](), Counter[str]()
    for account in _accounts(ledger):
        types = [row.rule for row in account if row.step == "pii" and row.action == "changed"]
        found.update(types)
        kept.update(types if account[-1].action == "kept" else ())
    if not found:
        return ["### Masked", "Nothing was masked: no step `pii` was declared, or it found nothing."]
    rows = [(name, n, kept[name]) for name, n in sorted(found.items())]
    return ["### Masked", "Each finding was replaced by its type in brackets; contacts of helplines stay.",
            _table(("type", "findings", "in what is kept"), rows)]


def _duplicates(ledger: Sequence[LedgerRow]) -> list[str]:
    """How many copies were left out, how near they were, and how many of one dialogue at most."""
    copies = [row for row in ledger if row.step == "duplicates" and row.action == "dropped"]
    templates = sum(row.step == "duplicates" and row.rule == "template" for row in ledger)
    if not copies and not templates:
        return ["### Duplicates", "None was found."]
    table = []
    for rule in sorted({row.rule for row in copies}):
        own = [row for row in copies if row.rule == rule]
        near = [row.score for row in own if row.score is not None]
        table.append((rule, len(own), f"{min(near):.2f} to {max(near):.2f}" if near else "-"))
    most = max(Counter(row.ref for row in copies).values(), default=0)
    return ["### Duplicates", *([_table(("rule", "left out", "Jaccard index"), table)] if table else []),
            f"At most {most} copies were left out for one dialogue. Written on a template, and flagged: {templates}."]


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
    """Mean and quantiles of every scorer; what it could not score is in neither."""
    values: dict[str, list[float | None]] = {}
    for dialogue in kept:
        for name, value in dialogue.scores.items():
            values.setdefault(name, []).append(value)
    rows = []
    for name, every in sorted(values.items()):
        known = [value for value in every if value is not None]
        numbers = [f"{one:.3f}" for one in (np.mean(known), *np.quantile(known, QUANTILES))] if known else (
            ["-"] * (1 + len(QUANTILES)))
        rows.append((name, len(known), len(every) - len(known), *numbers))
    heads = ("scorer", "n", "unscored", "mean", *(f"{at:.0%}" for at in QUANTILES))
    return ["### Scores of what is kept", _table(heads, rows)] if rows else []


def _source_row(source: Source, ledger: Sequence[LedgerRow]) -> tuple[object, ...]:
    own = Counter(row.action for row in ledger if row.source == source.name and row.action in DECISIVE)
    return source.name, source.licence, source.consent, own.total(), *(own[action] for action in DECISIVE)


def _licences(splits: Splits) -> str:
    """Each licence with the number of dialogues under it."""
    counted = Counter(dialogue.licence for dialogues in splits.values() for dialogue in dialogues)
    told = ", ".join(f"{_cell(name)} ({n})" for name, n in sorted(counted.items()))
    return f"Dialogues by licence: {told}; each row names its own." if told else "It holds no dialogue."


def _counted(splits: Splits, name: str, value_of: Callable[[Dialogue], str]) -> str:
    """Numbers of a quality's values, over all and by split."""
    by_split = {split: Counter(map(value_of, dialogues)) for split, dialogues in splits.items()}
    whole = sum(by_split.values(), Counter())
    rows = [(value, n, *(counted[value] for counted in by_split.values()))
            for value, n in sorted(whole.items(), key=lambda pair: (-pair[1], pair[0]))]
    return _table((name, "dialogues", *by_split), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
