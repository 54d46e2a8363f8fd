"""What ``attune check`` looks at beyond params.yaml: that every file it names, and every suite, exists and parses.

A source that DVC does not watch is no fault; it is told, for a changed row of it would go unnoticed.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attunement.demand import demanded
from attunement.drafts import Note, draft_of
from attunement.errors import AttunementError, DataError
from attunement.helplines import load_helplines, read_yaml
from attunement.params import Curate, HubWeights, Params, Weights
from attunement.risk import risk_in
from attunement.scorers.base import Scorer
from attunement.scorers.detoxify import EMBEDDED, Detoxify
from attunement.scorers.judge import Judge, load_flow
from attunement.scorers.referral import Referral
from attunement.scorers.rubric import Rubric, load_rubric
from attunement.sources.base import Source
from attunement.sources.files import matching
from attunement.steps.form import FormStep
from attunement.steps.lost import lost
from attunement.suites import SUITES, read_flawed, read_scripts, read_suite

PIPELINE = Path("dvc.yaml")


def check_files(params: Params) -> list[str]:
    """A line per thing that is in order, and per one to beware of; raises DataError listing every fault found."""
    fine: list[str] = []
    faults: list[str] = []
    for name, look in _looks(params):
        try:
            fine.append(f"ok  {name}: {look()}")
        except AttunementError as error:
            faults.append(f"  {name}: {error}")
    if faults:
        raise DataError(f"{len(faults)} fault{'s' * (len(faults) > 1)} in files that params.yaml names:\n"
                        + "\n".join(faults))
    return fine + [f"warning  source {source.name}: {told}" for source in params.curate.sources
                   if (told := _unwatched(source))]


def _unwatched(source: Source) -> str:
    """What to do about files of a source that no dep of stage curate covers; empty without dvc.yaml, and for a hub."""
    if not PIPELINE.is_file() or not source.files:
        return ""
    watched = [_absolute(dep) for dep in _deps()]
    entries = (source.files,) if isinstance(source.files, str) else source.files
    files = [path for entry in entries for path in ([Path(entry)] if Path(entry).exists() else matching(entry))]
    outside = [path for path in files if not any(_absolute(path).is_relative_to(dep) for dep in watched)]
    if not outside:
        return ""
    more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
    return (f"DVC does not watch {outside[0]}{more}: it is no dep of stage curate in {PIPELINE}. When it changes, "
            "`dvc repro` will not curate again, and no version of the dataset says which bytes it was made of. Move it "
            "below data/sources, or add it to these deps.")


def _deps() -> list[str]:
    """What DVC watches for stage curate."""
    pipeline: Any = read_yaml(PIPELINE)
    try:
        return [dep for dep in pipeline["stages"]["curate"]["deps"] if isinstance(dep, str)]
    except (KeyError, TypeError):
        return []


def _absolute(path: str | Path) -> Path:
    """Without "..", which Path.absolute keeps, and through no link, which resolve follows: DVC watches names."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _answered(path: Path) -> str:
    """A multiple-choice file of a task: every line is JSON, and its answer is one of its choices."""
    n = 0
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}  not JSON.") from error
        if not isinstance(item, dict):
            raise DataError(f"{path}:{number}  not an object; expected one item a line.")
        choices, answer = item.get("choices"), item.get("answer")
        if isinstance(choices, list) and answer not in range(len(choices)):
            raise DataError(f"{path}:{number}  answer is {answer!r}, expected the place of a choice, 0 to "
                            f"{len(choices) - 1}.")
        n += 1
    return f"{n} items"


def _looks(params: Params) -> list[tuple[str, Callable[[], str]]]:
    suites = dict.fromkeys((*params.respond.suites, params.train.probe.suite,
                            *sorted(path.stem for path in SUITES.glob("*.jsonl"))))
    scorers = (*params.train.probe.scorers, *params.score.scorers)
    return [
        ("model to tune", partial(_base, params.fetch.base)),
        *((f"suite {name}", partial(_suite, name)) for name in suites),
        *((f"source {source.name}", partial(_source, source, params.curate)) for source in params.curate.sources),
        *((f"scripts {path.stem}", partial(_scripts, path.stem))
          for path in sorted((SUITES / "scripts").glob("*.jsonl"))),
        *((f"labelled {path.stem}", partial(_labelled, path.stem))
          for path in sorted((SUITES / "curation").glob("*.jsonl"))),
        ("helplines", partial(_helplines, Path(params.curate.helplines))),
        *((f"scorer {scorer.name}", partial(_scorer, scorer, params)) for scorer in scorers),
        *((f"task {name}", partial(_task, name, Path(params.bench.include))) for name in params.bench.tasks),
    ]


def _base(weights: Weights) -> str:
    """A profile leaves the model's commit and hashes to the person who has looked at it."""
    if isinstance(weights, HubWeights) and (set(weights.revision) == {"0"} or not weights.sha256):
        raise DataError(f"fetch.base names {weights.repo} without its commit and hashes, as a profile leaves it. Write "
                        "fetch.base.revision (40 hex digits) and fetch.base.sha256 (of every *.safetensors file).")
    return weights.origin


def _suite(name: str) -> str:
    prompts = read_suite(name)
    for prompt in prompts:
        try:
            demanded(risk_in(()), prompt.tags)
        except DataError as error:
            raise DataError(f"prompt {prompt.prompt_id}: {error}") from error
    return f"{len(prompts)} prompts"


def _scripts(name: str) -> str:
    return f"{len(read_scripts(name))} scripted clients"


def _labelled(name: str) -> str:
    return f"{len(read_flawed(name))} labelled dialogues"


def _helplines(path: Path) -> str:
    return f"{len(load_helplines(path))} regions"


def _scorer(scorer: Scorer, params: Params) -> str:
    """The files it depends on exist, and those that people write parse; weights are not loaded."""
    if isinstance(scorer, Detoxify) and scorer.weights in (EMBEDDED, *params.fetch.detoxify):
        return "its weights are fetched first"
    if isinstance(scorer, Rubric):
        load_rubric(Path(scorer.file))
    if isinstance(scorer, Judge):
        load_flow(Path(scorer.file))
    if isinstance(scorer, Rubric | Referral):
        load_helplines(Path(scorer.helplines))
    return f"version {scorer.version}"


def _source(source: Source, params: Curate) -> str:
    """Reads the corpus once; broken rows beyond the declared share are a fault here too."""
    drafts = [draft_of(row, source=source.name, licence=source.licence) for row in source.read()]
    if not drafts:
        raise DataError(f"{source.files} holds no row.")
    next(step for step in params.steps if isinstance(step, FormStep)).run(drafts)
    broken = [draft for draft in drafts if draft.out]
    if len(broken) > params.max_quarantined_frac * len(drafts):
        first = "; ".join(f"{draft.file}:{draft.line} {_problem(draft.notes[-1])}" for draft in broken[:5])
        raise DataError(" ".join([
            f"{len(broken)} of {len(drafts)} rows are broken, more than curate.max_quarantined_frac "
            f"({params.max_quarantined_frac:.1%}): {first}", *lost(drafts, params.steps)]))
    return f"{len(drafts)} rows"


def _problem(note: Note) -> str:
    return note.evidence if note.step == "read" else f"{note.rule}: {note.evidence}"


def _task(name: str, include: Path) -> str:
    """A task's YAML names it; its local data files exist. lm-eval itself is not loaded (it needs ten seconds)."""
    for path in sorted(include.rglob("*.yaml")):
        task = read_yaml(path)
        if isinstance(task, dict) and task.get("task") == name:
            missing = [file for file in _data_files(task) if not Path(file).exists()]
            if missing:
                raise DataError(f"{path} names {', '.join(missing)}, which does not exist.")
            counts = [_answered(Path(file)) for file in _data_files(task) if file.endswith(".jsonl")]
            return ", ".join([path.as_posix(), *counts])
    raise DataError(f"no YAML file in {include} holds `task: {name}` (bench.tasks, bench.include).")


def _data_files(task: dict[str, Any]) -> list[str]:
    """One file, a list of files, or either of them by split."""
    named = (task.get("dataset_kwargs") or {}).get("data_files") or []
    by_split = list(named.values()) if isinstance(named, dict) else [named]
    return [file for files in by_split for file in ([files] if isinstance(files, str) else files)]
