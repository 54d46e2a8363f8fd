"""Stage respond: suites × {base, tuned} → ``out/respond/MODEL/replies.jsonl``.

Both models get the same system prompt, the same contexts and the same limits, greedy. Generating is dear and
judging is revised often, so nothing is judged here.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attunement import chat
from attunement.artefacts import publishing, verify, write_jsonl
from attunement.errors import ends_clearly
from attunement.models import BASE, load_base, load_tokenizer, load_tuned, resolved_precision, silence
from attunement.params import Params, load
from attunement.process import begin_with
from attunement.records import MODELS, ModelName, Prompt, Reply
from attunement.suites import read_suites

SELECTED = Path("out/select")
OUT = Path("out/respond")


def respond(params: Params, name: ModelName, model: Any, tokenizer: Any, prompts: Sequence[Prompt]) -> list[Reply]:
    """One greedy reply per prompt, sorted by suite and prompt id.

    A suite is answered by itself, as the probe answers it: in low precision the words depend on the batch.
    """
    progress = _Progress(name, len(prompts))
    suites = dict.fromkeys(prompt.suite for prompt in prompts)
    replies = [reply for suite in suites
               for reply in _respond_suite(params, name, model, tokenizer,
                                           [p for p in prompts if p.suite == suite], progress)]
    return sorted(replies, key=lambda reply: (reply.suite, reply.prompt_id, reply.sample))


def _respond_suite(
    params: Params, name: ModelName, model: Any, tokenizer: Any, prompts: Sequence[Prompt], progress: "_Progress"
) -> list[Reply]:
    contexts = [chat.encode_prompt(tokenizer, prompt.context, system_prompt=params.chat.system_prompt,
                                   max_tokens=params.chat.max_context_tokens) for prompt in prompts]
    answers = chat.generate(model, tokenizer, contexts, max_new_tokens=params.respond.max_new_tokens,
                            batch_size=params.respond.batch_size, engine=params.respond.engine, seed=params.seed,
                            on_batch=progress.add)
    return [Reply(suite=prompt.suite, prompt_id=prompt.prompt_id, model=name, sample=0, text=answer.text,
                  stopped_by=answer.stopped_by, n_tokens=answer.n_tokens)
            for prompt, answer in zip(prompts, answers, strict=True)]


def load_model(name: ModelName, params: Params) -> Any:
    """The base, or the base with what was trained and selected on it."""
    model = load_base(BASE, resolved_precision(params.train.precision))
    return model if name == "base" else load_tuned(model, verify(SELECTED) / "adapter", base=BASE)


class _Progress:
    """A line per batch: how many prompts are answered, and about how long the rest will take."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done, self.started = name, total, 0, time.monotonic()

    def add(self, n: int) -> None:
        self.done += n
        left_s = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        print(f"respond: {self.name}: {self.done} of {self.total} prompts answered, about {left_s:.0f} s left",
              file=sys.stderr, flush=True)


@ends_clearly
def main(name: ModelName) -> None:
    """``python -m attunement.respond base|tuned``"""
    silence()
    params = load()
    prompts = read_suites(params.respond.suites)
    replies = respond(params, name, load_model(name, params), load_tokenizer(BASE), prompts)
    with publishing(OUT / name) as folder:
        write_jsonl(folder / "replies.jsonl", replies)


if __name__ == "__main__":
    main(begin_with("respond", __doc__, choices=MODELS))
