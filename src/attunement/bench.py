"""Stage bench: lm-eval on base or tuned → ``out/bench/MODEL/bench.jsonl``.

lm-eval's own API over the loaded model; only tasks of the declared folder are indexed (its built-in ones need a
data hub). No result cache: lm-eval's is keyed on prompts and would return another adapter's scores.
"""

import contextlib
import io
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attunement.artefacts import publishing, write_jsonl
from attunement.errors import DataError, ends_clearly
from attunement.models import BASE, load_tokenizer, silence
from attunement.params import Params, load
from attunement.process import begin_with
from attunement.records import MODELS, Bench, ModelName
from attunement.respond import load_model
from attunement.sampling import sample

OUT = Path("out/bench")


def bench(params: Params, model: Any, tokenizer: Any) -> list[Bench]:
    """Every metric of every declared task, sorted; raises DataError when a task is unknown or fails to load."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    settings = params.bench
    manager = TaskManager(include_path=settings.include, include_defaults=False)
    unknown = [task for task in settings.tasks if task not in manager.all_tasks]
    if unknown:
        raise DataError(f"bench.tasks: {', '.join(unknown)} not found in {settings.include} "
                        f"(there: {', '.join(manager.all_tasks) or 'none'}).")
    samples = {task: _documents(manager, task, amount) for task, amount in settings.tasks.items() if amount != "all"}
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=settings.batch_size,
                   max_length=params.chat.max_context_tokens)
    with _quiet():
        results = simple_evaluate(
            model=harness, tasks=list(settings.tasks), task_manager=manager, log_samples=False, bootstrap_iters=1000,
            samples=samples or None,
            apply_chat_template=settings.chat_template, random_seed=params.seed, numpy_random_seed=params.seed,
            torch_random_seed=params.seed, fewshot_random_seed=params.seed,
            system_instruction=params.chat.system_prompt if settings.chat_template else None,
        )
    if results is None:
        raise DataError("lm-eval returned no results (it does so on every process but the first).")
    return records(results, list(settings.tasks))


def _documents(manager: Any, task: str, amount: int) -> list[int]:
    """Places of a fixed sample, spread evenly over the task's documents in their order."""
    from lm_eval.tasks import get_task_dict

    n = len(list(get_task_dict([task], manager)[task].eval_docs))
    return sample(range(n), amount, stratum=lambda place: place)


def records(results: Any, tasks: Sequence[str]) -> list[Bench]:
    """lm-eval's result dictionary in our schema; a NaN or missing value becomes None."""
    found = []
    for task in tasks:
        entries: dict[str, Any] = results["results"][task]
        for key, value in entries.items():
            metric, comma, _filter = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            found.append(Bench(task=task, version=str(results["versions"].get(task)), metric=metric,
                               value=_finite(value), stderr=_finite(entries.get(f"{metric}_stderr,{_filter}")),
                               n=results["n-samples"][task]["effective"]))
    return sorted(found, key=lambda one: (one.task, one.metric))


def _finite(value: Any) -> float | None:
    """lm-eval writes 'N/A' or NaN where it has no number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


@contextlib.contextmanager
def _quiet() -> Any:
    """lm-eval logs whole documents when one is unusual, and people's words may not be in logs."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@ends_clearly
def main(name: ModelName) -> None:
    """``python -m attunement.bench base|tuned``"""
    silence()
    params = load()
    print(f"bench: {name}: {', '.join(params.bench.tasks)}", file=sys.stderr, flush=True)
    found = bench(params, load_model(name, params), load_tokenizer(BASE))
    with publishing(OUT / name) as folder:
        write_jsonl(folder / "bench.jsonl", found)
    for one in found:
        spread = f" ± {one.stderr:.3f}" if one.stderr is not None else ""
        print(f"bench: {name}: {one.task} {one.metric} {one.value}{spread} (n = {one.n})", file=sys.stderr)


if __name__ == "__main__":
    main(begin_with("bench", __doc__, choices=MODELS))
