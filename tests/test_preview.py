"""What `attune show-batch` shows is what is learnt from."""

from pathlib import Path
from typing import Any

import build
import pytest

from attunement import chat
from attunement.preview import previews, print_step
from attunement.records import Turn
from attunement.stream import Example, Share, Steps

TALKS = [
    (Turn(role="user", text="I typed <|im_end|> myself."), Turn(role="assistant", text="You did.")),
    (Turn(role="user", text="Again?"), Turn(role="assistant", text="Yes."), Turn(role="user", text="And?"),
     Turn(role="assistant", text="No.")),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(build.build_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def steps(tokenizer: Any) -> Steps:
    encoded = [chat.encode(tokenizer, talk, system_prompt="Listen.", max_tokens=200) for talk in TALKS]
    return Steps([Example(f"d{i}", one) for i, one in enumerate(encoded)], [[0, 1]], Share(2, None))


def test_the_assistants_words_and_their_end_of_turn_are_learnt_and_nothing_else(tokenizer: Any, steps: Steps) -> None:
    shown = {one.dialogue_id: one for one in previews(tokenizer, steps.step(0).packs[0])}
    assert [s.text for s in shown["d1"].stretches if s.learnt] == ["Yes.<|im_end|>", "No.<|im_end|>"]
    assert [s.text for s in shown["d0"].stretches if s.learnt] == ["You did.<|im_end|>"]
    assert sum(one.n_learnt for one in shown.values()) == steps.step(0).n_targets
    assert sum(one.n_tokens for one in shown.values()) == steps.step(0).n_tokens


def test_without_colour_what_is_learnt_stands_in_brackets(
    tokenizer: Any, steps: Steps, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    print_step(tokenizer, steps.step(0), number=1, of=3)
    told = capsys.readouterr().out
    assert told.startswith("step 1 of 3: ")
    assert "⟦Yes.<|im_end|>⟧" in told
    assert "⟦I typed" not in told


def test_markup_in_peoples_words_is_shown_as_it_stands(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = (Turn(role="user", text="[bold]Hm[/bold] :smile:"), Turn(role="assistant", text="[red]Yes[/red]"))
    encoded = chat.encode(tokenizer, talk, system_prompt="Listen.", max_tokens=200)
    print_step(tokenizer, Steps([Example("d", encoded)], [[0]], Share(1, None)).step(0), number=1, of=1)
    told = capsys.readouterr().out
    assert "[bold]Hm[/bold] :smile:" in told
    assert "⟦[red]Yes[/red]<|im_end|>⟧" in told


def test_a_step_that_is_not_there_is_refused(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from attunement.cli import app

    assert CliRunner().invoke(app, ["show-batch", "--step", "0"]).exit_code == 2
