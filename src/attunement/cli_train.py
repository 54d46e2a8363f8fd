"""``attune show-batch``, ``plan`` and ``profile``: what a training learns from, what it takes, settings for its size.

In: params.yaml, a profile, a model's config.json. Out: what a terminal shows; params.yaml with a profile's overrides.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attunement import profiles
from attunement.errors import DataError, ParamsError, ends_clearly
from attunement.params import PARAMS_FILE, load

if TYPE_CHECKING:
    from attunement.plan import Plan

Profile = Annotated[str | None, typer.Option("--profile", help="With the overrides of profiles/NAME.yaml.")]


@ends_clearly
def plan(
    profile: Profile = None,
    config: Annotated[Path | None, typer.Option(help="The model's config.json, where it is not fetched.")] = None,
    card: Annotated[float | None, typer.Option(min=1, help="Plan for a GPU of so many GB, not this machine.")] = None,
    params: Annotated[Path, typer.Option("--params", help="The parameters to use.")] = PARAMS_FILE,
) -> None:
    """Show what memory a training takes, part by part, beside what is here; starts nothing, takes seconds.

    The model is run without values, so a model of any size can be planned on any machine. Where out/curate stands, its
    largest pack counts, and dialogues, steps and checkpoints are told; else the longest that params.yaml allows. Exit
    status 1 when the training will not fit.
    """
    from attunement.models import BASE, silence
    from attunement.plan import GB, machine_bytes, make_plan

    silence()
    plain = load(params)
    wanted = profiles.load_merged(profile, params=params) if profile else plain
    base = BASE if wanted.fetch.base == plain.fetch.base else None  # what is fetched is params.yaml's
    found = make_plan(wanted, config=config, device="cuda" if card else None, base=base)
    print(_table(found))
    there = card * GB if card else machine_bytes(found.device)
    needed = found.peak_bytes * found.processes
    if there is None:
        print("How much memory is here can not be told.")
        return
    where = "the card" if found.device == "cuda" else "this machine"
    print(f"{where} has {there / GB:.1f} GB; expected: about {needed / GB:.1f} GB, {needed / there:.0%} of it")
    if needed > there:
        print(f"It will not fit: {needed / GB:.1f} GB are needed and {where} has {there / GB:.1f} GB. Lower "
              "train.batch_dialogues or chat.max_context_tokens, set train.recompute_activations: true, or take "
              "train.precision: nf4.", file=sys.stderr)
        raise SystemExit(1)


def _table(found: "Plan") -> str:
    """The plan in a terminal: what is trained, the work, the parts of the peak."""
    from attunement.plan import GB

    whose = "of the curated dialogues" if found.pack.known else "the longest that params.yaml allows"
    lines = [f"{found.n_trained:,} weights are trained, {found.n_trained / found.n_base:.2%} of the model's "
             f"{found.n_base:,}; {found.precision} on {found.device}",
             f"largest pack: {len(found.pack.documents)} dialogues, {sum(found.pack.documents):,} tokens ({whose})"]
    if (work := found.work) is not None:
        lines += [f"{work.n_dialogues:,} dialogues, {work.tokens_per_epoch:,} tokens an epoch, {work.n_steps:,} steps; "
                  f"{work.n_checkpoints} checkpoints, {work.n_probe_replies:,} probe replies in all"]
    else:
        lines += ["dialogues and steps: known when the model is fetched and out/curate is there (dvc repro curate)"]
    lines += ["", *(f"  {part.name:16} {part.n_bytes / GB:8.2f} GB   {part.because}" for part in found.parts),
              f"  {'peak':16} {found.peak_bytes / GB:8.2f} GB   of one device"]
    if (aside := found.aside) is not None:
        lines += [f"  ({aside.name} takes {aside.n_bytes / GB:.2f} GB at another time: {aside.because})"]
    return "\n".join([*lines, ""])


@ends_clearly
def profile(
    name: Annotated[str | None, typer.Argument(help="A file of profiles/, without .yaml; none lists them.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over changes that are not committed.")] = False,
    params: Annotated[Path, typer.Option("--params", help="The parameters to write into.")] = PARAMS_FILE,
) -> None:
    """Write a profile's overrides into params.yaml, which DVC reads; its comments stay.

    Look first with `attune plan --profile NAME`. Back again: git checkout params.yaml.
    """
    if name is None:
        if not profiles.names():
            raise ParamsError("no profiles/ here. Run from the project's root.")
        print("\n".join(profiles.names()))
        return
    profiles.apply(name, params=params, force=force)
    print(f"{params} now holds profile {name}. See what it changed: git diff {params}. Next: attune check, attune plan")


@ends_clearly
def show_batch(
    step: Annotated[int, typer.Option("--step", min=1, help="Which optimiser step, counted from 1.")] = 1,
    params: Annotated[Path, typer.Option("--params", help="The parameters to use.")] = PARAMS_FILE,
) -> None:
    """Print the dialogues of a training step: what is learnt from in green, what is only read in grey.

    Shows people's words, with the chat template's tokens around them. Without colour (NO_COLOR, a pipe) what is learnt
    from stands within ⟦ ⟧. Needs the stages fetch and curate; loads no model.
    """
    from attunement.models import BASE, load_tokenizer
    from attunement.preview import print_step
    from attunement.training_data import TrainingData

    declared, tokenizer = load(params), load_tokenizer(BASE)
    data = TrainingData.read(declared, tokenizer)
    stream, _ = data.streams(declared)
    if step > len(stream):
        raise DataError(f"--step {step}: there are {len(stream)} steps ({len(data.train)} dialogues, "
                        f"{declared.train.step_dialogues} a step, {declared.train.epochs} epochs).")
    print_step(tokenizer, stream.step(step - 1), number=step, of=len(stream))
    if told := data.told():
        print(f"\n{told}")
