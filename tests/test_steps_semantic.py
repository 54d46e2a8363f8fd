"""Step `semantic`: an evaluation in other words goes, a shared topic stays, and dialogues of one meaning are told."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attunement.drafts import Draft, Note
from attunement.errors import DataError
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.steps.asking import Work
from attunement.steps.order import after_steps
from attunement.steps.semantic import SemanticStep, shown
from curation import draft

ITEMS = [
    {"id": "greenhouse", "context": [{"role": "user", "text": (
        "My father left me his greenhouse and I can't make myself unlock it. All the tomatoes he planted in spring are "
        "dead by now and I sit on the step outside and drink his tea.")}], "good": "Stays on the step with him."},
    {"id": "choir", "context": [
        {"role": "user", "text": "I was thrown out of the choir after twenty years because my voice has got too deep."},
        {"role": "assistant", "text": "Twenty years of evenings. How were you told?"},
        {"role": "user", "text": "By a card in my pigeonhole, and they spelt my name wrong on it."}]},
    {"id": "short", "context": [{"role": "user", "text": "I feel so tired."}]},
]
PARAPHRASE = ("The greenhouse is mine since my father died but I cannot bring myself to unlock it. His tomatoes from "
              "last spring must all be dead, so I just sit outside on the step with a mug of his tea.", "Oh.")
CHOIR = ("After two decades my choir has dismissed me, since my voice turned too deep for them.", "How were you told?",
         "There was a card in my pigeonhole with my name spelt wrong.", "Not even your name.")
TOPIC = ("My father died in spring and left a house full of clocks, and my brother wants to sell every one of them "
         "before the end of the month, which makes me furious.", "Furious. Which clock would you keep?")
OTHER = ("Our landlord put the rent up again and I have no idea how the three of us are meant to eat this winter, so I "
         "have begun to skip lunch at work.", "That's hunger on top of worry.")


@pytest.fixture
def step(tmp_path: Path, encoder: Path) -> SemanticStep:
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ITEMS), encoding="utf-8")
    return SemanticStep(kind="semantic", files=(f"{tmp_path}/*.jsonl",), min_similarity=0.75)


@pytest.fixture(scope="module")
def work() -> Iterator[Work]:
    with running(Engine(runner="local", workers=1, batch_dialogues=10)) as runner:
        yield Work(runner, ScoreCache(None))


def notes(step: SemanticStep, drafts: Sequence[Draft], work: Work) -> dict[str, Note | None]:
    after_steps((step,), list(drafts), work)
    return {one.id: one.notes[-1] if one.notes else None for one in drafts}


def test_without_a_dialogue_no_evaluation_is_embedded(step: SemanticStep) -> None:
    with running(Engine(runner="local", workers=1, batch_dialogues=10)) as runner:
        fresh = Work(runner, ScoreCache(None))
        step.over([], fresh)
        assert fresh.spent == {}


@pytest.mark.parametrize(("texts", "item"), [(PARAPHRASE, "toy:greenhouse"), (CHOIR, "toy:choir")])
def test_an_evaluation_in_other_words_is_dropped_with_its_item_and_cosine(
    step: SemanticStep, work: Work, texts: tuple[str, ...], item: str
) -> None:
    one = draft(*texts)
    note = notes(step, [one], work)[one.id]
    assert note is not None
    assert (note.action, note.rule, note.op, note.limit, note.ref) == (
        "dropped", "paraphrased_evaluation", ">=", 0.75, item)
    assert note.score is not None
    assert 0.75 <= note.score < 1
    assert note.evidence == ""


def test_an_opening_in_other_words_is_found_before_another_talk(step: SemanticStep, work: Work) -> None:
    one = draft(*PARAPHRASE, *OTHER, "The cat eats better than we do and the baker gives me rolls.", "Kind man.")
    assert notes(step, [one], work)[one.id] is not None


def test_a_shared_topic_another_topic_and_a_few_words_stay(step: SemanticStep, work: Work) -> None:
    drafts = [draft(*TOPIC), draft(*OTHER), draft("I feel so tired.", "Tired how?")]
    assert list(notes(step, drafts, work).values()) == [None] * 3


def test_a_higher_limit_never_drops_more(step: SemanticStep, work: Work) -> None:
    dropped = []
    for limit in (0.5, 0.65, 0.75, 0.99):
        drafts = [draft(*texts) for texts in (PARAPHRASE, CHOIR, TOPIC, OTHER)]
        found = notes(step.model_copy(update={"min_similarity": limit}), drafts, work)
        dropped.append({key for key, note in found.items() if note})
    assert all(later <= earlier for earlier, later in pairwise(dropped))
    assert len(dropped[2]) == 2
    assert not dropped[3]


AGAIN = (OTHER[0].replace("Our landlord put the rent up again", "Again the landlord has raised our rent"), "Oh dear.")


@pytest.mark.parametrize(("declared", "action"), [("flag", "flagged"), ("drop", "dropped")])
def test_of_two_that_mean_the_same_the_lesser_is_told_and_names_the_other(
    step: SemanticStep, work: Work, declared: str, action: str
) -> None:
    better, lesser = draft(*OTHER, "And the heating?", "That too."), draft(*AGAIN)
    own = step.model_copy(update={"min_similarity": None, "duplicate_similarity": 0.75, "duplicates": declared})
    found = notes(own, [lesser, draft(*TOPIC), better], work)
    assert [key for key, note in found.items() if note] == [lesser.id]
    note = found[lesser.id]
    assert note is not None
    assert (note.action, note.rule, note.ref) == (action, "semantic_duplicate", better.id)
    assert lesser.out == (declared == "drop")


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations([PARAPHRASE, CHOIR, TOPIC, OTHER, AGAIN, (*AGAIN, "Hello?", "I'm here.")]),
       st.sampled_from(("flag", "drop")))
def test_what_is_decided_does_not_hang_on_the_order(
    step: SemanticStep, work: Work, texts: list[tuple[str, ...]], declared: str
) -> None:
    own = step.model_copy(update={"duplicate_similarity": 0.75, "duplicates": declared})
    expected = notes(own, [draft(*one) for one in sorted(texts)], work)
    assert sum(note is not None for note in expected.values()) == 4
    assert notes(own, [draft(*one) for one in texts], work) == expected


def test_null_limits_ask_nothing(step: SemanticStep) -> None:
    own = step.model_copy(update={"min_similarity": None, "files": ("nowhere",)})
    one = draft(*PARAPHRASE)
    own.over([one], None)  # type: ignore[arg-type]  # there is nothing to ask
    assert one.notes == []


def test_an_item_is_shown_as_one_talk_and_as_what_is_not_replied_in_it(tmp_path: Path, step: SemanticStep) -> None:
    found = [(one.item, len(one.text.split())) for one in shown(tmp_path / "toy.jsonl")]
    assert found == [("toy:greenhouse", 35), ("toy:choir", 39), ("toy:choir", 31)]


def test_files_that_are_not_there_are_told_with_the_step(step: SemanticStep, work: Work) -> None:
    with pytest.raises(DataError, match="semantic looks for evaluations in nowhere"):
        notes(step.model_copy(update={"files": ("nowhere",)}), [draft(*OTHER)], work)


def test_no_source_may_have_limits_of_its_own() -> None:
    with pytest.raises(ValueError, match="takes no overrides"):
        SemanticStep(kind="semantic", min_similarity=0.75, overrides={"toy": {"min_similarity": 0.9}})
