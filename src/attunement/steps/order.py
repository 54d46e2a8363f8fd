"""The declared steps, one after the other, over all drafts; where the runner says, if they need no other dialogue."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

from attunement.drafts import Draft
from attunement.steps.asking import Work
from attunement.steps.base import Step


def after_steps(steps: Sequence[Step], drafts: list[Draft], work: Work) -> list[Draft]:
    """The drafts as the steps leave them. Steps in a row that see each dialogue by itself travel together."""
    for apart, some in groupby(steps, key=lambda step: not (step.whole or step.asks)):
        chosen = list(some)
        if apart:
            drafts = _mapped(chosen, drafts, work)
            continue
        for step in chosen:
            left = sorted((draft for draft in drafts if not draft.out),
                          key=lambda draft: (draft.id, draft.file, draft.line))
            step.over(left, work)
    return drafts


def _mapped(steps: Sequence[Step], drafts: list[Draft], work: Work) -> list[Draft]:
    size = work.runner.engine.batch_dialogues
    chunks = (drafts[start : start + size] for start in range(0, len(drafts), size))
    return [draft for chunk in work.runner.map(partial(_applied, steps), chunks) for draft in chunk]


def _applied(steps: Sequence[Step], drafts: list[Draft]) -> list[Draft]:
    for step in steps:
        step.run(drafts)
    return drafts
