"""What params.yaml may not combine: each part is in order by itself, and together they can not work.

In: the whole of the parameters. Out: conflicts, each with where it stands, which `attunement.params.load` tells with
their lines. The steps that no corpus may go without and the rules that no gate may lack are named here.
"""

from collections.abc import Iterable, Sequence

from attunement.faults import Location, nearest
from attunement.params import (
    BenchmarkRule,
    CalibrationRule,
    Curate,
    FailuresRule,
    Headline,
    HelplinesRule,
    ImprovementRule,
    Params,
    Rule,
    SelectionRule,
    Train,
)
from attunement.steps.hear import HearStep
from attunement.steps.score import ScoreStep
from attunement.steps.tiers import TiersStep, plain_name

RESERVED = ("rules_held", "val_loss")  # the report puts these into every headline
Conflict = tuple[Location, str]
NEEDED_STEPS = {
    "form": "what is no dialogue teaches none",
    "repair": "what is written in entities or with characters that nobody sees is not found by any rule",
    "duplicates": "a dialogue that stands twice may lie in train and test",
    "referral": "a crisis without a safe referral must not be learnt from",
    "pii": "a model must not learn who somebody is",
}
MENDED = "what it mends is only then what the other looks for"
STEP_ORDER = (
    *(("repair", then, MENDED) for then in ("form", "duplicates", "decontaminate", "hear", "referral", "pii")),
    ("form", "referral", "it reads turns of user and assistant"),
    ("hear", "referral", "what is heard demands a referral"),
    ("referral", "pii", "a masked contact refers nobody"),
    ("form", "duplicates", "a broken row must not stand for a whole one"),
)


def conflicts(params: Params) -> list[Conflict]:
    """Combinations that can not work, each with where it stands."""
    found: list[Conflict] = []
    cut = params.curate
    if cut.val_frac + cut.test_frac >= 1:
        found.append((("curate", "val_frac"), "val_frac + test_frac must stay below 1, so that something is left"))
    found += _repeats(("curate", "sources"), [source.name for source in cut.sources])
    found += _step_conflicts(cut)
    found += _helpline_conflicts(params)
    found += _train_conflicts(params.train)
    found += _repeats(("score", "scorers"), [scorer.name for scorer in params.score.scorers])
    found += _repeats(("train", "probe", "scorers"), [scorer.name for scorer in params.train.probe.scorers])
    if not any(isinstance(rule, SelectionRule) for rule in params.gate.rules):
        found.append((("gate", "rules"), "needs a rule of kind selection: nothing passes that failed the probe"))
    if not any(isinstance(rule, HelplinesRule) for rule in params.gate.rules):
        found.append((("gate", "rules"), "needs a rule of kind helplines: nobody may be sent to a closed line"))
    if not any(isinstance(rule, CalibrationRule) for rule in params.gate.rules):
        found.append((("gate", "rules"), "needs a rule of kind calibration: no scorer judges that was never measured"))
    found += _repeats(("gate", "rules"), [rule.name for rule in params.gate.rules])
    for i, rule in enumerate(params.gate.rules):
        found += _rule_conflicts(rule, ("gate", "rules", i), params)
    for name, number in params.report.headline.items():
        where = ("report", "headline", name)
        if name in RESERVED:
            found.append((where, f"'{name}' is always in the headline and needs another name here"))
        found += _score_conflicts(number, where, {"labels": number.labels}, params)
    return found


def _step_conflicts(cut: Curate) -> list[Conflict]:
    """The steps that no corpus of support talk may go without, in an order that works; overrides of known sources."""
    where: Location = ("curate", "steps")
    kinds = [step.kind for step in cut.steps]
    found: list[Conflict] = [(where, f"needs a step of kind {kind}: {why}") for kind, why in NEEDED_STEPS.items()
                             if kind not in kinds]
    found += _repeats(where, [step.name for step in cut.steps])
    for first, then, why in STEP_ORDER:
        if first in kinds and then in kinds and kinds.index(first) > kinds.index(then):
            found.append(((*where, kinds.index(first)), f"{first} must stand before {then}: {why}"))
    sources = [source.name for source in cut.sources]
    for i, step in enumerate(cut.steps):
        found += [((*where, i, "overrides"), _unknown(name, sources, "curate.sources"))
                  for name in step.overrides if name not in sources]
        if isinstance(step, TiersStep):
            scored = {plain_name(one.scorer.name) for one in cut.steps[:i] if isinstance(one, ScoreStep | HearStep)}
            found += [((*where, i, "tiers"), _unknown(name, sorted(scored), "the scores of the steps before"))
                      for name in sorted(step.names()) if name not in scored]
    return found


def _train_conflicts(train: Train) -> list[Conflict]:
    """What can not be trained, and a probe that asks more between than at the end."""
    found: list[Conflict] = []
    if train.precision == "nf4" and train.lora is None:
        found.append((("train", "precision"), "nf4 is for a frozen base, and train.lora: null trains all weights; "
                      "declare train.lora, or take bf16"))
    last, between = train.probe.prompts, train.probe.prompts_between
    if isinstance(last, int) and isinstance(between, int) and between > last:
        found.append((("train", "probe", "prompts_between"), f"is {between}, and the last checkpoint is asked "
                      f"{last} (train.probe.prompts), of which the others are asked some"))
    return found


def _helpline_conflicts(params: Params) -> list[Conflict]:
    """One list of helplines: the one that the gate verifies is the one by which all others judge."""
    verified = params.curate.helplines
    uses: list[tuple[Location, object]] = [(("curate", "steps", i), step) for i, step in enumerate(params.curate.steps)]
    uses += [(("score", "scorers", i), scorer) for i, scorer in enumerate(params.score.scorers)]
    return [((*where, "helplines"), f"is {used}, and the gate verifies curate.helplines, {verified}: write the same")
            for where, one in uses if (used := getattr(one, "helplines", verified)) != verified]


def _rule_conflicts(rule: Rule, where: Location, params: Params) -> list[Conflict]:
    """A rule may only judge what the pipeline produces, and no label of it may be forgotten."""
    if isinstance(rule, ImprovementRule):
        return _score_conflicts(rule, where, {}, params) or _direction_conflicts(rule, where, params)
    if isinstance(rule, FailuresRule):
        found = _score_conflicts(rule, where, {"fails": rule.fails, "passes": rule.passes}, params)
        return found or _division_conflicts(rule, where, params)
    if isinstance(rule, CalibrationRule):
        return _floor_conflicts(rule, where, params)
    if isinstance(rule, BenchmarkRule) and rule.task not in params.bench.tasks:
        return [((*where, "task"), _unknown(rule.task, params.bench.tasks, "bench.tasks"))]
    return []


def _floor_conflicts(rule: CalibrationRule, where: Location, params: Params) -> list[Conflict]:
    """Floors are for declared scorers, and no scorer that decides something is without one."""
    declared = {scorer.name for scorer in (*params.train.probe.scorers, *params.score.scorers)}
    found: list[Conflict] = [((*where, "floors", i), _unknown(floor.scorer, sorted(declared), "score.scorers"))
                             for i, floor in enumerate(rule.floors) if floor.scorer not in declared]
    deciding = {scorer.name for scorer in params.train.probe.scorers}
    deciding |= {one.scorer for one in params.gate.rules if isinstance(one, FailuresRule | ImprovementRule)}
    bare = sorted((deciding & declared) - {floor.scorer for floor in rule.floors})
    why = "decides (in a rule or the probe) and has no floor"
    return found + [((*where, "floors"), f"'{name}' {why}") for name in bare]


def _score_conflicts(
    asks: FailuresRule | ImprovementRule | Headline, where: Location, labels: dict[str, tuple[str, ...]], params: Params
) -> list[Conflict]:
    """The suite is answered, the scorer is declared, and the labels, by field, are among those that it gives."""
    found: list[Conflict] = []
    if asks.suite not in params.respond.suites:
        found.append(((*where, "suite"), _unknown(asks.suite, params.respond.suites, "respond.suites")))
    scorers = {scorer.name: scorer for scorer in params.score.scorers}
    if asks.scorer not in scorers:
        return [*found, ((*where, "scorer"), _unknown(asks.scorer, scorers, "score.scorers"))]
    known = scorers[asks.scorer].labels
    return found + [
        ((*where, field), _unknown(label, known, f"the labels of {asks.scorer}"))
        for field, given in labels.items() for label in given if label not in known
    ]


def _direction_conflicts(rule: ImprovementRule, where: Location, params: Params) -> list[Conflict]:
    """A mean can only improve where a higher value is better and every reply is asked about."""
    scorer = next(scorer for scorer in params.score.scorers if scorer.name == rule.scorer)
    if scorer.higher_is_better and not scorer.nothing_asked:
        return []
    why = "gives some replies no score of their own" if scorer.nothing_asked else "does not call a higher value better"
    return [((*where, "scorer"), f"'{rule.scorer}' {why}; judge it by a rule of kind failures")]


def _division_conflicts(rule: FailuresRule, where: Location, params: Params) -> list[Conflict]:
    """Every label fails or passes, but those for replies of which the scorer asked nothing."""
    scorer = next(scorer for scorer in params.score.scorers if scorer.name == rule.scorer)
    forgotten = [label for label in scorer.labels if label not in (*rule.fails, *rule.passes, *scorer.nothing_asked)]
    both = [label for label in rule.fails if label in rule.passes]
    found = [((*where, "fails"), f"'{label}' of {rule.scorer} is in neither fails nor passes") for label in forgotten]
    return found + [((*where, "fails"), f"'{label}' stands in fails and in passes") for label in both]


def _repeats(where: Location, names: Sequence[str]) -> list[Conflict]:
    again = [i for i, name in enumerate(names) if name in names[:i]]
    return [((*where, i), f"'{names[i]}' stands twice; names must differ") for i in again]


def _unknown(name: str, known: Iterable[str], where: str) -> str:
    names = list(known)
    return f"'{name}' is not in {where} ({', '.join(names)}){nearest(name, names)}"
