"""Sources of which nothing is left: which rule took most of each, by which setting, and how to set it otherwise.

In: drafts that the steps have seen, and the steps. Out: a sentence for each such source. A rule that fits one corpus
may take all of another (dialogues of two turns, where four are declared), and that must not look like a choice.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from attunement.drafts import Draft
from attunement.steps.base import Step
from attunement.steps.form import FormStep

# The settings that decide, by (step, rule); of a step whose rules take their names from elsewhere by (step, "").
SETTINGS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("form", "turns"): ("min_turns", "max_turns"),
    ("form", "roles"): ("drop_last_user",),
    ("form", "length"): ("max_turn_chars",),
    ("form", "repetition"): ("max_repeated_frac",),
    ("language", "other_language"): ("keep", "min_score"),
    ("duplicates", "near_duplicate"): ("jaccard",),
    ("decontaminate", "contaminated"): ("files", "min_overlap"),
    ("semantic", "paraphrased_evaluation"): ("min_similarity",),
    ("semantic", "semantic_duplicate"): ("duplicate_similarity", "duplicates"),
    ("score", ""): ("drop_at_least", "drop_below"),
    ("tiers", ""): ("drop",),
    ("mix", ""): ("caps", "cap", "keep_frac"),
}
SHORTEST = 2  # turns of a dialogue: one is said, one is answered


def lost(drafts: Sequence[Draft], steps: Sequence[Step]) -> list[str]:
    """A sentence for each source that had rows and has none left."""
    by_source: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_source.setdefault(draft.source, []).append(draft)
    return [_told(source, own, steps) for source, own in sorted(by_source.items()) if all(one.out for one in own)]


def _told(source: str, drafts: Sequence[Draft], steps: Sequence[Step]) -> str:
    """Which rule took most of a source, with the first row's evidence and the settings."""
    ends = Counter((draft.notes[-1].action, draft.notes[-1].step, draft.notes[-1].rule) for draft in drafts)
    (action, step, rule), n = max(ends.items(), key=lambda pair: (pair[1], pair[0]))
    own = [draft for draft in drafts if (draft.notes[-1].step, draft.notes[-1].rule) == (step, rule)]
    why = own[0].notes[-1].evidence
    told = (f"Nothing is left of source '{source}': {'all' if n == len(drafts) else f'{n} of'} its {len(drafts)} rows "
            f"were {action} by {step}: {rule}{f' ({why})' if why else ''}, the first at {own[0].file}:{own[0].line}.")
    if step == "read":
        return f"{told} Are its `kind` (the reader) and the fields that it names those of these files (curate.sources)?"
    declared = [one for one in steps if one.kind == step and (step != "score" or one.name == rule)]
    names = SETTINGS.get((step, rule)) or SETTINGS.get((step, ""))
    if not declared or not names:
        return told
    settings = declared[0].for_source(source)
    values = ", ".join(f"{name}: {json.dumps(settings.model_dump(mode='json')[name])}" for name in names)
    return f"{told} The step's settings (curate.steps): {values}.{_otherwise(settings, names, source, own)}"


def _otherwise(step: Step, names: Sequence[str], source: str, drafts: Sequence[Draft]) -> str:
    """How to set it otherwise for this source alone, where a source may."""
    if isinstance(step, FormStep) and names == SETTINGS["form", "turns"]:
        turns = [n for draft in drafts if (n := sum(turn.role != "system" for turn in draft.turns)) >= SHORTEST]
        if turns and min(turns) < step.min_turns:
            return (f" If you want dialogues of {min(turns)} turns of this source, add to the step "
                    f"`overrides: {{{source}: {{min_turns: {min(turns)}}}}}`.")
    if step.whole or step.safety:
        why = ": a source may not be judged by looser ones" if step.safety else ""
        return f" They hold for all sources alike{why}."
    return f" For this source alone: `overrides: {{{source}: {{{names[0]}: …}}}}` in the step."
