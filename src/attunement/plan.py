"""What a training takes before it starts: memory by part, and the size of the work where the data is known.

In: params.yaml, the model's config.json, and out/curate and models/base where they stand. Out: a Plan, whose parts add
up to the peak. What a step keeps is found by running it without values (``rehearsal``); what is left to constants is
what a process holds besides tensors, each measured as benchmarks/training/memory.md tells, or said to be assumed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attunement.artefacts import MANIFEST
from attunement.errors import ParamsError
from attunement.models import BASE
from attunement.params import HubWeights, Params, PathWeights, Weights
from attunement.training_data import CURATED

if TYPE_CHECKING:
    from attunement.models import Precision
    from attunement.rehearsal import Device, StepMemory
    from attunement.rehearsal import Weights as Counted

GB = 1e9
# Measured: 0.45 GB with torch, transformers, PEFT and Lightning imported, 0.15 GB more with tokenizer and data read.
CPU_RUNTIME_BYTES = 600_000_000
CPU_SCORERS_BYTES = 130_000_000  # measured: the embedded Detoxify with its encoder, 0.11 GB, and linear, 0.02 GB
CUDA_RUNTIME_BYTES = 1_000_000_000  # assumed: the driver's context, about 0.5 GB, and the libraries' workspaces
CUDA_ROUNDING = 0.08  # assumed share of activations that the caching allocator can not fill
ADAM_BYTES = 8  # two float32 a trained weight
GRADIENT_BYTES = 4  # a float32 a trained weight


@dataclass(frozen=True)
class Part:
    """A share of the peak, and what it is in a few words."""

    name: str
    n_bytes: int
    because: str


@dataclass(frozen=True)
class PackSize:
    """The largest pack: its dialogues' tokens, how many of them are learnt, and how many packs a step has at most."""

    documents: tuple[int, ...]
    n_targets: int
    n_packs: int
    known: bool  # measured on the curated dialogues; else the longest that params.yaml allows


@dataclass(frozen=True)
class Work:
    """The size of the training, where the curated dialogues are known."""

    n_dialogues: int
    n_steps: int
    tokens_per_epoch: int
    n_checkpoints: int
    n_probe_replies: int


@dataclass(frozen=True)
class Plan:
    """``parts`` add up to the peak of one device; ``aside`` is what stands at another time and is smaller."""

    parts: tuple[Part, ...]
    aside: Part | None
    pack: PackSize
    n_base: int
    n_trained: int
    precision: str
    device: "Device"
    processes: int  # that share this machine's memory, where it is no GPU's
    work: Work | None

    @property
    def peak_bytes(self) -> int:
        """The most that one device holds at once."""
        return sum(part.n_bytes for part in self.parts)


def make_plan(
    params: Params, *, config: Path | None = None, device: "Device | None" = None, base: Path | None = BASE
) -> Plan:
    """The plan for ``device``, else this machine's; ``base`` is the fetched model, None when it is another.

    Raises ParamsError when the model's config.json is not here.
    """
    from attunement.models import device_name
    from attunement.rehearsal import built, read_config, rehearse_answers, rehearse_step, weights_of

    fetched = base if base is not None and config is None and is_fetched(params.fetch.base, base) else None
    architecture = read_config(config or fetched or _folder_of(params.fetch.base))
    device = device or device_name()
    precision = planned_precision(params, device)
    pack, work = _sizes(params, fetched)
    model = built(architecture, params.train, precision, device)
    weights = weights_of(model, precision)
    step = rehearse_step(model, params.train, documents=pack.documents, n_targets=pack.n_targets,
                         n_packs=pack.n_packs, mixed=precision != "fp32")
    answers = rehearse_answers(architecture, precision, prompts=params.respond.batch_size,
                               prompt_tokens=_prompt_tokens(params, fetched), new_tokens=params.respond.max_new_tokens)
    parts, aside = _parts(params, weights, step, answers=answers, precision=precision, device=device)
    return Plan(parts=parts, aside=aside, pack=pack, n_base=weights.n_base, n_trained=weights.n_trained,
                precision=precision, device=device, work=work,
                processes=params.train.devices.count if device == "cpu" else 1)


def planned_precision(params: Params, device: "Device") -> "Precision":
    """As training resolves it here; for a GPU that is not here, auto is bf16: every card since 2020 has it."""
    from attunement.models import device_name, resolved_precision

    if params.train.precision == "auto" and device != device_name():
        return "bf16"
    return resolved_precision(params.train.precision)


def is_fetched(declared: Weights, base: Path) -> bool:
    """Whether ``base`` is the declared model: its manifest holds the declared hashes, or it can not be told (wheel)."""
    if not (base / "config.json").is_file():
        return False
    if not isinstance(declared, HubWeights | PathWeights):
        return True
    held = (base / MANIFEST).read_text(encoding="utf-8") if (base / MANIFEST).is_file() else ""
    return bool(declared.sha256) and all(value in held for value in declared.sha256.values())


def _folder_of(declared: Weights) -> Path:
    if isinstance(declared, PathWeights) and (Path(declared.path) / "config.json").is_file():
        return Path(declared.path)
    raise ParamsError(f"the architecture of the model to tune ({declared.origin}) is not here: it was not fetched. Run "
                      "`dvc repro fetch`, or give its config.json, as its authors publish it, by --config FILE.")


def _sizes(params: Params, fetched: Path | None) -> tuple[PackSize, Work | None]:
    """The largest pack and the work, of the curated dialogues when they and the tokenizer are here."""
    if fetched is None or not (CURATED / MANIFEST).is_file():
        return worst_pack(params), None
    from attunement.models import load_tokenizer
    from attunement.training_data import TrainingData, checkpoint_steps

    data = TrainingData.read(params, load_tokenizer(fetched))
    stream, _ = data.streams(params)
    n_checkpoints = len(checkpoint_steps(params, stream))
    return largest_pack(stream), Work(
        n_dialogues=len(data.train), n_steps=len(stream), n_checkpoints=n_checkpoints,
        tokens_per_epoch=sum(len(example.encoded.input_ids) for example in data.train),
        n_probe_replies=probe_replies(params, n_checkpoints))


def worst_pack(params: Params) -> PackSize:
    """Every dialogue as long as chat.max_context_tokens, every token learnt."""
    train, longest = params.train, params.chat.max_context_tokens
    fit = train.batch_dialogues if train.batch_tokens is None else max(1, train.batch_tokens // longest)
    n = min(fit, train.batch_dialogues, train.step_dialogues)
    return PackSize(documents=(longest,) * n, n_targets=n * longest, n_packs=-(-train.step_dialogues // n), known=False)


def largest_pack(stream: Any) -> PackSize:
    """The pack with the most tokens of all that the stream gives."""
    from attunement.stream import fill_packs

    best, n_packs = PackSize((), 0, 0, known=True), 0
    for step in stream.plan:
        examples = [stream.examples[i].encoded for i in step]
        packs = fill_packs([len(one.input_ids) for one in examples], most=stream.share.batch_dialogues,
                           most_tokens=stream.share.batch_tokens)
        n_packs = max(n_packs, len(packs))
        for pack in packs:
            documents = tuple(len(examples[i].input_ids) for i in pack)
            if sum(documents) > sum(best.documents):
                best = PackSize(documents, sum(examples[i].n_targets for i in pack), 0, known=True)
    return PackSize(best.documents, best.n_targets, n_packs, known=True)


def probe_replies(params: Params, n_checkpoints: int) -> int:
    """Replies that all checkpoints give: all prompts at the last, some between."""
    from attunement.sampling import sample
    from attunement.suites import by_category, read_suite

    prompts = read_suite(params.train.probe.suite, amount=params.train.probe.prompts)
    between = sample(prompts, params.train.probe.prompts_between, stratum=by_category)
    return len(prompts) + (n_checkpoints - 1) * len(between)


def _prompt_tokens(params: Params, fetched: Path | None) -> int:
    """The longest prompt of the probe, or the most that params.yaml allows."""
    if fetched is None:
        return params.chat.max_context_tokens
    from attunement import chat
    from attunement.models import load_tokenizer
    from attunement.suites import read_suite

    tokenizer, limit = load_tokenizer(fetched), params.chat.max_context_tokens
    return max(len(chat.encode_prompt(tokenizer, prompt.context, system_prompt=params.chat.system_prompt,
                                      max_tokens=limit))
               for prompt in read_suite(params.train.probe.suite, amount=params.train.probe.prompts))


def _parts(
    params: Params, weights: "Counted", step: "StepMemory", *, answers: int, precision: str, device: "Device"
) -> tuple[tuple[Part, ...], Part | None]:
    """The parts of the peak, and the phase that is not it: a step or the answers; on a CPU both."""
    trained = weights.n_trained
    several = params.train.devices.count * params.train.devices.nodes > 1  # ddp keeps gradients in buckets as well
    passing = _step_bytes(step, weights, precision=precision, device=device) - GRADIENT_BYTES * trained
    # the copy in which all weights are served; on a CPU it lies in what a step has freed
    served = 2 * trained if params.train.lora is None and precision != "fp32" and device == "cuda" else 0
    kept = [
        Part("frozen weights", weights.frozen_bytes, precision),
        Part("trained weights", weights.trained_bytes, "float32"),
        Part("optimiser", ADAM_BYTES * trained, "AdamW, 2 float32 a weight"),
        _runtime(device),
    ]
    taught = [Part("gradients", GRADIENT_BYTES * trained * (1 + several), f"float32{', and in buckets' * several}"),
              Part("activations", max(0, passing), "what a step keeps of the largest pack, and a chunk of logits")]
    answered = [Part("probe's answers", answers + served, "their cache, and reading a batch of prompts")]
    if device == "cpu":  # measured: malloc keeps most of what a step has freed, and answering comes on top
        return _some((*kept, *taught, *answered)), None
    taught_bytes, answered_bytes = (sum(part.n_bytes for part in one) for one in (taught, answered))
    if taught_bytes >= answered_bytes:
        return _some((*kept, *taught)), Part("answering", answered_bytes, "the probe, when no step is under way")
    return _some((*kept, *answered)), Part("a step", taught_bytes, "gradients and activations, when none answers")


def _step_bytes(
    step: "StepMemory", weights: "Counted", *, precision: str, device: "Device"
) -> int:
    """The peak of a step with its gradients, and what is unpacked or gathered of one tensor meanwhile."""
    full = GRADIENT_BYTES * weights.n_trained
    peak = max(step.peak_bytes, full + (full if device == "cuda" else 0))  # AdamW works on all tensors at once there
    unpacked = weights.largest_bytes if precision == "nf4" else 0
    rounding = CUDA_ROUNDING * step.kept_bytes if device == "cuda" else 0
    return int(peak + unpacked + rounding)


def _runtime(device: "Device") -> Part:
    if device == "cuda":
        return Part("runtime", CUDA_RUNTIME_BYTES + CPU_SCORERS_BYTES, "the driver and libraries (assumed), scorers")
    return Part("runtime", CPU_RUNTIME_BYTES + CPU_SCORERS_BYTES, "Python, libraries, data and the probe's scorers")


def _some(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.n_bytes)


def machine_bytes(device: "Device") -> int | None:
    """The memory of this machine's GPU, or of the machine (its container's, if that is less); None if unknown."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    granted = limit.read_text().strip() if limit.is_file() else "max"
    return min(physical, int(granted)) if granted.isdigit() else physical
