"""Scorer cards: numbers by hand on toy labels, nothing unscored in a rate, and no card of another version carried."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
from typer.testing import CliRunner, Result

import real_encoder
from attunement import calibrate as stage
from attunement import cli
from attunement.artefacts import read_json, read_jsonl, verify, write_json
from attunement.calibrate import (
    MIN_GROUP,
    PLANS,
    Plan,
    card,
    card_path,
    carried,
    declared_scorers,
    measure,
    shipped_card,
)
from attunement.errors import DataError
from attunement.labelled import SETS, Labelled, LabelledSet
from attunement.params import load
from attunement.records import Estimate, Measurement, ScorerCard, Turn
from attunement.scorers.base import Form, Item, Scored, Scorer, unscored
from attunement.scorers.panel import AnyScorer
from test_params import changed

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("none", "weak", "strong")


class Toy(Scorer):
    """Reads its answer from the first word: a number, or a label of `ORDER`; a question mark it cannot judge."""

    kind: str = "toy"
    threshold: float = 0.5
    forms: ClassVar[tuple[Form, ...]] = ("text", "reply")
    labels: ClassVar[tuple[str, ...]] = ("yes", "no")

    def score(self, items: Sequence[Item]) -> list[Scored]:
        return [self._answer(item) for item in items]

    def _answer(self, item: Item) -> Scored:
        first = item.words.split()[0]
        if first == "?":
            return unscored(item, "toy")
        if first in ORDER:
            return Scored(id=item.id, value=ORDER.index(first) / 2, label=first, because="toy")
        value = float(first)
        return Scored(id=item.id, value=value, label="yes" if value >= self.threshold else "no", because="toy")


class ReplyToy(Toy):
    """Takes replies alone, as the scorers of support do."""

    kind: str = "reply_toy"
    forms: ClassVar[tuple[Form, ...]] = ("reply",)


def read(path: Path) -> Iterator[Labelled]:
    """A line is an answer of the scorer and that of people."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        given, truth = line.split()
        yield labelled(given, float(truth), number=number)


def labelled(given: object, truth: float, *groups: str, number: int = 0) -> Labelled:
    words = f"{given} toy {number} {'-'.join(groups)}"
    return Labelled(Item(id=words, text=words), {"toxic": truth}, groups)


def toy_set(name: str = "toy_set", **changes: Any) -> LabelledSet:
    declared: dict[str, Any] = {"name": name, "files": (f"{name}.txt",), "licence": "CC0-1.0", "about": "toys",
                                "read": read}
    return LabelledSet(**declared | changes)


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys among the scorers that can be measured, and two sets for them."""
    monkeypatch.setitem(PLANS, "toy", Plan("toxic", ("yes",), ("toy_set", "other_set"), "anything"))
    monkeypatch.setitem(PLANS, "reply_toy", Plan("toxic", ("yes",), ("toy_set",), "anything"))
    for name in ("toy_set", "other_set"):
        monkeypatch.setitem(SETS, name, toy_set(name))


# Four positives, of which three are found; six negatives, of which two are called positive.
BY_HAND = [(0.9, 1), (0.8, 1), (0.7, 1), (0.2, 1), (0.6, 0), (0.55, 0), (0.4, 0), (0.3, 0), (0.1, 0), (0.1, 0)]


def measured(found: Sequence[Labelled], scorer: Scorer | None = None) -> Measurement:
    return measure(scorer or Toy(), toy_set(), found)


def by_hand() -> list[Labelled]:
    return [labelled(value, truth, number=number) for number, (value, truth) in enumerate(BY_HAND)]


def value(found: Estimate | None) -> float:
    assert found is not None
    assert found.low <= found.value <= found.high
    return found.value


# --- numbers


def test_the_numbers_of_ten_items_are_those_counted_by_hand() -> None:
    found = measured(by_hand())
    assert (found.set, found.licence, found.about, found.question) == ("toy_set", "CC0-1.0", "toys", "toxic")
    assert (found.n, found.n_unscored, found.prevalence) == (10, 0, 0.4)
    assert value(found.precision) == 3 / 5
    assert value(found.recall) == 3 / 4
    assert value(found.false_alarms) == pytest.approx(2 / 6, abs=1e-4)
    assert value(found.accuracy) == 7 / 10
    assert value(found.auc) == pytest.approx(20 / 24, abs=1e-4)  # of 24 pairs 0.2 loses against four negatives
    assert value(found.kappa) == pytest.approx((0.7 - 0.5) / (1 - 0.5), abs=1e-4)
    assert found.macro_f1 is None


def test_rates_have_the_exact_interval() -> None:
    recall = measured(by_hand()).recall
    assert recall is not None
    assert (recall.low, recall.high) == (0.1941, 0.9937)  # Clopper & Pearson for 3 of 4


def test_the_threshold_of_the_scorer_moves_the_rates_and_not_the_area() -> None:
    strict, loose = (measured(by_hand(), Toy(threshold=at)) for at in (0.65, 0.15))
    assert (value(strict.recall), value(strict.false_alarms)) == (0.75, 0.0)
    assert (value(loose.recall), value(loose.false_alarms)) == (1.0, pytest.approx(4 / 6, abs=1e-4))
    assert strict.auc == loose.auc


def test_where_a_low_value_is_the_alarm_the_area_is_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "toy", Plan("toxic", ("no",), ("toy_set",), "anything", alarm_below=True))
    found = measured([labelled(1 - number, truth, number=i) for i, (number, truth) in enumerate(BY_HAND)])
    assert value(found.auc) == pytest.approx(20 / 24, abs=1e-4)
    assert value(found.recall) == 3 / 4


def test_where_every_label_is_an_alarm_a_value_above_nothing_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "toy", Plan("toxic", (), ("toy_set",), "anything"))
    found = measured([labelled(given, truth, number=i) for i, (given, truth) in enumerate([(2, 1), (0, 1), (0, 0)])])
    assert (value(found.recall), value(found.false_alarms)) == (0.5, 0.0)


def test_ordered_labels_are_held_against_ordered_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "toy", Plan("toxic", ORDER, ("toy_set",), "anything", ordinal=True))
    pairs = [("none", 0), ("none", 0), ("weak", 0), ("weak", 1), ("strong", 1), ("strong", 2), ("none", 2)]
    found = measured([labelled(given, truth, number=i) for i, (given, truth) in enumerate(pairs)])
    assert value(found.accuracy) == pytest.approx(4 / 7, abs=1e-4)
    assert (value(found.recall), found.prevalence) == (3 / 4, 4 / 7)
    assert value(found.false_alarms) == pytest.approx(1 / 3, abs=1e-4)
    assert value(found.macro_f1) == pytest.approx((4 / 6 + 2 / 4 + 2 / 4) / 3, abs=1e-4)
    # Squared distances are 0, 0, 1, 0, 1, 0 and 4; by chance 68 / 7, since both give the answers 3, 2 and 2 times.
    assert value(found.kappa) == pytest.approx(1 - 6 / (68 / 7), abs=1e-4)


def test_a_set_of_one_answer_alone_has_only_the_rate_that_it_can_have() -> None:
    found = measured([labelled(given, 0, number=i) for i, given in enumerate((0.1, 0.2, 0.9))])
    assert (found.auc, found.recall, found.kappa) == (None, None, None)
    assert value(found.false_alarms) == pytest.approx(1 / 3, abs=1e-4)


def test_a_scorer_that_never_alarms_has_no_precision_and_a_recall_of_nothing() -> None:
    found = measured([labelled(given, truth, number=i) for i, (given, truth) in enumerate([(0.1, 1), (0.2, 0)])])
    assert found.precision is None
    assert value(found.recall) == 0.0


def test_nothing_to_measure_gives_no_number() -> None:
    found = measured([])
    assert (found.n, found.n_unscored) == (0, 0)
    numbers = (found.auc, found.precision, found.recall, found.false_alarms, found.accuracy, found.kappa)
    assert set(numbers) == {None}


def test_a_measurement_is_the_same_whenever_it_is_made() -> None:
    assert measured(by_hand()) == measured(by_hand())


# --- unscored, forms, groups


def test_an_unscored_item_is_counted_and_is_in_no_rate() -> None:
    more = [*by_hand(), labelled("?", 1, number=98), labelled("?", 0, number=99)]
    found = measured(more)
    assert (found.n, found.n_unscored) == (10, 2)
    alone = measured(by_hand())
    assert found.model_dump(exclude={"content", "n_unscored"}) == alone.model_dump(exclude={"content", "n_unscored"})
    assert found.content != alone.content


def test_a_scorer_that_can_judge_nothing_has_no_number() -> None:
    found = measured([labelled("?", truth, number=truth) for truth in (0, 1)])
    assert (found.n, found.n_unscored, found.recall, found.accuracy) == (0, 2, None, None)


def test_items_that_do_not_ask_the_question_are_not_counted() -> None:
    other = Labelled(Item(id="x", text="0.9 toy"), {"another": 1.0})
    assert measured([*by_hand(), other]) == measured(by_hand())


def test_a_text_is_given_to_a_scorer_of_replies_as_a_reply() -> None:
    found = measured(by_hand(), ReplyToy())
    assert (found.n, found.n_unscored, value(found.recall)) == (10, 0, 0.75)


def test_a_dialogue_is_not_asked_of_a_scorer_of_texts_alone() -> None:
    class TextToy(Toy):
        forms: ClassVar[tuple[Form, ...]] = ("text",)

    talk = Labelled(Item(id="x", dialogue=(Turn(role="user", text="0.9 toy"),)), {"toxic": 1.0})
    assert measured([*by_hand(), talk], TextToy()).n == 10


def test_the_content_follows_items_and_labels_but_not_the_scorer() -> None:
    same = measured(by_hand()).content
    assert measured(by_hand(), Toy(threshold=0.65)).content == same
    assert measured([*by_hand()[1:], labelled(0.9, 0)]).content != same


def grouped(*found: tuple[str, float, float, int]) -> list[Labelled]:
    """(group, scorer's answer, people's answer, how many)."""
    return [labelled(given, truth, *([group] if group else []), number=1000 * at + i)
            for at, (group, given, truth, n) in enumerate(found) for i in range(n)]


def test_rates_are_told_apart_by_group() -> None:
    found = measured(grouped(("quiet", 0.1, 1, 6), ("quiet", 0.9, 1, 2), ("quiet", 0.9, 0, 2), ("loud", 0.9, 1, 12)))
    by_name = {group.name: group for group in found.groups}
    assert by_name.keys() == {"quiet", "loud"}
    quiet = by_name["quiet"]
    assert (quiet.n, quiet.prevalence, value(quiet.recall), value(quiet.false_alarms)) == (10, 0.8, 0.25, 1.0)
    assert (by_name["loud"].prevalence, value(by_name["loud"].recall), by_name["loud"].false_alarms) == (1.0, 1.0, None)
    assert value(found.recall) == pytest.approx(14 / 20, abs=1e-4)


def test_of_a_group_too_small_to_tell_nothing_is_told() -> None:
    found = measured(grouped(("few", 0.9, 1, MIN_GROUP - 1), ("", 0.1, 0, 20)))
    assert found.groups == ()
    assert [group.name for group in measured(grouped(("few", 0.9, 1, MIN_GROUP), ("", 0.1, 0, 20))).groups] == ["few"]


def test_a_group_that_is_all_of_the_set_is_not_told_twice() -> None:
    assert measured(grouped(("all of them", 0.9, 1, 20))).groups == ()


def test_a_person_is_no_group() -> None:
    assert measured(grouped(("seeker s1", 0.9, 1, 20), ("", 0.1, 0, 20))).groups == ()


# --- every shipped plan


def test_every_scorer_that_can_be_declared_has_a_plan_and_no_other_has() -> None:
    literals = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(get_args(AnyScorer)[0])}
    assert literals == PLANS.keys() - {"toy", "reply_toy"}


@pytest.mark.parametrize("one", get_args(get_args(AnyScorer)[0]), ids=lambda one: one.__name__)
def test_every_plan_alarms_by_labels_that_its_scorer_gives_on_sets_that_ask_its_question(one: Any) -> None:
    plan = PLANS[get_args(one.model_fields["kind"].annotation)[0]]
    assert set(plan.alarms) <= set(one.labels)
    assert not plan.ordinal or set(plan.alarms) == set(one.labels)
    assert set(plan.sets) <= SETS.keys()
    own = [name for name in plan.sets if SETS[name].own]
    for name in own:
        asked = [found for found in SETS[name].items(ROOT) if plan.question in found.truth]
        assert asked, f"{name} never asks {plan.question}"
        assert all(found.item.form in one.forms or found.item.form == "text" for found in asked), name


# --- cards


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A folder with both toy sets."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in ("toy_set", "other_set"):
        lines = [f"{given} {truth}" for given, truth in BY_HAND]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def names(found: ScorerCard) -> list[str]:
    return [one.set for one in found.measured]


def test_a_card_tells_of_every_set_that_is_there(labels: Path) -> None:
    found = card(Toy(), labels=labels, known=None)
    assert (found.scorer, found.kind, found.version) == ("toy", "toy", Toy().version)
    assert (found.settings, found.does_not_see) == ({"kind": "toy", "threshold": 0.5}, "anything")
    assert names(found) == ["toy_set", "other_set"]
    assert found.items_per_s is None


def test_only_the_part_that_was_held_out_is_measured(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "toy_set", toy_set(may_train=True, test_frac=0.5))
    held = len(SETS["toy_set"].items(labels, "test"))
    assert 0 < held < 10
    assert card(Toy(), labels=labels, known=None).measured[0].n == held


def test_an_absent_set_keeps_what_the_same_version_has_shown(labels: Path) -> None:
    known = card(Toy(), labels=labels, known=None)
    (labels / "other_set.txt").unlink()
    assert names(card(Toy(), labels=labels, known=None)) == ["toy_set"]
    assert card(Toy(), labels=labels, known=known) == known


def test_an_absent_set_drops_what_another_version_has_shown(labels: Path) -> None:
    known = card(Toy(threshold=0.6), labels=labels, known=None)
    (labels / "other_set.txt").unlink()
    found = card(Toy(), labels=labels, known=known)
    assert names(found) == ["toy_set"]
    assert found.version != known.version


def test_a_set_that_is_there_is_measured_anew_whatever_is_known(labels: Path) -> None:
    known = card(Toy(), labels=labels, known=None)
    (labels / "toy_set.txt").write_text("0.9 1\n0.1 0\n", encoding="utf-8")
    found = card(Toy(), labels=labels, known=known)
    assert (found.measured[0].n, found.measured[1]) == (2, known.measured[1])


def test_speed_is_kept_for_the_same_version_alone(labels: Path) -> None:
    timed = card(Toy(), labels=labels, known=None, timed=True)
    assert timed.items_per_s
    assert card(Toy(), labels=labels, known=timed).items_per_s == timed.items_per_s
    assert card(Toy(threshold=0.6), labels=labels, known=timed).items_per_s is None


def test_a_card_comes_back_as_it_was_written(labels: Path, tmp_path: Path) -> None:
    found = card(Toy(), labels=labels, known=None)
    write_json(card_path(Toy(), tmp_path), found)
    assert shipped_card(Toy(), tmp_path) == found
    assert shipped_card(ReplyToy(), tmp_path) is None


# --- the stage


def test_a_card_of_this_version_is_carried_as_it_lies(labels: Path, tmp_path: Path) -> None:
    shipped = card(Toy(), labels=labels, known=None)
    write_json(card_path(Toy(), tmp_path), shipped)
    assert carried({"toy": Toy()}, folder=tmp_path) == [shipped]


def test_a_card_of_another_version_is_not_carried_and_the_scorer_is_measured_anew(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "NO_LABELS", tmp_path / "nothing")
    own = (labels / "toy_set.txt").as_posix()
    monkeypatch.setitem(SETS, "toy_set", toy_set(files=(own,), own=True))
    write_json(card_path(Toy(), tmp_path), card(Toy(threshold=0.6), labels=labels, known=None))
    (found,) = carried({"toy": Toy()}, folder=tmp_path)
    assert (found.version, names(found)) == (Toy().version, ["toy_set"])
    assert value(found.measured[0].recall) == 0.75
    assert f"toy {Toy().version} has no card of its version" in capsys.readouterr().err


def test_a_scorer_without_a_card_is_measured(labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "NO_LABELS", labels)
    scorers = {"toy": Toy(), "reply_toy": ReplyToy()}
    assert [(one.scorer, names(one)) for one in carried(scorers, folder=tmp_path / "none")] == [
        ("reply_toy", ["toy_set"]), ("toy", ["toy_set", "other_set"])]


def test_the_scorers_of_probe_and_score_are_measured_once_each(tmp_path: Path) -> None:
    found = declared_scorers(load(changed(tmp_path)))
    assert list(found) == ["linear", "referral", "rubric:support"]


def test_one_name_with_two_settings_is_refused(tmp_path: Path) -> None:
    twice = ("  scorers:\n    - kind: linear\n      threshold: 0.8\n    - kind: referral",
             "  scorers:\n    - kind: linear\n      threshold: 0.7\n    - kind: referral")
    with pytest.raises(DataError, match=r"'linear' is declared with two different settings .*Give both the same"):
        declared_scorers(load(changed(tmp_path, twice)))


def test_the_stage_publishes_a_card_for_every_scorer(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "load", lambda: None)
    monkeypatch.setattr(stage, "declared_scorers", lambda _params: {"toy": Toy(), "reply_toy": ReplyToy()})
    monkeypatch.setattr(stage, "NO_LABELS", labels)
    stage.main()
    folder = verify(Path("out/calibrate"))
    cards = read_jsonl(folder / "cards.jsonl", ScorerCard)
    assert [one.scorer for one in cards] == ["reply_toy", "toy"]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["toy"] == {"version": Toy().version, "sets": 2}


# --- attune calibrate


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Toy parameters over the shipped data, and a folder of cards of our own."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(real_encoder.ensure().parent)
    changed(tmp_path)
    monkeypatch.setattr(cli, "CARDS", tmp_path / "cards")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attune(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["calibrate", *words])


def test_attune_calibrate_writes_the_card_of_the_scorer_that_is_named_and_of_no_other(here: Path) -> None:
    result = attune("--only", "linear", "--labels", "nothing")
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in (here / "cards").iterdir()] == ["linear.json"]
    found = read_json(here / "cards" / "linear.json", ScorerCard)
    (own,) = found.measured
    assert (own.set, own.n + own.n_unscored) == ("own_toxicity", len(SETS["own_toxicity"].items(here)))
    assert found.items_per_s
    assert f"linear {found.version}, " in result.stdout
    assert "own_toxicity" in result.stdout
    assert "not under nothing: wiki_toxicity, context_toxicity, davidson, esconv, counsel_chat" in (
        result.stderr)


def test_attune_calibrate_keeps_what_this_version_has_shown_on_sets_that_are_now_absent(here: Path) -> None:
    attune("--only", "linear", "--labels", "nothing")
    path = here / "cards" / "linear.json"
    known = read_json(path, ScorerCard)
    elsewhere = known.measured[0].model_copy(update={"set": "davidson"})
    write_json(path, known.model_copy(update={"measured": (*known.measured, elsewhere)}))
    attune("--only", "linear", "--labels", "nothing")
    assert names(read_json(path, ScorerCard)) == ["own_toxicity", "davidson"]
    write_json(path, known.model_copy(update={"measured": (elsewhere,), "version": "0"}))
    attune("--only", "linear", "--labels", "nothing")
    assert names(read_json(path, ScorerCard)) == ["own_toxicity"]


def test_attune_calibrate_refuses_a_name_that_is_not_declared_with_the_nearest(here: Path) -> None:
    result = attune("--only", "linaer")
    assert result.exit_code == 1
    assert "no scorer 'linaer' is declared; declared: linear, referral, rubric:support" in result.stderr
    assert "Did you mean 'linear'?" in result.stderr
    assert not (here / "cards").exists()


def test_attune_calibrate_names_a_broken_set_and_writes_no_card(here: Path) -> None:
    folder = here / "sets" / "davidson"
    folder.mkdir(parents=True)
    (folder / "labeled_data.csv").write_text("class\n7\n", encoding="utf-8")
    result = attune("--only", "linear", "--labels", "sets")
    assert result.exit_code == 1
    assert "davidson: sets/davidson/labeled_data.csv is not as published" in result.stderr
    assert not (here / "cards").exists()
