"""The declared steps, one after the other, over all drafts; where the runner says, if they need no other dialogue."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice

from attunement.drafts import Draft
from attunement.process import without_collector
from attunement.steps.asking import Work
from attunement.steps.base import Step
from attunement.steps.parcels import applied, change, changes_by, packed


def after_steps(steps: Sequence[Step], drafts: Iterable[Draft], work: Work) -> list[Draft]:
    """The drafts as the steps leave them. Steps in a row that see each dialogue by itself travel together.

    The first of them see a dialogue as soon as it is read.
    """
    waiting: list[Step] = []
    for step in steps:
        if not (step.whole or step.asks):
            waiting.append(step)
            continue
        drafts = _mapped([*waiting, step] if step.prepares else waiting, drafts, work)
        step.over(sorted((draft for draft in drafts if not draft.out),
                         key=lambda draft: (draft.id, draft.file, draft.line)), work)
        waiting = []
    return _mapped(waiting, drafts, work)


def _mapped(steps: Sequence[Step], drafts: Iterable[Draft], work: Work) -> list[Draft]:
    """All drafts, once the steps have seen each by itself."""
    chunks = _chunks(drafts, work.runner.engine.batch_dialogues)
    if not steps:
        return list(chain.from_iterable(chunks))
    done = _in_place(steps, chunks) if work.runner.here else _elsewhere(steps, chunks, work)
    return list(chain.from_iterable(done))


def _chunks(drafts: Iterable[Draft], size: int) -> Iterator[list[Draft]]:
    left = iter(drafts)
    while True:
        with without_collector():
            chunk = list(islice(left, size))
        if not chunk:
            return
        yield chunk


def _in_place(steps: Sequence[Step], chunks: Iterable[list[Draft]]) -> Iterator[list[Draft]]:
    for chunk in chunks:
        with without_collector():
            applied(steps, chunk)
        yield chunk


def _elsewhere(steps: Sequence[Step], chunks: Iterable[list[Draft]], work: Work) -> Iterator[list[Draft]]:
    """Parcels go out, and changes come back in their order."""
    away: deque[list[Draft]] = deque()

    def parcels() -> Iterator[bytes]:
        for chunk in chunks:
            away.append(chunk)
            yield packed([draft for draft in chunk if not draft.out])

    for changes in work.runner.map(partial(changes_by, steps), parcels()):
        chunk = away.popleft()
        with without_collector():
            change([draft for draft in chunk if not draft.out], changes)
        yield chunk
