"""Step `decontaminate`: what evaluations ask is found, also lightly changed; what anybody says is not."""

import json
import pickle
from pathlib import Path

import pytest

from attunement.drafts import Draft, Note
from attunement.errors import DataError
from attunement.steps.decontaminate import DecontaminateStep
from curation import draft

ROOT = Path(__file__).resolve().parents[1]
ASKED = ("I have been feeling really down lately and my sister says the greenhouse would be good for me, but every "
         "time I unlock it I only see what has died over the winter")
SCRIPT = ["the bus was late again", "so I walked home over the bridge", "nobody had noticed that I was gone",
          "and the soup was on the table cold"]
ITEMS = [
    {"id": "long", "context": [{"role": "user", "text": ASKED}], "category": "grief", "good": "Stays with the winter.",
     "canary": "NOT FOR TRAINING, this sentence marks the data of an evaluation and nobody is ever asked it"},
    {"id": "brief", "context": [{"role": "user", "text": "My hamster ran away, Tuesday."}], "category": "grief"},
    {"id": "script", "script": SCRIPT, "change_at": 1},
    {"id": "turns", "context": [
        {"role": "user", "text": "The oven again, and the bread in it, on the day that they all came for lunch."},
        {"role": "assistant", "text": "How did you find out? I would call the helpline, it is free and open all day"},
        {"role": "user", "text": "My landlord told me"}]},
    {"id": "choice", "context": "Which reply listens?", "choices": [
        "You carried the whole removal on your own shoulders and then they asked about one lamp.", "Cheer up."]},
]


@pytest.fixture
def step(tmp_path: Path) -> DecontaminateStep:
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ITEMS), encoding="utf-8")
    return DecontaminateStep(kind="decontaminate", files=(f"{tmp_path}/*.jsonl",))


def last(step: DecontaminateStep, *texts: str) -> Note | None:
    one = draft(*texts)
    step.run([one])
    return one.notes[-1] if one.notes else None


def test_a_prompt_word_for_word_is_dropped_with_its_item_and_the_share(step: DecontaminateStep) -> None:
    note = last(step, f"Hi there. {ASKED.upper().replace(',', ' –')}! That is all.", "Tell me more.")
    assert note == Note("dropped", "decontaminate", "contaminated", score=1.0, op=">=", limit=0.5, ref="toy:long")


@pytest.mark.parametrize(("before", "after"), [("greenhouse", "garden"), ("sister", "brother"), ("winter", "frost")])
def test_a_prompt_with_a_word_changed_is_dropped(step: DecontaminateStep, before: str, after: str) -> None:
    note = last(step, ASKED.replace(before, after), "Tell me more.")
    assert note is not None
    assert note.ref == "toy:long"
    assert note.score is not None
    assert 0.5 <= note.score < 1


@pytest.mark.parametrize("text", [
    "I have been feeling really down lately and I do not know why.",
    "I have been feeling really down lately and my sister is worried.",
    "How did you find out?",
    "I would call the helpline, it is free and open all day.",
    "My hamster ran away on a Tuesday in May.",
    "My landlord told me",
    "so I walked home over the bridge",
    "Cheer up.",
])
def test_what_anybody_may_say_stays(step: DecontaminateStep, text: str) -> None:
    assert last(step, text, text) is None


def test_a_prompt_shorter_than_a_run_is_dropped_as_a_whole_turn_of_the_user_alone(step: DecontaminateStep) -> None:
    note = last(step, "Hello.", "Hello you.", "my hamster ran away – Tuesday", "Oh no.")
    assert note is not None
    assert (note.ref, note.turn, note.score) == ("toy:brief", 2, 1.0)
    assert last(step, "Hello.", "My hamster ran away, Tuesday.") is None


def test_a_script_is_found_between_other_answers(step: DecontaminateStep) -> None:
    texts = [text for said in SCRIPT for text in (said, "I hear you.")]
    note = last(step, *texts)
    assert note is not None
    assert note.ref == "toy:script"


def test_a_choice_of_a_task_is_found_in_a_reply(step: DecontaminateStep) -> None:
    note = last(step, "Hello.", ITEMS[4]["choices"][0])  # type: ignore[index]
    assert note is not None
    assert note.ref == "toy:choice"


def test_what_raters_and_cleaners_are_told_is_not_looked_for(step: DecontaminateStep) -> None:
    assert last(step, str(ITEMS[0]["canary"]), "Stays with the winter.") is None


def test_each_dialogue_is_decided_alike_alone_and_among_others(step: DecontaminateStep) -> None:
    drafts = [draft(f"Kettle {at}.", ASKED if at % 3 == 0 else "It sings.") for at in range(1100)]
    step.run(drafts)
    assert [one.out for one in drafts] == [at % 3 == 0 for at in range(1100)]


def test_the_step_travels_to_a_worker(step: DecontaminateStep) -> None:
    assert last(pickle.loads(pickle.dumps(step)), ASKED, "Tell me more.") is not None  # noqa: S301  # our own bytes


def test_a_higher_overlap_never_drops_more(step: DecontaminateStep) -> None:
    text = ASKED.replace("greenhouse", "garden")
    dropped = [last(step.model_copy(update={"min_overlap": share}), text, "Oh.") is not None
               for share in (0.2, 0.5, 0.8, 1.0)]
    assert dropped == sorted(dropped, reverse=True)
    assert dropped[0]
    assert not dropped[-1]


def test_no_dialogue_at_all_is_no_trouble(step: DecontaminateStep) -> None:
    none: list[Draft] = []
    step.each(none)
    assert none == []


def test_files_that_are_not_there_and_lines_that_are_no_objects_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        last(DecontaminateStep(kind="decontaminate", files=(f"{tmp_path}/nowhere/*.jsonl",)), "a", "b")
    (tmp_path / "bad.jsonl").write_text('{"id": "x"}\n["marigold"]\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2: expected one JSON object") as caught:
        last(DecontaminateStep(kind="decontaminate", files=(f"{tmp_path}/bad.jsonl",)), "a", "b")
    assert "marigold" not in str(caught.value)


def test_every_shipped_single_prompt_of_thirteen_words_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shipped = DecontaminateStep(kind="decontaminate")
    rows = [json.loads(line) for path in shipped.data_files() for line in path.read_text(encoding="utf-8").splitlines()]
    prompts = [row["context"][0]["text"] for row in rows
               if isinstance(row.get("context"), list) and len(row["context"]) == 1]
    prompts = [text for text in prompts if len(text.split()) >= 13]
    drafts = [draft(f"Hello. {text} What now?", "Tell me more.") for text in prompts]
    shipped.run(drafts)
    assert len(drafts) > 500
    assert all(one.out for one in drafts)
