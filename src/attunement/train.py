"""Stage train: train/val dialogues → ``out/train``: every checkpoint's weights, its probe, the history.

Lightning trains; the callback in ``probe`` answers the adversarial suite at every checkpoint. Nothing is
published before the end. The state to go on from lies in a scratch folder outside DVC's outputs (DVC deletes
those before a run), named by a fingerprint of everything the result depends on; a killed run that is started
again goes on from its last state, to the same bytes.
"""

import fcntl
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from attunement import chat
from attunement.artefacts import publishing, verify, write_json, write_jsonl
from attunement.errors import EXIT_TERMINATED, TrainingError, ends_clearly
from attunement.models import (
    BASE,
    Precision,
    device_name,
    load_tokenizer,
    resolved_precision,
    save_adapter,
    save_full,
    silence,
    torch_dtype,
)
from attunement.params import Params, load
from attunement.process import begin, ctrl_c_as_sigterm
from attunement.records import TrainingSummary, content_id
from attunement.sampling import sample
from attunement.states import States, atomic_checkpoint_io, clear_discarded, discard, made_of, step_of
from attunement.stream import Steps
from attunement.suites import by_category, read_suite
from attunement.training_data import CURATED, TrainingData, checkpoint_steps

OUT = Path("out/train")

def train(params: Params, data: TrainingData, tokenizer: Any, *, scratch: Path) -> None:
    """Fit to the end, leaving every checkpoint in ``scratch``; goes on from there when a state is found."""
    import lightning

    from attunement.probe import drop_after, mend, stop_reason
    from attunement.rng import RandomState
    from attunement.trainable import check_loss, trainable_model
    from attunement.tuner import SupportTuner

    settings, precision = params.train, resolved_precision(params.train.precision)
    states = States(scratch, made_of(params, curated=CURATED))
    stream, validation = data.streams(params)
    n_steps, checkpoints = len(stream), checkpoint_steps(params, stream)
    lost, mended = mend(scratch, checkpoints, keep=settings.keep_checkpoints)
    resume, told = states.newest(lost=lost)
    drop_after(scratch, step_of(resume) if resume else 0)
    if stop_reason(scratch, settings):
        return
    lightning.seed_everything(params.seed, workers=True, verbose=False)
    model = trainable_model(params, precision)
    check_loss(model, stream, precision)
    probe = make_probe(params, states, tokenizer, precision=precision, checkpoints=checkpoints, scratch=scratch)
    trainer = make_trainer(params, precision, n_steps=n_steps, scratch=scratch,
                           callbacks=[dealing(stream, validation), RandomState(), probe])
    if trainer.is_global_zero:
        begin_aloud(states, resume, [*mended, *told, *filter(None, [data.told()])],
                    f"{len(data.train)} dialogues, {n_steps} steps, {len(checkpoints)} checkpoints, {precision} on "
                    f"{device_name()}")
    with ctrl_c_as_sigterm():
        trainer.fit(SupportTuner(model, settings, n_steps=n_steps), stream, validation,
                    ckpt_path=str(resume) if resume else None, weights_only=True)
    if not trainer.is_global_zero:
        return
    if not stop_reason(scratch, settings) and (not trainer.state.finished or trainer.global_step != n_steps):
        raise TrainingError(f"training stopped at step {trainer.global_step} of {n_steps}; nothing was published. "
                            "Run the same command again: it goes on from the last state.")
    say(probe.costs.told())


def make_probe(
    params: Params, states: States, tokenizer: Any, *, precision: Precision, checkpoints: Sequence[int], scratch: Path
) -> Any:
    """The callback that answers the suite: all of its sample at the last checkpoint, some of it between."""
    from attunement.probe import CheckpointProbe, Questions

    settings, system = params.train, params.chat.system_prompt
    prompts = read_suite(settings.probe.suite, amount=settings.probe.prompts)
    encoded = [chat.encode_prompt(tokenizer, prompt.context, system_prompt=system,
                                  max_tokens=params.chat.max_context_tokens) for prompt in prompts]
    between = sample(range(len(prompts)), settings.probe.prompts_between, stratum=lambda i: by_category(prompts[i]))
    save = partial(save_full, precision=precision) if settings.lora is None else save_adapter
    return CheckpointProbe(
        scratch=scratch, states=states, settings=settings, checkpoints=checkpoints, tokenizer=tokenizer,
        questions=Questions(prompts=prompts, encoded=encoded, between=between), save_weights=partial(save, base=BASE),
        served=torch_dtype(precision), max_new_tokens=params.respond.max_new_tokens,
        batch_size=params.respond.batch_size, engine=params.respond.engine, seed=params.seed,
    )


def dealing(*streams: Steps) -> Any:
    """A callback that deals the packs of each step to devices, once it is known which of how many this one is."""
    import lightning

    class Dealing(lightning.Callback):
        def setup(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
            for steps in streams:
                steps.share = replace(steps.share, rank=trainer.global_rank, world=trainer.world_size)

    return Dealing()


def make_trainer(params: Params, precision: Precision, *, n_steps: int, callbacks: list[Any], scratch: Path) -> Any:
    """Lightning's trainer for ``train.devices``; under SLURM without its requeueing, which DVC would not know of."""
    import lightning
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    devices = params.train.devices
    plugins: list[Any] = [atomic_checkpoint_io()]
    try:
        if SLURMEnvironment.detect():
            plugins.append(SLURMEnvironment(auto_requeue=False))
            plugins[-1].validate_settings(num_devices=devices.count, num_nodes=devices.nodes)
        trainer = lightning.Trainer(
            accelerator=device_name(), devices=devices.count, num_nodes=devices.nodes, strategy=devices.strategy,
            precision="32-true" if precision == "fp32" else "bf16-mixed", max_epochs=1, max_steps=n_steps,
            val_check_interval=n_steps, num_sanity_val_steps=0, callbacks=callbacks, plugins=plugins,
            default_root_dir=scratch, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False,
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise TrainingError(f"train.devices ({devices.count} on each of {devices.nodes} nodes, strategy "
                            f"{devices.strategy}) can not be had here: {error}") from error
    if trainer.world_size == 1 and not is_leader():
        raise TrainingError("several processes were started, and train.devices declares one device on one node. "
                            "Declare as many as are started, or start one.")
    return trainer


def begin_aloud(states: States, resume: Path | None, told: Sequence[str], what: str) -> None:
    """Say what is trained and from where; where an unfinished training lies beside it, what sets it apart."""
    for line in told:
        say(line)
    say(what + (f", going on from {resume.stem}" if resume else ""))
    apart = "" if resume else states.nearby()
    if apart:
        say(f"an unfinished training is not gone on with, because it differs: {apart}")
    states.note_parts()


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
            if is_leader():  # the processes that Lightning starts for other devices belong to it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError("another process is training exactly this (same params, data and code). Wait for it, "
                                "or stop it, and run the same command again.") from error
        clear_discarded(root)
        yield folder


def is_leader() -> bool:
    """Whether this process is the first of those that train together, by what its launcher tells it.

    It must be known before Lightning is asked, because the others may neither lock nor publish.
    """
    told = os.environ
    if "RANK" in told:  # torchrun
        return told["RANK"] == "0"
    if "LOCAL_RANK" in told or "NODE_RANK" in told:  # Lightning, or a person on each node
        return all(told.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))
    return told.get("SLURM_PROCID", "0") == "0"


def publish(params: Params, data: TrainingData, scratch: Path, out: Path = OUT) -> None:
    """Copy every checkpoint's weights and join their histories into ``out/train``."""
    from attunement.probe import WEIGHTS, Published, stop_reason

    found, n_planned = Published.read(scratch), len(data.streams(params)[0])
    n_steps = found.history[-1].step
    with publishing(out) as folder:
        for checkpoint in found.folders:
            if (verify(checkpoint) / WEIGHTS).exists():
                shutil.copytree(checkpoint / WEIGHTS, folder / "checkpoints" / checkpoint.name)
        write_jsonl(folder / "history.jsonl", found.history)
        write_jsonl(folder / "probes.jsonl", found.probes)
        write_jsonl(folder / "steps.jsonl", found.steps)
        write_jsonl(folder / "left_out.jsonl", data.rows)
        write_json(folder / "summary.json", TrainingSummary(
            n_dialogues=len(data.train), n_val_dialogues=len(data.val), n_cut=data.count("cut"),
            n_left_out=data.count("left_out"), n_steps=n_steps, n_planned_steps=n_planned,
            stopped_because=stop_reason(scratch, params.train) if n_steps < n_planned else "",
        ))


def say(text: str) -> None:
    print(f"train: {text}", file=sys.stderr, flush=True)


@ends_clearly
def main() -> None:
    """``python -m attunement.train``"""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    silence()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Hints on workers, paths and names to come: nothing that a person who runs this can act on.
    warnings.filterwarnings("ignore", module="lightning|peft|torch|transformers")
    params = load()
    with scratch_folder(content_id(made_of(params, curated=CURATED))) as scratch:
        tokenizer = load_tokenizer(BASE)
        data = TrainingData.read(params, tokenizer)
        try:
            train(params, data, tokenizer, scratch=scratch)
        except SIGTERMException:
            if not is_leader():
                sys.exit()  # with an error, the first process would be killed before it could end
            say("stopped when it was asked to; the same command goes on from its last state")
            sys.exit(EXIT_TERMINATED)
        if not is_leader():
            return
        publish(params, data, scratch)
        discard(scratch)
    say(f"published to {OUT}/")


if __name__ == "__main__":
    begin("train", __doc__)
    main()
