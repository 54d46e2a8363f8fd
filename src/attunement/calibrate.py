"""Stage calibrate: declared scorers, held against what people said → ``out/calibrate``: a card for each scorer.

A card tells how a scorer, with its settings as they are, agrees with human labels: n and share of positives, the area
under the ROC curve, precision, recall and false alarms at the shipped threshold, agreement, each with its interval, and
rates by group. Cards of the shipped settings lie in ``data/cards`` and are carried; a scorer with other settings, or
without a card, is measured on the project's own sets here, and on public ones by ``attune calibrate --labels FOLDER``.
The gate refuses a scorer whose card is missing, of another version, or below a floor that params.yaml declares.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attunement.artefacts import publishing, read_json, write_json, write_jsonl
from attunement.errors import DataError, ends_clearly
from attunement.labelled import SETS, Labelled, LabelledSet
from attunement.params import Params, load
from attunement.process import begin
from attunement.records import Estimate, Group, Measurement, ScorerCard, content_id
from attunement.scorers.base import Item, Scored, Scorer
from attunement.stats import Interval, auc_interval, macro_f1, rate_interval, statistic_interval, weighted_kappa

CARDS = Path(__file__).resolve().parents[2] / "data" / "cards"
OUT = Path("out/calibrate")
NO_LABELS = Path("data/labelled")  # where public sets may be put; empty in a fresh clone
CONFIDENCE = 0.95
SEED = 20260401
MIN_GROUP = 10  # of a group with fewer nothing is told
BATCH = 256
MAX_ITEMS = 1200  # of a larger set as many, chosen by their ids: more would narrow an interval by little


@dataclass(frozen=True)
class Plan:
    """How a kind of scorer is held against labels.

    ``question`` is the name of the human answer; ``alarms`` are the labels that say yes to it, or the scorer's labels
    in the order 0, 1, 2 … where ``ordinal``.
    """

    question: str
    alarms: tuple[str, ...]
    sets: tuple[str, ...]
    does_not_see: str
    ordinal: bool = False
    alarm_below: bool = False  # a low value is the alarm


TOXIC_SETS = ("own_toxicity", "wiki_toxicity", "context_toxicity", "davidson", "esconv", "counsel_chat")
HARM_SETS = ("own_harm", "own_harm_pairs", "own_unsafe_replies")
EMPATHY_BLIND = ("whether the understanding is right or the question wise; clinical quality; what a reply does to the "
                 "person. It counts expressions, as peers in a forum make them, in English")
PLANS: dict[str, Plan] = {
    "detoxify": Plan("toxic", ("toxic",), TOXIC_SETS,
                     "polite harm (a stopped medication, a diagnosis, agreement with a wish to die), harm that lies in "
                     "what is left out, other languages than English, images"),
    "linear": Plan("toxic", ("toxic",), TOXIC_SETS,
                   "anything but single English words: contempt in plain words, misspelt insults, negation, context"),
    "clinical_harm": Plan("harmful", ("harmful",), (*HARM_SETS, "diasafety", "counsel_chat"),
                          "facts (whether a number or a claim is right), harm that builds up over many turns, what was "
                          "left unsaid after danger was told (the scorer referral asks that), other languages"),
    "crisis": Plan("risk", ("passive", "active", "imminent"), ("own_crisis", "esconv"),
                   "danger that the words do not carry: tone, silence, history; most kinds of veiled danger outside "
                   "those that people wrote for it; other languages than English"),
    "referral": Plan("incomplete", ("partial", "none", "wrong"), ("own_referrals",),
                     "whether the line answers, whether the person can reach it; a referral in words that no pattern "
                     "knows; a resource of a kind that does not fit", alarm_below=True),
    "refusal": Plan("refusal", ("compliance", "partial", "refusal"), ("xstest", "pyrit_refusal"),
                    "whether refusing was right; an answer that is made up or evasive without saying so", ordinal=True),
    "empathy.emotional_reactions": Plan("er", ("none", "weak", "strong"), ("epitome",), EMPATHY_BLIND, ordinal=True),
    "empathy.interpretations": Plan("ip", ("none", "weak", "strong"), ("epitome",), EMPATHY_BLIND, ordinal=True),
    "empathy.explorations": Plan("ex", ("none", "weak", "strong"), ("epitome",), EMPATHY_BLIND, ordinal=True),
    "listening": Plan("reflection", ("reflects",), ("bolt",),
                      "whether a reflection is true to the person; skill that is not in the words; other languages"),
    "pii": Plan("pii", (), ("own_pii",),
                "names (an optional extra finds some), data told in words, forms of countries that it "
                "has no pattern for"),
    "rubric": Plan("harmful", ("broken",), HARM_SETS,
                   "warmth or harm in words that no pattern or classifier knows; a reply may meet every criterion and "
                   "still not help", alarm_below=True),
    "judge": Plan("harmful", ("broken",), ("own_harm",),
                  "what its model does not; it may be persuaded by the text it judges, and it drifts with its version",
                  alarm_below=True),
}


def measure(scorer: Scorer, labelled: LabelledSet, items: Sequence[Labelled]) -> Measurement:
    """A scorer's answers to a labelled set, held against its labels."""
    plan = PLANS[scorer.kind]
    asked = [one for one in items if plan.question in one.truth and _fits(scorer, one.item)]
    answers = [answer for start in range(0, len(asked), BATCH)
               for answer in scorer.score([_as(scorer, one.item) for one in asked[start : start + BATCH]])]
    pairs = [(one, answer) for one, answer in zip(asked, answers, strict=True) if answer.value is not None]
    groups = {name: [pair for pair in pairs if name in pair[0].groups]
              for name in sorted({name for one, _ in pairs for name in one.groups})}
    told = [_group(name, found, plan) for name, found in groups.items()
            if len(found) >= MIN_GROUP and len(found) < len(pairs) and not name.startswith("seeker ")]
    whole = _group("all", pairs, plan)
    truth = [one.truth[plan.question] for one, _ in pairs]
    given = [_level(answer, plan) for _, answer in pairs]
    positives = [value > 0 for value in truth]
    signed = [(-1.0 if plan.alarm_below else 1.0) * (answer.value or 0.0) for _, answer in pairs]
    several = len(set(truth)) > 1
    return Measurement(
        set=labelled.name, licence=labelled.licence, about=labelled.about, question=plan.question,
        content=content_id([[one.item.id, one.truth[plan.question]] for one in asked]),
        n=len(pairs), n_unscored=len(asked) - len(pairs), prevalence=whole.prevalence,
        auc=_estimate(auc_interval(signed, positives, confidence=CONFIDENCE, seed=SEED)),
        precision=_precision(pairs, plan), recall=whole.recall, false_alarms=whole.false_alarms,
        accuracy=_estimate(rate_interval(sum(t == g for t, g in zip(truth, given, strict=True)), len(pairs),
                                         confidence=CONFIDENCE)),
        kappa=_statistic(weighted_kappa, truth, given) if several else None,
        macro_f1=_statistic(macro_f1, truth, given) if several and plan.ordinal else None,
        groups=tuple(told),
    )


def _fits(scorer: Scorer, item: Item) -> bool:
    return item.form in scorer.forms or (item.form == "dialogue" and "reply" in scorer.forms) or (
        item.form == "text" and "reply" in scorer.forms)


def _as(scorer: Scorer, item: Item) -> Item:
    """The item in a form that the scorer takes: a text alone is a reply without context."""
    if item.form == "text" and "text" not in scorer.forms:
        return Item(id=item.id, reply=item.text, locale=item.locale, tags=item.tags)
    return item


Pair = tuple[Labelled, Scored]


def _level(answer: Scored, plan: Plan) -> float:
    """What the scorer's label says, on the scale of the question."""
    if plan.ordinal:
        return float(plan.alarms.index(answer.label or ""))
    if not plan.alarms:  # labels are types, and any of them is an alarm
        return float((answer.value or 0) > 0)
    return float(answer.label in plan.alarms)


def _group(name: str, pairs: Sequence[Pair], plan: Plan) -> Group:
    positive = [_level(answer, plan) > 0 for one, answer in pairs if one.truth[plan.question] > 0]
    negative = [_level(answer, plan) > 0 for one, answer in pairs if one.truth[plan.question] == 0]
    return Group(name=name, n=len(pairs), prevalence=len(positive) / len(pairs) if pairs else 0.0,
                 recall=_rate(positive), false_alarms=_rate(negative))


def _precision(pairs: Sequence[Pair], plan: Plan) -> Estimate | None:
    return _rate([one.truth[plan.question] > 0 for one, answer in pairs if _level(answer, plan) > 0])


def _rate(hits: Sequence[bool]) -> Estimate | None:
    return _estimate(rate_interval(sum(hits), len(hits), confidence=CONFIDENCE))


def _statistic(
    statistic: Callable[..., float], truth: Sequence[float], given: Sequence[float]
) -> Estimate | None:
    return _estimate(statistic_interval(statistic, truth, given, confidence=CONFIDENCE, seed=SEED))


def _estimate(found: Interval | None) -> Estimate | None:
    if found is None or not np.isfinite([found.estimate, found.low, found.high]).all():
        return None
    return Estimate(value=round(found.estimate, 4), low=round(found.low, 4), high=round(found.high, 4))


def card(scorer: Scorer, *, labels: Path, known: ScorerCard | None, timed: bool = False) -> ScorerCard:
    """A scorer's card: measured on every set that is present; of absent sets what the same version measured is kept."""
    plan, version = PLANS[scorer.kind], scorer.version
    same = known is not None and known.version == version
    kept = {one.set: one for one in known.measured} if known and same else {}
    found, n, spent_s = [], 0, 0.0
    for name in plan.sets:
        chosen = SETS[name]
        if chosen.present(labels):
            items = sorted(chosen.items(labels, "test"), key=lambda one: one.item.id)[:MAX_ITEMS]
            started = time.perf_counter()
            measured = measure(scorer, chosen, items)
            spent_s += time.perf_counter() - started
            n += measured.n + measured.n_unscored
            found.append(measured)
        elif name in kept:
            found.append(kept[name])
    speed = round(n / spent_s, 1) if timed and spent_s else (known.items_per_s if known and same else None)
    return ScorerCard(scorer=scorer.name, kind=scorer.kind, version=version,
                      settings=scorer.model_dump(mode="json"), does_not_see=plan.does_not_see,
                      items_per_s=speed, measured=tuple(found))


def card_path(scorer: Scorer, folder: Path = CARDS) -> Path:
    """Where a scorer's card lies."""
    return folder / f"{scorer.name.replace(':', '_')}.json"


def shipped_card(scorer: Scorer, folder: Path = CARDS) -> ScorerCard | None:
    """The card that lies in the repository, of whatever version; None where there is none."""
    path = card_path(scorer, folder)
    return read_json(path, ScorerCard) if path.is_file() else None


def declared_scorers(params: Params) -> dict[str, Scorer]:
    """Every scorer of params.yaml once, by name; raises DataError when one name stands for two settings."""
    found: dict[str, Scorer] = {}
    for scorer in (*params.train.probe.scorers, *params.score.scorers):
        if found.setdefault(scorer.name, scorer) != scorer:
            raise DataError(f"'{scorer.name}' is declared with two different settings (train.probe.scorers, "
                            "score.scorers): its card could tell of one alone. Give both the same.")
    return found


def carried(scorers: Mapping[str, Scorer], *, folder: Path = CARDS) -> list[ScorerCard]:
    """Every scorer's card: the shipped one where it is of this version, else measured on the project's own sets."""
    cards = []
    for scorer in scorers.values():
        shipped = shipped_card(scorer, folder)
        if shipped is None or shipped.version != scorer.version:
            say(f"{scorer.name} {scorer.version} has no card of its version; measuring it on the project's own sets")
            shipped = card(scorer, labels=NO_LABELS, known=None)
        cards.append(shipped)
    return sorted(cards, key=lambda one: one.scorer)


def say(text: str) -> None:
    """A line of progress."""
    print(f"calibrate: {text}", file=sys.stderr, flush=True)


@ends_clearly
def main() -> None:
    """``python -m attunement.calibrate``"""
    cards = carried(declared_scorers(load()))
    with publishing(OUT) as folder:
        write_jsonl(folder / "cards.jsonl", cards)
        write_json(folder / "summary.json", {one.scorer: {"version": one.version, "sets": len(one.measured)}
                                             for one in cards})
    say(f"{len(cards)} scorers have a card")


if __name__ == "__main__":
    begin("calibrate", __doc__)
    main()
