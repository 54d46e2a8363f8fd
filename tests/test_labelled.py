"""Readers of labelled sets on tiny files in each published shape, whose words were made up for this test."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attunement.errors import DataError
from attunement.labelled import CODES, SETS, Labelled, identity_groups, tweet
from attunement.records import Turn
from attunement.scorers.base import Item

OWN = sorted(name for name, one in SETS.items() if one.own)
PUBLIC = sorted(name for name, one in SETS.items() if not one.own)
SECRET = "marmalade"  # stands in every toy file; no message may hold it  # noqa: S105  # a fruit


def table(root: Path, path: str, header: Sequence[str], *found: Sequence[object], before: str = "") -> None:
    """Write a CSV file under ``root``."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    with (root / path).open("w", encoding="utf-8", newline="") as file:
        file.write(before)
        csv.writer(file).writerows([header, *found])


def text(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content, encoding="utf-8")


DAVIDSON = ("", "count", "hate_speech", "offensive_language", "neither", "class", "tweet")
EPITOME = ("sp_id", "rp_id", "seeker_post", "response_post", "level", "rationales")
XSTEST = ("id", "type", "prompt", "completion", "annotation_1", "annotation_2", "agreement", "final_label")
COUNSEL = ("questionID", "questionTitle", "questionText", "topic", "answerText", "upvotes", "views", "split")
CONTEXT = ("text", "parent_text", "tox_codes_oc", "label_oc", "tox_codes_ic", "label_ic")
DIASAFETY = [
    {"context": "my marmalade boiled over", "response": "nobody likes you", "category": "Offending User",
     "label": "Unsafe"},
    {"context": "my marmalade set", "response": "how lovely", "category": "Risk Ignorance", "label": "Safe"},
]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Every public set in a few lines."""
    table(tmp_path, "davidson/labeled_data.csv", DAVIDSON,
          (0, 3, 3, 0, 0, 0, "RT @toy: we hate marmalade people"),
          (1, 3, 0, 3, 0, 1, "@toy: damned marmalade &amp; jam http://t.co/x"),
          (2, 3, 0, 0, 3, 2, "marmalade for breakfast"),
          (3, 3, 0, 0, 3, 2, "@toy jam"))
    table(tmp_path, "edos/edos_labelled_aggregated.csv",
          ("rewire_id", "text", "label_sexist", "label_category", "label_vector", "split"),
          ("a", "women and marmalade [USER] [URL]", "sexist", "2. derogation", "2.1", "dev"),
          ("b", "marmalade is fine", "not sexist", "none", "none", "dev"))
    table(tmp_path, "wiki_toxicity_nonfuzzed/toxicity_nonfuzzed_testset.csv", ("rev_id", "comment", "toxic"),
          (1, "you marmalade foolNEWLINE_TOKENgo away", "True"), (2, "the gay marmalade article", "False"),
          (3, "NEWLINE_TOKEN", "False"))
    table(tmp_path, "context_toxicity_small/cat_small.csv", CONTEXT,
          ("marmalade fool", "a parent", "[1. 1. 0.]", 0.6667, "[0. 0. 0.]", 0),
          ("marmalade page", "a parent", "[0. 0. 1.]", 0.3333, "[1. 1. 1.]", 1))
    for name in ("trial", "test"):
        table(tmp_path, f"toxic_spans/tsd_{name}.csv", ("spans", "text"),
              ("[0, 1, 2]", f"marmalade fool {name}"), ("[]", f"marmalade news {name}"))
    for name in ("train", "val"):
        text(tmp_path, f"diasafety/{name}.json", json.dumps(DIASAFETY))
    for name in ("gpt4", "llama2new"):
        table(tmp_path, f"xstest/completions_{name}.csv", XSTEST,
              ("v2-1", "homonyms", f"boil marmalade {name}?", "Boil it.", "", "", "", "1_full_compliance"),
              ("v2-2", "homonyms", f"kill marmalade {name}?", "No. But boil it.", "", "", "", "3_partial_refusal"),
              ("v2-3", "homonyms", f"burn marmalade {name}?", "I can't.", "", "", "", "2_full_refusal"),
              ("v2-4", "homonyms", f"drop marmalade {name}?", "Hm.", "", "", "", "unclear"))
    table(tmp_path, "pyrit_scorer_evals/refusal_scorer/refusal.csv",
          ("objective", "assistant_response", "human_score", "data_type"),
          ("boil marmalade", "I will not.", "1", "text"), ("set marmalade", "Cool it.", "0", "text"),
          ("cut marmalade", "No.", "True", "text"), before="# dataset_version=1.2\n")
    for name, levels in (("emotional-reactions", (0, 2)), ("interpretations", (1, 0)), ("explorations", (2, 1))):
        table(tmp_path, f"epitome_reddit/{name}.csv", EPITOME,
              ("s1", "r1", "my marmalade burnt", "oh no", levels[0], ""),
              ("s1", "r2", "my marmalade burnt", "what happened?", levels[1], ""))
    for name in ("train", "valid"):
        table(tmp_path, f"bolt/finetune_therapist_combined_{name}.csv", ("prompt", "completion"),
              ("How is the marmalade?", "Questions on Emotions"), ("Cool the marmalade.", "Problem-Solving"),
              ("The marmalade matters to you.", "Reflections on Needs"))
    talk = {"emotion_type": "sadness", "dialog": [
        {"text": " Hello marmalade ", "speaker": "sys"}, {"text": "my marmalade burnt", "speaker": "usr"},
        {"text": "  ", "speaker": "sys"}]}
    text(tmp_path, "esconv_multiesc_split/valid.jsonl", json.dumps(talk) + "\n")
    table(tmp_path, "counsel_chat/counsel_chat.csv", COUNSEL,
          (1, "Marmalade?", "It burnt.", "cooking", "<p>Rest,&nbsp;please.</p>", 1, 1, "train"),
          (2, "Marmalade again?", "", "cooking", "Cool it.", 1, 1, "train"),
          (3, "Marmalade still?", "Hm.", "cooking", "", 1, 1, "train"))
    return tmp_path


def read(published: Path, name: str) -> list[Labelled]:
    return SETS[name].items(published)


def truths(published: Path, name: str) -> list[dict[str, float]]:
    return [dict(one.truth) for one in read(published, name)]


# --- each published shape


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_set_is_read_in_its_published_shape(published: Path, name: str) -> None:
    assert SETS[name].present(published)
    found = read(published, name)
    assert found
    assert len({one.item.id for one in found}) == len(found)
    assert all(one.item.words.strip() and one.truth for one in found)


def test_davidsons_classes_are_hate_offensive_and_neither_and_short_tweets_are_left_out(published: Path) -> None:
    found = read(published, "davidson")
    assert [(one.item.text, one.groups) for one in found] == [
        ("we hate marmalade people", ("hate",)), ("damned marmalade & jam", ("offensive",)),
        ("marmalade for breakfast", ("neither",))]
    assert truths(published, "davidson") == [
        {"toxic": 1, "hate": 1}, {"toxic": 1, "hate": 0}, {"toxic": 0, "hate": 0}]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("!!! RT @toy: jam &amp; toast", "jam & toast"),
        ("&#128514; jam &amp;amp; toast https://t.co/abc", "jam & toast"),
        ("[USER] jam [URL]", "jam"),
        ("START the jam", "START the jam"),
        ("  ", ""),
    ],
)
def test_a_tweet_is_left_with_its_words_alone(raw: str, clean: str) -> None:
    assert tweet(raw).replace("😂", "").strip() == clean


def test_edos_says_who_is_sexist_and_how(published: Path) -> None:
    found = read(published, "edos")
    assert [(one.item.text, one.truth["sexist"], one.groups) for one in found] == [
        ("women and marmalade", 1.0, ("2. derogation",)), ("marmalade is fine", 0.0, ("none",))]


def test_a_wikipedia_comment_has_its_lines_again_and_an_empty_one_is_left_out(published: Path) -> None:
    found = read(published, "wiki_toxicity")
    assert [(one.truth["toxic"], one.groups) for one in found] == [(1.0, ()), (0.0, ("identity term",))]
    assert not [one for one in found if "NEWLINE" in one.item.words]


def test_the_label_without_the_parent_counts_and_half_of_the_raters_decide(published: Path) -> None:
    assert truths(published, "context_toxicity") == [{"toxic": 1.0}, {"toxic": 0.0}]


def test_a_comment_with_a_toxic_span_is_toxic_and_both_files_are_read(published: Path) -> None:
    assert truths(published, "toxic_spans") == [{"toxic": 1.0}, {"toxic": 0.0}] * 2


@pytest.mark.parametrize("name", ["diasafety", "diasafety_train"])
def test_diasafetys_replies_stand_in_their_context(published: Path, name: str) -> None:
    first, second = read(published, name)
    assert first.item.context == (Turn(role="user", text="my marmalade boiled over"),)
    assert (first.item.reply, first.truth, first.groups) == ("nobody likes you", {"harmful": 1.0}, ("Offending User",))
    assert second.truth == {"harmful": 0.0}


def test_a_partial_refusal_lies_between_compliance_and_refusal(published: Path) -> None:
    assert [one["refusal"] for one in truths(published, "xstest")] == [0.0, 1.0, 2.0] * 2
    assert {group for one in read(published, "xstest") for group in one.groups} == {
        "completions_gpt4", "completions_llama2new"}


def test_pyrits_refusals_are_read_below_their_comment_whatever_yes_looks_like(published: Path) -> None:
    assert [one["refusal"] for one in truths(published, "pyrit_refusal")] == [2.0, 0.0, 2.0]


def test_epitomes_three_files_meet_in_one_item(published: Path) -> None:
    assert truths(published, "epitome") == [{"er": 0, "ip": 1, "ex": 2}, {"er": 2, "ip": 0, "ex": 1}]
    assert {group for one in read(published, "epitome") for group in one.groups} == {"seeker s1"}


def test_a_pair_that_one_of_epitomes_files_lacks_is_left_out(published: Path) -> None:
    table(published, "epitome_reddit/explorations.csv", EPITOME, ("s1", "r1", "my marmalade burnt", "oh no", 2, ""))
    assert truths(published, "epitome") == [{"er": 0, "ip": 1, "ex": 2}]


@pytest.mark.parametrize("name", ["bolt", "bolt_train"])
def test_bolts_behaviours_become_one_code_each(published: Path, name: str) -> None:
    found = truths(published, name)
    assert [[code for code in CODES if one[code]] for one in found] == [["question"], ["advice"], ["reflection"]]


def test_esconvs_turns_are_calm_and_empty_ones_are_left_out(published: Path) -> None:
    found = read(published, "esconv")
    assert [(one.item.text, one.groups) for one in found] == [
        ("Hello marmalade", ("supporter",)), ("my marmalade burnt", ("seeker",))]
    assert all(one.truth == {"toxic": 0.0, "risk": 0.0} for one in found)


def test_a_therapists_answer_is_read_without_markup_below_its_question_or_its_title(published: Path) -> None:
    found = read(published, "counsel_chat")
    assert [(one.item.context[0].text, one.item.reply) for one in found] == [
        ("It burnt.", "Rest, please."), ("Marmalade again?", "Cool it.")]


@pytest.mark.parametrize(
    ("words", "groups"),
    [("as a Muslim I agree", ("identity term",)), ("two trans women", ("identity term",)), ("I told him", ()),
     ("a blackbird", ()), ("the transport was gayly late", ())],
)
def test_a_text_that_names_who_somebody_is_is_told_apart(words: str, groups: tuple[str, ...]) -> None:
    assert identity_groups(words) == groups


# --- files that are not as published


BROKEN: dict[str, list[tuple[str, str]]] = {
    "davidson": [("labeled_data.csv", ",class\n0,1\n"), ("labeled_data.csv", ",class,tweet\n0,7,so much marmalade\n"),
                 ("labeled_data.csv", "class,tweet\n1\n")],
    "edos": [("edos_labelled_aggregated.csv", "text,label\nmarmalade,sexist\n")],
    "wiki_toxicity": [("toxicity_nonfuzzed_testset.csv", "rev_id,comment\n1,marmalade\n"),
                      ("toxicity_nonfuzzed_testset.csv", "rev_id,comment,toxic\n1,marmalade\n")],
    "context_toxicity": [("cat_small.csv", "text,label_oc\nmarmalade,marmalade\n"),
                         ("cat_small.csv", "text,label_oc\nmarmalade\n")],
    "toxic_spans": [("tsd_test.csv", "spans,text\n[0 marmalade,x\n"), ("tsd_test.csv", "spans,text\nmarmalade,x\n")],
    "diasafety": [("val.json", "[{"), ("val.json", '{"context": "marmalade"}'),
                  ("val.json", '[{"context": "marmalade"}]'),
                  ("val.json", '[{"context": 3, "response": "marmalade", "label": "Safe", "category": ""}]')],
    "xstest": [("completions_gpt4.csv", "prompt,completion\nmarmalade,marmalade\n")],
    "pyrit_refusal": [("refusal.csv", "# 1\nobjective,human_score\nmarmalade,1\n")],
    "epitome": [("explorations.csv", "sp_id,rp_id,seeker_post,response_post,level\ns,r,marmalade,x,marmalade\n")],
    "bolt": [("finetune_therapist_combined_valid.csv", "prompt,completion\nmarmalade,marmalade\n"),
             ("finetune_therapist_combined_valid.csv", "prompt,completion\nmarmalade\n")],
    "esconv": [("valid.jsonl", '{"dialog": [{"text": "marmalade"}]}\n'), ("valid.jsonl", '["marmalade"]\n'),
               ("valid.jsonl", '{"dialog": [{"text": 3, "speaker": "marmalade"}]}\n'), ("valid.jsonl", "marmalade\n")],
    "counsel_chat": [("counsel_chat.csv", "questionText\nmarmalade\n")],
}


@pytest.mark.parametrize(
    ("name", "file", "content"), [(name, *one) for name, found in BROKEN.items() for one in found]
)
def test_a_file_in_another_shape_is_refused_without_any_of_its_words(
    published: Path, name: str, file: str, content: str
) -> None:
    path = next(path for path in SETS[name].paths(published) if path.name == file)
    path.write_text(content, encoding="utf-8")
    refused(published, name, path)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_file_that_is_not_text_is_refused(published: Path, name: str) -> None:
    path = SETS[name].paths(published)[0]
    path.write_bytes(path.read_bytes() + b"\n\xff\xfe marmalade")
    refused(published, name, path)


def refused(published: Path, name: str, path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(published, name)
    assert str(path) in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")
    assert "Get it again from its repository, or take it away." in str(caught.value)
    assert SECRET not in str(caught.value).lower().replace(str(published).lower(), "")
    assert caught.value.__cause__ is None


def test_every_public_set_has_a_broken_file_that_is_tried() -> None:
    assert {name.removesuffix("_train") for name in PUBLIC} == BROKEN.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_set_that_lacks_one_of_its_files_is_absent(published: Path, name: str) -> None:
    SETS[name].paths(published)[-1].unlink()
    assert not SETS[name].present(published)


# --- parts


def many(n: int) -> list[Labelled]:
    return [Labelled(Item(id=str(number), text=f"toy sentence {number} on jam"), {"toxic": 0.0}) for number in range(n)]


def test_the_parts_are_disjoint_make_up_the_whole_and_have_about_their_share(tmp_path: Path) -> None:
    table(tmp_path, "wiki_toxicity_nonfuzzed/toxicity_nonfuzzed_testset.csv", ("rev_id", "comment", "toxic"),
          *((number, f"toy sentence {number} on jam", "False") for number in range(400)))
    chosen = SETS["wiki_toxicity"]
    train, test = ({one.item.id for one in chosen.items(tmp_path, part)} for part in ("train", "test"))
    assert not train & test
    assert train | test == {one.item.id for one in chosen.items(tmp_path)}
    assert 0.4 < len(test) / 400 < 0.6


@pytest.mark.parametrize("test_frac", [0.0, 0.1, 0.5, 1.0])
def test_a_part_is_as_large_as_declared(test_frac: float) -> None:
    share = sum(one.part(test_frac) == "test" for one in many(2000)) / 2000
    assert share == pytest.approx(test_frac, abs=0.03)
    assert (share in (0.0, 1.0)) == (test_frac in (0.0, 1.0))


def test_what_is_held_out_is_still_held_out_when_more_is() -> None:
    few, more = ({one.item.id for one in many(500) if one.part(share) == "test"} for share in (0.1, 0.3))
    assert few < more


def test_the_side_of_a_text_is_the_same_in_every_run() -> None:
    assert [one.part(0.5) for one in many(8)] == [
        "test", "train", "train", "test", "train", "train", "test", "test"], "training and measuring would mix"


def test_a_copy_in_other_case_spaces_and_punctuation_stands_on_the_same_side() -> None:
    for one in many(200):
        words = str(one.item.text).split()
        copies = [" ".join(words).upper(), "  ".join(words), ", ".join(words), "… ".join(words)]
        sides = {Labelled(Item(id="x", text=copy), {}).part(0.5) for copy in copies}
        assert sides == {one.part(0.5)}


def test_the_label_and_the_group_do_not_choose_the_side() -> None:
    for one in many(100):
        assert Labelled(one.item, {"toxic": 1.0}, ("a",)).part(0.5) == one.part(0.5)


def test_the_context_chooses_the_side_with_the_reply() -> None:
    def pair(said: str) -> Labelled:
        return Labelled(Item(id="x", context=(Turn(role="user", text=said),), reply="yes"), {})

    assert len({pair(f"toy question {number}").part(0.5) for number in range(20)}) == 2


def test_a_set_that_may_not_be_trained_on_is_held_out_whole() -> None:
    assert not [one.name for one in SETS.values() if not one.may_train and one.test_frac < 1]


# --- our own


@pytest.mark.parametrize("name", OWN)
def test_our_own_sets_are_there_whatever_folder_is_given(name: str, tmp_path: Path) -> None:
    assert SETS[name].present(tmp_path / "nothing")
    assert len(SETS[name].items(tmp_path / "nothing", "test")) >= 100


@pytest.mark.parametrize("name", OWN)
def test_our_own_sets_hold_both_answers(name: str, tmp_path: Path) -> None:
    found = SETS[name].items(tmp_path)
    for question in {key for one in found for key in one.truth}:
        answers = [one.truth[question] for one in found if question in one.truth]
        assert min(sum(value > 0 for value in answers), sum(value == 0 for value in answers)) >= 20, question


@pytest.mark.parametrize("name", OWN)
def test_no_item_of_our_own_sets_stands_twice(name: str, tmp_path: Path) -> None:
    found = SETS[name].items(tmp_path)
    assert len({one.item.id for one in found}) == len(found)


def test_a_flawed_turn_is_judged_with_what_was_said_before_it_and_no_more(tmp_path: Path) -> None:
    for one in SETS["own_harm"].items(tmp_path):
        assert one.item.form == "reply"
        assert one.item.words.strip()
        assert not one.item.context or one.item.context[-1].text != one.item.reply


def test_our_choices_have_one_unsafe_reply_in_four(tmp_path: Path) -> None:
    found = SETS["own_unsafe_replies"].items(tmp_path)
    said: dict[str, list[Any]] = {}
    for one in found:
        said.setdefault(one.item.context[0].text, []).append(one.truth["harmful"])
        assert not one.item.context[0].text.startswith("Person")
    assert all(sum(harmful) * 4 == len(harmful) for harmful in said.values())
