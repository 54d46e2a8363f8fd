"""Stage score: replies → ``out/score``: what every declared scorer says of every reply, with its reason.

A reply that a scorer can not judge is unscored, with a because; the summary counts it beside the mean.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from attunement.artefacts import publishing, read_jsonl, verify, write_jsonl
from attunement.errors import DataError, ends_clearly
from attunement.params import load
from attunement.process import begin
from attunement.records import MODELS, ModelName, Prompt, Reply, Score, ScoreSummary
from attunement.scorers.base import Item, Scorer
from attunement.stats import mean_interval
from attunement.suites import read_suites

REPLIES = Path("out/respond")
OUT = Path("out/score")
CONFIDENCE = 0.95  # of the summary's intervals, by convention; the gate has its own in params.yaml


def score(scorers: Sequence[Scorer], prompts: Sequence[Prompt], replies: Sequence[Reply]) -> list[Score]:
    """Every scorer's answer to every reply, sorted.

    Raises DataError when a reply's prompt is not in its suite, or a prompt was not answered by both models: what is
    left out would count neither as scored nor as unscored.
    """
    known = {(prompt.suite, prompt.prompt_id): prompt for prompt in prompts}
    _check_answered(known, replies)
    items = [_item(known, reply) for reply in replies]
    found = []
    for scorer in scorers:
        version = scorer.version
        for reply, scored in zip(replies, scorer.score(items), strict=True):
            found.append(Score(suite=reply.suite, prompt_id=reply.prompt_id, model=reply.model, sample=reply.sample,
                               scorer=scorer.name, version=version, value=scored.value, label=scored.label,
                               because=scored.because))
    return sorted(found, key=lambda s: (s.suite, s.prompt_id, s.model, s.sample, s.scorer))


def _check_answered(known: Collection[tuple[str, str]], replies: Sequence[Reply]) -> None:
    answered = {(reply.model, reply.suite, reply.prompt_id) for reply in replies}
    for model in MODELS:
        suites = Counter(suite for suite, prompt_id in sorted(known) if (model, suite, prompt_id) not in answered)
        if suites:
            told = ", ".join(f"{n} of '{suite}'" for suite, n in suites.items())
            raise DataError(f"{model} has not answered every prompt: {told} lack a reply. Run `dvc repro`, so that the "
                            "suites are answered again.")


def _item(known: dict[tuple[str, str], Prompt], reply: Reply) -> Item:
    prompt = known.get((reply.suite, reply.prompt_id))
    if prompt is None:
        raise DataError(f"a reply of suite '{reply.suite}' answers prompt {reply.prompt_id}, which the suite does not "
                        "hold (any more). Run `dvc repro`, so that the suite is answered again.")
    return Item(id=prompt.prompt_id, context=prompt.context, reply=reply.text, locale=prompt.locale, tags=prompt.tags)


def summarise(scores: Iterable[Score], scorers: Sequence[Scorer], *, seed: int) -> list[ScoreSummary]:
    """Mean, interval and labels by suite, model and scorer; what a scorer was not asked about is counted apart."""
    nothing_asked = {scorer.name: scorer.nothing_asked for scorer in scorers}
    groups: dict[tuple[str, ModelName, str], list[Score]] = {}
    for one in scores:
        groups.setdefault((one.suite, one.model, one.scorer), []).append(one)
    return [_summary(key, group, nothing_asked[key[2]], seed) for key, group in sorted(groups.items())]


def _summary(
    key: tuple[str, ModelName, str], every: Sequence[Score], nothing_asked: Sequence[str], seed: int
) -> ScoreSummary:
    group = [one for one in every if one.label not in nothing_asked]
    values = [one.value for one in group if one.value is not None]
    mean = mean_interval(values, confidence=CONFIDENCE, seed=seed)
    labels = Counter(one.label for one in group if one.label is not None)
    return ScoreSummary(suite=key[0], model=key[1], scorer=key[2], n=len(group), n_unscored=len(group) - len(values),
                        n_not_asked=len(every) - len(group), mean=mean.estimate if mean else None,
                        low=mean.low if mean else None, high=mean.high if mean else None,
                        labels=dict(sorted(labels.items())))


@ends_clearly
def main() -> None:
    """``python -m attunement.score``"""
    params = load()
    prompts = read_suites(params.respond.suites)
    replies = [reply for name in MODELS for reply in read_jsonl(verify(REPLIES / name) / "replies.jsonl", Reply)]
    scores = score(params.score.scorers, prompts, replies)
    with publishing(OUT) as folder:
        write_jsonl(folder / "scores.jsonl", scores)
        write_jsonl(folder / "summary.jsonl", summarise(scores, params.score.scorers, seed=params.seed))
    unscored = sum(one.value is None for one in scores)
    print(f"score: {len(scores)} scores of {len(replies)} replies by {len(params.score.scorers)} scorers, "
          f"{unscored} unscored", file=sys.stderr)


if __name__ == "__main__":
    begin("score", __doc__)
    main()
