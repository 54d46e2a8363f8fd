"""Stage train: train/val dialogues → ``out/train``: every checkpoint's adapter, its probe, the history.

Lightning trains; the callback in ``probe`` answers the adversarial suite at every checkpoint. Nothing is
published before the end. The state to go on from lies in a scratch folder outside DVC's outputs (DVC deletes
those before a run), named by a fingerprint of everything the result depends on; a killed run that is started
again goes on from its last checkpoint.
"""

import fcntl
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attunement import chat
from attunement.artefacts import publishing, read_json, read_jsonl, read_parquet, sha256_of, verify, write_jsonl
from attunement.errors import TrainingError, ends_clearly
from attunement.models import BASE, base_sha256, device_name, load_base, load_tokenizer, resolved_precision, silence
from attunement.params import Params, load
from attunement.process import begin
from attunement.records import CheckpointSummary, Dialogue, Probe, StepLog, content_id
from attunement.scorers.toxicity import Toxicity
from attunement.stream import Batches, Example, Stream, plan_batches
from attunement.suites import read_suite, suite_path

CURATED = Path("out/curate")
OUT = Path("out/train")
EXIT_TERMINATED = 143  # 128 + SIGTERM: DVC must not take a stopped training for a finished one


def train(params: Params, *, scratch: Path) -> None:
    """Fit to the end, leaving every checkpoint in ``scratch``; goes on from there when a state is found."""
    import lightning

    from attunement.probe import RESUME, CheckpointProbe, atomic_checkpoint_io
    from attunement.rng import RandomState
    from attunement.tuner import SupportTuner

    settings = params.train
    precision = resolved_precision(settings.precision)
    lightning.seed_everything(params.seed, workers=True, verbose=False)
    tokenizer = load_tokenizer(BASE)
    stream, validation = make_streams(params, tokenizer)
    n_steps = len(stream) // settings.accumulate_batches
    every_batches = n_steps // settings.checkpoints * settings.accumulate_batches
    model = add_lora(load_base(BASE, precision), params)
    tuner = SupportTuner(model, settings, n_steps=n_steps)
    prompts = read_suite(settings.probe.suite, amount=settings.probe.prompts)
    scorers: Sequence[Toxicity] = settings.probe.scorers
    probe = CheckpointProbe(
        scratch=scratch, base=BASE, tokenizer=tokenizer, prompts=prompts, scorers=scorers,
        encoded=[chat.encode_prompt(tokenizer, p.context, system_prompt=params.chat.system_prompt,
                                    max_tokens=params.chat.max_context_tokens) for p in prompts],
        max_new_tokens=params.respond.max_new_tokens, batch_size=params.respond.batch_size, seed=params.seed,
    )
    trainer = lightning.Trainer(
        accelerator=device_name(), devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=1, max_steps=n_steps, accumulate_grad_batches=settings.accumulate_batches,
        gradient_clip_val=settings.max_grad_norm, val_check_interval=every_batches, num_sanity_val_steps=0,
        callbacks=[RandomState(), probe], plugins=[atomic_checkpoint_io()], default_root_dir=scratch,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    resume = scratch / RESUME
    _say(f"{len(stream.examples)} dialogues, {n_steps} steps, {settings.checkpoints} checkpoints, {precision} on "
         f"{device_name()}" + (", going on from the last checkpoint" if resume.exists() else ""))
    trainer.fit(tuner, stream, validation, ckpt_path=str(resume) if resume.exists() else None, weights_only=True)
    if not trainer.state.finished or trainer.global_step != n_steps:
        raise TrainingError(f"training stopped at step {trainer.global_step} of {n_steps}; nothing was published. "
                            "Run the same command again: it goes on from the last checkpoint.")


def make_streams(params: Params, tokenizer: Any) -> tuple[Stream, Batches]:
    """Training's stream and validation's batches; training is cut to a multiple of the checkpoints: its last is one.

    Raises TrainingError when there are fewer steps than checkpoints.
    """
    settings, folder = params.train, verify(CURATED)
    train_set, val_set = (
        _examples(read_parquet(folder / f"{name}.parquet", Dialogue), params, tokenizer) for name in ("train", "val")
    )
    lengths = [len(example.encoded.input_ids) for example in train_set]
    plan = plan_batches(lengths, batch=settings.batch_dialogues, epochs=settings.epochs, seed=params.seed)
    multiple = settings.checkpoints * settings.accumulate_batches
    if len(plan) < multiple:
        raise TrainingError(f"{len(plan)} batches are too few for {settings.checkpoints} checkpoints of at least one "
                            "step; lower train.checkpoints or train.batch_dialogues, or raise train.epochs.")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    batch = settings.batch_dialogues
    val_plan = [list(range(i, min(i + batch, len(val_set)))) for i in range(0, len(val_set), batch)]
    stream = Stream(train_set, plan[: len(plan) // multiple * multiple], pad_id=pad, window=settings.accumulate_batches)
    return stream, Batches(val_set, val_plan, pad_id=pad, window=1)


def _examples(dialogues: Sequence[Dialogue], params: Params, tokenizer: Any) -> list[Example]:
    found = [Example(dialogue_id=d.id, encoded=chat.encode(tokenizer, d.turns, system_prompt=params.chat.system_prompt,
                                                           max_tokens=params.chat.max_context_tokens))
             for d in dialogues]
    cut = [example for example in found if example.encoded.n_cut_turns]
    if cut:
        _say(f"{len(cut)} of {len(found)} dialogues are longer than chat.max_context_tokens; their oldest turns are "
             f"left out ({sum(example.encoded.n_cut_turns for example in cut)} turns)")
    return found


def add_lora(model: Any, params: Params) -> Any:
    """The model with a fresh LoRA adapter (Hu et al. 2021), its weights in float32, in training mode.

    Raises TrainingError when ``train.lora.target_modules`` matches nothing.
    """
    from peft import LoraConfig, get_peft_model

    lora = params.train.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets,
                        task_type="CAUSAL_LM")
    try:
        return get_peft_model(model, config).train()
    except ValueError as error:
        raise TrainingError(f"train.lora.target_modules ({targets}) does not fit this model: {error}") from error


def fingerprint(params: Params) -> str:
    """A hash of all that the result depends on: params, data, base, suite, scorers, this package's code, libraries."""
    package = Path(__file__).parent
    code = {path.relative_to(package).as_posix(): sha256_of(path) for path in sorted(package.rglob("*.py"))}
    libraries = {name: version(name) for name in ("torch", "lightning", "transformers", "peft")}
    scorers = [scorer.version for scorer in params.train.probe.scorers]
    verify(BASE)
    data = [sha256_of(verify(CURATED) / f"{name}.parquet") for name in ("train", "val")]
    suite = sha256_of(suite_path(params.train.probe.suite))
    answers = [params.respond.max_new_tokens, params.respond.batch_size]
    return content_id([params.seed, answers, params.chat.model_dump(mode="json"), params.train.model_dump(mode="json"),
                       data, suite, base_sha256(BASE), code, libraries, scorers,
                       resolved_precision(params.train.precision)])


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """The folder for resume state, held by a lock; raises TrainingError when another trainer holds it.

    It lies outside the project (``$ATTUNEMENT_SCRATCH``, else the user's cache folder), because experiments that
    DVC runs in a temporary copy of the project would lose it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("ATTUNEMENT_SCRATCH") or cache / "attunement" / "train").absolute()
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError("another process is training exactly this (same params, data and code). Wait for it, "
                                "or stop it, and run the same command again.") from error
        yield folder


def publish(scratch: Path, out: Path = OUT) -> None:
    """Copy every checkpoint and join their histories into ``out/train``."""
    done = sorted((scratch / "checkpoints").glob("step-*"))
    with publishing(out) as folder:
        for checkpoint in done:
            shutil.copytree(verify(checkpoint) / "adapter", folder / "checkpoints" / checkpoint.name)
        write_jsonl(folder / "history.jsonl", [read_json(c / "checkpoint.json", CheckpointSummary) for c in done])
        write_jsonl(folder / "probes.jsonl", [p for c in done for p in read_jsonl(c / "probes.jsonl", Probe)])
        write_jsonl(folder / "steps.jsonl", [s for c in done for s in read_jsonl(c / "steps.jsonl", StepLog)])


def _say(text: str) -> None:
    print(f"train: {text}", file=sys.stderr, flush=True)


@ends_clearly
def main() -> None:
    """``python -m attunement.train``"""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    silence()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Hints on workers, paths and names to come: nothing that a person who runs this can act on.
    warnings.filterwarnings("ignore", module="lightning|peft|torch|transformers")
    params = load()
    with scratch_folder(fingerprint(params)) as scratch:
        try:
            train(params, scratch=scratch)
        except SIGTERMException:
            _say("stopped by SIGTERM; the last checkpoint is kept and the same command goes on from it")
            sys.exit(EXIT_TERMINATED)
        publish(scratch)
        shutil.rmtree(scratch)
    _say(f"published to {OUT}/")


if __name__ == "__main__":
    begin("train", __doc__)
    main()
