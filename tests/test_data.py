"""The shipped corpus, suites, labels and tasks keep what their datasheet promises."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from measure import length_ranks, lines, most_frequent, near_duplicates, shared_ngrams

from attunement.helplines import load_helplines
from attunement.records import Turn, turns_id
from attunement.referral import referral_in
from attunement.suites import read_flawed, read_scripts, read_suite, rule_names

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
HELPLINES = load_helplines(DATA / "resources/helplines.yaml")
SUITES = sorted(path.stem for path in (DATA / "suites").glob("*.jsonl"))
TASKS = sorted(path.parent.name for path in (DATA / "tasks").glob("*/items.jsonl"))
RISKS = ("passive", "active", "imminent")


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


DIALOGUES = [one for path in sorted((DATA / "sources/attunement").glob("*.jsonl")) for one in objects(path)]
WORDS = {turns_id([Turn(role=m["role"], text=m["content"]) for m in one["messages"]]):
         " ".join(m["content"] for m in one["messages"]) for one in DIALOGUES}
REPLIES = [m["content"] for one in DIALOGUES for m in one["messages"] if m["role"] == "assistant"]


def asked() -> dict[str, str]:
    """Every suite's and task's words by id."""
    found = {p.prompt_id: " ".join(t.text for t in p.context) for n in SUITES for p in read_suite(n, DATA / "suites")}
    found |= {s.script_id: " ".join(s.turns) for s in read_scripts("multi_turn", DATA / "suites/scripts")}
    for name in ("flawed", "fine"):
        found |= {d.id: " ".join(t.text for t in d.turns) for d in labelled(name)}
    return found | {i["id"]: f"{i['context']} {' '.join(i['choices'])}"
                    for name in TASKS for i in objects(DATA / f"tasks/{name}/items.jsonl")}


def labelled(name: str) -> list[Any]:
    return list(read_flawed(name, DATA / "suites/curation", DATA / "LABELLING.md"))


def test_the_corpus_is_as_large_and_as_wide_as_promised() -> None:
    risks = Counter(one["tags"]["risk"] for one in DIALOGUES)
    topics = {one["tags"]["topic"] for one in DIALOGUES}
    places = {one["locale"] for one in DIALOGUES if one["tags"]["risk"] != "none"}
    assert len(DIALOGUES) >= 600
    assert len(topics) >= 30
    assert sum(risks[name] for name in RISKS) >= 120
    assert all(risks[name] for name in RISKS)
    assert "und" in places
    assert len(places) >= 7
    assert {one["tags"]["risk_kind"] for one in DIALOGUES if one["tags"]["risk"] != "none"} == {
        "suicide", "self-harm", "harm-to-others", "abuse", "eating-disorder", "third-person"}


def test_a_dialogue_has_four_to_fourteen_turns() -> None:
    assert [len(one["messages"]) for one in DIALOGUES if not 4 <= len(one["messages"]) <= 14] == []


@pytest.mark.parametrize(
    ("name", "n", "n_categories"),
    [
        ("adversarial_probe", 200, 12),
        ("adversarial_test", 350, 12),
        ("crisis", 200, 6),
        ("benign", 200, 10),
        ("over_refusal", 120, 8),
        ("sycophancy", 240, 6),
        ("misinformation", 80, 5),
        ("empathy", 150, 10),
    ],
)
def test_a_suite_is_as_large_as_promised_and_says_of_each_prompt_what_is_good_and_what_fails(
    name: str, n: int, n_categories: int
) -> None:
    prompts = read_suite(name, DATA / "suites")
    assert len(prompts) >= n
    assert len({prompt.category for prompt in prompts}) >= n_categories
    assert [p.prompt_id for p in prompts if not (p.good and p.fail)] == []
    assert {p.prompt_id for p in prompts if bool(p.right) != (name in ("sycophancy", "misinformation"))} == set()


def test_every_suite_is_counted_above() -> None:
    assert SUITES == ["adversarial_probe", "adversarial_test", "benign", "crisis", "empathy", "misinformation",
                      "over_refusal", "sycophancy"]


def test_the_adversarial_suites_are_six_hundred_prompts_in_the_same_categories_and_share_none() -> None:
    probe, test = (read_suite(f"adversarial_{part}", DATA / "suites") for part in ("probe", "test"))
    assert len(probe) + len(test) >= 600
    assert {p.category for p in probe} == {p.category for p in test}
    assert not {p.prompt_id for p in probe} & {p.prompt_id for p in test}


def test_the_crisis_suite_is_veiled_by_a_third_and_harmless_by_a_quarter() -> None:
    styles = Counter(prompt.tags["style"] for prompt in read_suite("crisis", DATA / "suites"))
    harmless = [p for p in read_suite("crisis", DATA / "suites") if p.severity == "none"]
    assert styles["veiled"] / styles.total() >= 0.3
    assert len(harmless) / styles.total() >= 0.22


def test_nothing_in_the_control_holds_risk() -> None:
    assert {prompt.severity for prompt in read_suite("benign", DATA / "suites")} == {"none"}


def test_twins_have_one_right_answer_and_two_states() -> None:
    pairs: dict[str, list[Any]] = {}
    for prompt in read_suite("sycophancy", DATA / "suites"):
        pairs.setdefault(prompt.pair, []).append(prompt)
    assert len(pairs) >= 120
    for twins in pairs.values():
        assert {t.tags["state"] for t in twins} == {"emotional", "neutral"}
        assert len({t.right for t in twins}) == 1


def test_sixty_scripts_of_five_to_ten_turns_change_at_one_of_them() -> None:
    scripts = read_scripts("multi_turn", DATA / "suites/scripts")
    assert len(scripts) >= 60
    assert [s.script_id for s in scripts if not 5 <= len(s.turns) <= 10] == []
    assert [s.script_id for s in scripts if not (s.good and s.fail)] == []


def test_every_written_rule_is_broken_and_as_many_dialogues_only_look_like_it() -> None:
    flawed, fine = labelled("flawed"), labelled("fine")
    assert len(flawed) >= 300
    assert len(fine) >= 150
    counts = Counter(one.rule for one in flawed)
    assert set(counts) == rule_names(DATA / "LABELLING.md") - {"none"}
    assert {name: n for name, n in counts.items() if n < 5} == {}
    assert {one.rule for one in fine} == {"none"}


@pytest.mark.parametrize(
    ("name", "n"), [("better_reply", 200), ("unsafe_reply", 150), ("crisis_knowledge", 60), ("literacy", 100)]
)
def test_a_task_can_not_be_passed_by_place_or_length(name: str, n: int) -> None:
    items = objects(DATA / f"tasks/{name}/items.jsonl")
    choices, answers = [item["choices"] for item in items], [item["answer"] for item in items]
    places, ranks = Counter(answers), length_ranks(choices, answers)
    assert len(items) >= n
    assert len({item["id"] for item in items}) == len(items)
    assert {len(set(one)) for one in choices} == {4}
    assert max(places.values()) - min(places[k] for k in range(4)) <= 1
    assert max(ranks.values()) / len(items) <= 0.45
    assert max(max(map(len, one)) / min(map(len, one)) for one in choices) <= 1.6


def test_fewer_than_one_in_a_hundred_dialogues_is_a_near_duplicate() -> None:
    pairs = near_duplicates(list(WORDS.values()), threshold=0.8)
    assert len({i for pair in pairs for i in pair[:2]}) < 0.01 * len(WORDS)


@pytest.mark.parametrize("place", [0, -1])
def test_no_opening_or_closing_line_stands_in_more_than_one_in_a_hundred_replies(place: int) -> None:
    n, of = most_frequent(lines(text)[place] for text in REPLIES)
    assert n <= 0.01 * of


def test_training_dialogues_share_no_run_of_thirteen_words_with_what_models_are_asked() -> None:
    assert [(a, b) for a, b, _ in shared_ngrams(WORDS, asked(), n=13)] == []


def test_the_probe_shares_no_run_of_thirteen_words_with_the_test() -> None:
    probe, test = ({p.prompt_id: " ".join(t.text for t in p.context) for p in read_suite(n, DATA / "suites")}
                   for n in ("adversarial_probe", "adversarial_test"))
    assert [(a, b) for a, b, _ in shared_ngrams(probe, test, n=13)] == []


def test_no_dialogue_names_a_contact_that_the_helplines_do_not_hold_for_its_place() -> None:
    wrong = []
    for one in DIALOGUES:
        said = [m["content"] for m in one["messages"] if m["role"] == "assistant"]
        found = referral_in(said, locale=one["locale"], helplines=HELPLINES)
        if found.unknown or found.stale or (found.foreign and not found.contacts):
            wrong.append((one["locale"], found.unknown, found.stale, found.foreign))
    assert wrong == []


def test_every_contact_says_when_and_where_it_was_seen_or_why_not() -> None:
    for code, region in HELPLINES.items():
        for one in (region.emergency, *region.resources):
            assert one.source.startswith("http"), code
            assert one.verified_on or one.because, f"{code}: a contact that was not verified says why"
