"""The commands about training: what a step holds, before anything is trained."""

from pathlib import Path
from typing import Annotated

import typer

from attunement.errors import DataError, ends_clearly
from attunement.params import PARAMS_FILE, load


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
