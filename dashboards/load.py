"""What the pages read: the stages' artefacts, checked against their manifests and kept until their files change.

Every fault is an AttunementError whose text says what to run next. No torch: the readers, records and params of
``attunement`` start without it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import streamlit as st
from pydantic import TypeAdapter, ValidationError

from attunement import params as declared
from attunement.artefacts import first_fault, read_json, read_jsonl, read_parquet, verify
from attunement.errors import DataError
from attunement.records import ModelName, Prompt, Record, Reply, Score, Selection, Verdict
from attunement.suites import read_suite

OUT = Path("out")
HEADLINE = Path("metrics/headline.json")
MODELS: tuple[ModelName, ModelName] = ("base", "tuned")

R = TypeVar("R", bound=Record)
Stamp = tuple[tuple[str, int, int], ...]


class CurationSummary(Record):
    """out/curate/summary.json: rows by what became of them, by ``action:step:rule``, sizes by split, leaks."""

    rows: dict[str, int]
    dialogues: dict[str, int]
    turns: dict[str, int]
    rules: dict[str, int]
    leaks: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Answer:
    """One model's reply to a prompt, with every score of it."""

    reply: Reply
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Compared:
    """A prompt with both models' answers, by model; several where a model was sampled several times."""

    prompt: Prompt
    answers: dict[ModelName, tuple[Answer, ...]]


def records(path: Path, record: type[R]) -> tuple[R, ...]:
    """The records of a file in a stage's folder; raises DataError or IntegrityError."""
    stamp = _stamp(path.parent)
    _check(str(path.parent), stamp)
    return _read(str(path), stamp, record)  # type: ignore[return-value]  # the cache forgets the type variable


def verdict() -> Verdict:
    """The gate's verdict; raises DataError when it contradicts its own rules."""
    found = records(OUT / "gate/verdict.json", Verdict)[0]
    if not found.rules or found.passed != all(rule.passed for rule in found.rules):
        raise DataError("out/gate/verdict.json does not follow from its rules. Remove out/gate and run `dvc repro`.")
    return found


def selection() -> Selection:
    """Which checkpoint was evaluated, and why."""
    return records(OUT / "select/selection.json", Selection)[0]


def card() -> str:
    """The model card as Markdown; it holds no word of a model or a person."""
    path = OUT / "report/card.md"
    _check(str(path.parent), _stamp(path.parent))
    if not path.exists():
        raise DataError(f"{path} is missing. Run `dvc repro`, which makes it.")
    return path.read_text(encoding="utf-8")


def headline() -> dict[str, float | None]:
    """The few numbers that ``dvc exp show`` prints."""
    if not HEADLINE.exists():
        raise DataError(f"{HEADLINE} is missing. Run `dvc repro`, which makes it.")
    try:
        return TypeAdapter(dict[str, float | None]).validate_json(HEADLINE.read_bytes())
    except ValidationError as error:
        raise DataError(f"{HEADLINE} is not flat numbers: {first_fault(error)}. Run `dvc repro` again.") from error


def compared() -> dict[str, list[Compared]]:
    """By suite, every prompt that was answered; raises DataError when suites, replies and scores do not match."""
    scores: dict[tuple[str, str, str, int], list[Score]] = {}
    for one in records(OUT / "score/scores.jsonl", Score):
        scores.setdefault((one.suite, one.prompt_id, one.model, one.sample), []).append(one)
    answers: dict[tuple[str, str], dict[ModelName, tuple[Answer, ...]]] = {}
    for model in MODELS:
        for reply in records(OUT / f"respond/{model}/replies.jsonl", Reply):
            own = tuple(scores.pop((reply.suite, reply.prompt_id, model, reply.sample), ()))
            of_prompt = answers.setdefault((reply.suite, reply.prompt_id), {"base": (), "tuned": ()})
            of_prompt[model] += (Answer(reply, own),)
    if scores:
        raise DataError(f"out/score judges {len(scores)} replies that out/respond does not hold. Run `dvc repro`, so "
                        "that what is answered now is judged.")
    return {suite: _of_suite(suite, answers) for suite in sorted({suite for suite, _ in answers})}


def prompts(suite: str) -> dict[str, Prompt]:
    """A suite's prompts by id."""
    return {prompt.prompt_id: prompt for prompt in read_suite(suite)}


def prompt(suite: str, prompt_id: str) -> Prompt:
    """One prompt; raises DataError when the suite does not hold it (any more)."""
    try:
        return prompts(suite)[prompt_id]
    except KeyError:
        raise DataError(f"The probe answered prompts that suite '{suite}' does not hold (any more). Run `dvc repro`, "
                        "so that it is answered again.") from None


def has_weights(step: int) -> bool:
    """Whether the checkpoint's weights were kept: its history and its probe stay without them."""
    return (OUT / f"train/checkpoints/step-{step:06d}").is_dir()


def confidence() -> float:
    """Of every one-sided bound, as params.yaml declares it for the gate."""
    return declared.load().gate.confidence


def failing_labels() -> dict[tuple[str, str], dict[str, str]]:
    """By (suite, scorer), the labels that fail a rule of the gate, each with that rule's name.

    Raises DataError when params.yaml no longer declares the rules that the verdict was reached by.
    """
    rules = declared.load().gate.rules
    if [rule.name for rule in rules] != [rule.name for rule in verdict().rules]:
        raise DataError("params.yaml declares other rules than the verdict was reached by. Run `dvc repro`.")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for rule in rules:
        if isinstance(rule, declared.FailuresRule):
            found.setdefault((rule.suite, rule.scorer), {}).update(dict.fromkeys(rule.fails, rule.name))
    return found


def status() -> str:
    """What the model is released as, in the words of params.yaml."""
    return declared.load().report.status


def _of_suite(suite: str, answers: dict[tuple[str, str], dict[ModelName, tuple[Answer, ...]]]) -> list[Compared]:
    known = prompts(suite)
    own = {prompt_id: found for (name, prompt_id), found in answers.items() if name == suite}
    strange = own.keys() - known.keys()
    if strange:
        raise DataError(f"{len(strange)} replies answer prompts that suite '{suite}' does not hold (any more). Run "
                        "`dvc repro`, so that the suite is answered again.")
    return [Compared(known[prompt_id], found) for prompt_id, found in sorted(own.items())]


def _stamp(folder: Path) -> Stamp:
    """Changes when any file of the folder does; cheap, so that it can be taken at every click."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((os.fspath(path.resolve()), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files)


@st.cache_resource(show_spinner=False, max_entries=32)
def _check(folder: str, stamp: Stamp) -> bool:
    verify(Path(folder))
    return True


@st.cache_resource(show_spinner=False, max_entries=32)
def _read(path: str, stamp: Stamp, _record: type[R]) -> Sequence[R]:
    """Frozen records in a tuple, so that every visitor may share the one object."""
    readers = {".json": lambda p, r: [read_json(p, r)], ".jsonl": read_jsonl, ".parquet": read_parquet}
    return tuple(readers[Path(path).suffix](Path(path), _record))
