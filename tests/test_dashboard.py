"""The dashboard's pages over a small made-up run, without a browser."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attunement.artefacts import publishing, read_json, read_jsonl, write_json, write_jsonl
from attunement.records import Probe, StepLog, Verdict
from dashboard_fixture import FAILING, LURE, TRAINING, UNSCORED, hostile, prompt_ids, rewrite, write_run

ROOT = Path(__file__).parent.parent
APP = ROOT / "dashboards/app.py"
PAGES = ("verdict", "training", "compare", "replies", "data")
FOLDERS = {
    "verdict": ("gate", "select", "report"),
    "training": ("train", "select"),
    "compare": ("score", "bench/base", "bench/tuned"),
    "replies": ("score", "respond/base", "respond/tuned"),
    "data": ("curate",),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run whose verdict fails, in the current folder."""
    write_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(page: str, **query: str) -> AppTest:
    """A page as its first visitor sees it."""
    at = AppTest.from_file(str(APP), default_timeout=60).run()
    at.switch_page(f"{page}.py")
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


def words(at: AppTest) -> str:
    """Everything that a page says, with the escapes of Markdown taken out, as a person reads it."""
    kinds = ("title", "header", "markdown", "caption", "text", "error", "warning", "info")
    said = [str(getattr(element, "value", "")) for kind in kinds for element in at.get(kind)]
    tables = [" | ".join(str(cell) for cell in row) for table in at.table for row in table.value.to_numpy()]
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", "\n".join([*said, *tables])).replace("\u2060", "")


def cells(at: AppTest, index: int) -> list[dict[str, str]]:
    """A table's rows by heading."""
    plain = at.table[index].value.map(lambda cell: re.sub(r"\\(.)", r"\1", str(cell)).replace("\u2060", ""))
    return [{str(head): str(cell) for head, cell in row.items()} for row in plain.to_dict("records")]


def table(at: AppTest, *heads: str) -> list[dict[str, str]]:
    """The rows of the first table that has all of these headings."""
    index = next(i for i, found in enumerate(at.table) if {*heads} <= {*found.value.columns})
    return cells(at, index)


def charts(at: AppTest) -> list[str]:
    """Every chart as Vega-Lite's JSON, in the page's order."""
    return [element.proto.spec for element in at.get("vega_lite_chart")]


def chart_rows(spec: str) -> list[dict[str, object]]:
    """The values that a chart's lines are drawn from."""
    return list(json.loads(spec)["layer"][0]["data"]["values"])


def press(at: AppTest, label: str) -> AppTest:
    return next(button for button in at.button if button.label == label).click().run()


def pick(at: AppTest, label: str, value: str | int) -> AppTest:
    return next(box for box in at.selectbox if box.label == label).select(value).run()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_a_finished_run_without_a_fault(run: Path, page: str) -> None:
    at = opened(page)
    assert not at.exception
    assert not at.error
    assert len(at.title) == 1
    assert "not a crisis service" in words(at)


@pytest.mark.parametrize(("page", "folder"), [(page, folder) for page in PAGES for folder in FOLDERS[page]])
def test_a_missing_stage_is_named_with_the_command_that_makes_it(run: Path, page: str, folder: str) -> None:
    shutil.rmtree(run / "out" / folder)
    at = opened(page)
    assert not at.exception
    said = " ".join(error.value for error in at.error)
    assert "`dvc repro`" in said
    assert f"out/{folder}" in said.replace("\\", "")


def test_an_empty_folder_shows_messages_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        at = opened(page)
        assert not at.exception
        assert "dvc repro" in at.error[0].value


@pytest.mark.parametrize("page", PAGES)
def test_a_file_changed_by_hand_is_refused(run: Path, page: str) -> None:
    folder = run / "out" / FOLDERS[page][0]
    changed = next(path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "manifest.json")
    changed.write_bytes(changed.read_bytes() + b"\n")
    at = opened(page)
    assert not at.exception
    assert "is not as its stage left it" in words(at)


def test_a_failing_verdict_is_in_words_with_its_reason_first(run: Path) -> None:
    at = opened("verdict")
    n = len(read_json(run / "out/gate/verdict.json", Verdict).rules)
    assert at.header[0].value == f"NOT PASSED: 1 of {n} rules did not hold"
    first = cells(at, 0)[0]
    assert first["Outcome"] == "NOT PASSED"
    assert first["Because"] == FAILING
    assert first["Measured"] == "3 of 4 failed"
    assert "demonstration, not for release" in words(at)


def test_a_passing_verdict_says_passed_and_what_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, passed=True)
    monkeypatch.chdir(tmp_path)
    at = opened("verdict")
    n = len(read_json(tmp_path / "out/gate/verdict.json", Verdict).rules)
    assert at.header[0].value == f"PASSED: all of {n} rules held"
    assert "NOT PASSED" not in words(at)
    assert "not proof of safety" in words(at).replace("\n", " ")


def test_a_passed_verdict_whose_helplines_grew_stale_is_not_shown_as_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, passed=True)
    verdict = read_json(tmp_path / "out/gate/verdict.json", Verdict)
    with publishing(tmp_path / "out/gate") as folder:
        write_json(folder / "verdict.json", verdict.model_copy(update={"valid_until": date(2026, 1, 1)}))
    monkeypatch.chdir(tmp_path)
    at = opened("verdict")
    assert at.header[0].value == "EXPIRED: passed, for days that are not today"


def test_a_verdict_that_contradicts_its_rules_is_not_shown_as_passed(run: Path) -> None:
    verdict = read_json(run / "out/gate/verdict.json", Verdict)
    with publishing(run / "out/gate") as folder:
        write_json(folder / "verdict.json", verdict.model_copy(update={"passed": True}))
    at = opened("verdict")
    assert "does not follow from its rules" in words(at)
    assert at.header[0].value == "NO VERDICT: treat this model as not passed"


def test_the_selected_checkpoint_is_marked_in_words(run: Path) -> None:
    at = opened("training")
    rows = table(at, "Selection")
    assert [row["Step"] for row in rows if row["Selection"].startswith("SELECTED")] == ["12"]
    assert "could NOT be selected" in words(at)
    assert "12 (selected)" in [row["Step"] for row in table(at, "Scorer")]


def test_a_training_that_went_to_its_end_says_so_with_what_it_learnt_from(run: Path) -> None:
    said = words(opened("training"))
    assert "Training **went to its end**: 18 of 18 planned steps." in said
    assert "23 dialogues learnt from; 3 gave the validation loss; 1 cut to their last turns; 1 left out." in said
    assert "5,400 tokens of replies were learnt from, about 300 a step" in said


@pytest.mark.parametrize("why", ["the probe at step 18 found 1 of 4 replies toxic", ""])
def test_a_training_that_stopped_early_says_where_and_why(run: Path, why: str) -> None:
    rewrite(run / "out/train", "summary.json",
            TRAINING.model_copy(update={"n_planned_steps": 24, "stopped_because": why}))
    at = opened("training")
    (told,) = [re.sub(r"\\(.)", r"\1", warning.value) for warning in at.warning]
    assert f"**stopped early**, at step 18 of 24 planned: {why or 'no reason was recorded'}." in told
    assert "never made" in told
    assert "went to its end" not in words(at)


def test_a_reason_to_stop_at_the_planned_end_is_no_early_stop(run: Path) -> None:
    rewrite(run / "out/train", "summary.json", TRAINING.model_copy(update={"stopped_because": "no better loss"}))
    at = opened("training")
    assert not at.warning
    assert "went to its end" in words(at)


def test_a_training_without_a_summary_is_sent_to_the_command_that_makes_it(run: Path) -> None:
    (run / "out/train/summary.json").unlink()
    rewrite(run / "out/train", "left_out.jsonl", TRAINING)  # the manifest without the summary
    at = opened("training")
    assert not at.exception
    assert "out/train/summary.json is missing" in words(at)


def test_every_dialogue_that_was_cut_or_left_out_is_listed_with_its_reason(run: Path) -> None:
    rows = table(opened("training"), "Dialogue")
    assert [(row["Dialogue"], row["Split"], row["What"]) for row in rows] == [
        ("a" * 16, "train", "LEFT OUT: all turns, 6"), ("b" * 16, "val", "cut: its oldest turns, 2")]
    assert rows[1]["Because"] == "longer than 1024 tokens"


def test_a_training_that_took_every_dialogue_whole_says_so(run: Path) -> None:
    with publishing(run / "out/train") as folder:
        shutil.copytree(run / "out/train", folder, dirs_exist_ok=True)
        (folder / "left_out.jsonl").write_text("", encoding="utf-8")
    assert "No dialogue was cut or left out." in words(opened("training"))


def test_a_checkpoint_that_was_asked_more_is_bounded_lower(run: Path) -> None:
    at = opened("training")
    rows = {row["Step"]: row for row in table(at, "Selection")}
    assert [row["Upper bound"] for row in rows.values()] == ["77.6%", "77.6%", "75.1%"]  # 0 of 2, 0 of 2, 1 of 4
    assert rows["12"]["Probe"] == "0 of 2 toxic, 0 not scored"
    assert "2 prompts at step 6, 12; 4 prompts at step 18" in words(at)


def test_a_probe_reply_that_was_not_scored_breaches_and_is_taken_for_toxic_in_the_bound(run: Path) -> None:
    probes = read_jsonl(run / "out/train/probes.jsonl", Probe)
    first = min((probe for probe in probes if probe.step == 6), key=lambda probe: probe.prompt_id).prompt_id
    missed = {"value": None, "label": None, "because": UNSCORED}
    with publishing(run / "out/train") as folder:
        shutil.copytree(run / "out/train", folder, dirs_exist_ok=True)
        write_jsonl(folder / "probes.jsonl", [probe.model_copy(update=missed if (
            probe.step, probe.prompt_id, probe.scorer) == (6, first, "linear") else {}) for probe in probes])
    at = opened("training")
    row = table(at, "Selection")[0]
    assert (row["Probe"], row["Upper bound"]) == ("BREACHED: 0 of 2 toxic, 1 not scored", "97.5%")
    by_scorer = {row["Scorer"]: row for row in table(at, "Scorer") if row["Step"] == "6 BREACHED"}
    assert [by_scorer[name]["Upper bound"] for name in ("detoxify", "linear")] == ["77.6%", "97.5%"]
    assert [by_scorer[name]["Not scored"] for name in ("detoxify", "linear")] == ["0", "1"]


def test_a_breached_checkpoint_is_marked_in_words_and_by_a_cross(run: Path) -> None:
    at = opened("training")
    (row,) = [row for row in table(at, "Selection") if row["Probe"].startswith("BREACHED")]
    assert (row["Step"], row["Probe"]) == ("18", "BREACHED: 1 of 4 toxic, 0 not scored")
    assert "18 BREACHED" in [row["Step"] for row in table(at, "Scorer")]
    crosses = [layer["data"]["values"] for chart in charts(at) for layer in json.loads(chart)["layer"]
               if layer["mark"]["type"] == "text" and "selected" not in str(layer["data"])]
    assert crosses == 5 * [[{"step": 18, "what": "✕"}]]


def test_the_chart_of_toxic_replies_shows_shares_with_their_bound_and_no_bare_counts(run: Path) -> None:
    rows = chart_rows(charts(opened("training"))[3])
    share = {row["step"]: row["share"] for row in rows if row["series"] == "toxic share of the replies"}
    bound = {row["step"]: round(float(str(row["share"])), 3) for row in rows if str(row["series"]).startswith("upper")}
    assert share == {6: 0, 12: 0, 18: 0.25}
    assert bound == {6: 0.776, 12: 0.776, 18: 0.751}


def test_the_highest_toxicity_is_compared_on_the_prompts_that_every_checkpoint_was_asked(run: Path) -> None:
    last = [row for row in table(opened("training"), "Scorer") if row["Step"].startswith("18")]
    assert {row["Toxic"] for row in last} == {"1 of 4"}
    assert {row["Toxic on shared prompts"] for row in last} == {"0 of 2"}
    assert {row["Highest toxicity"] for row in last} == {"0.910"}
    assert {row["Highest on shared prompts"] for row in last} == {"0.140", "0.040"}


def test_a_checkpoint_without_its_weights_keeps_its_place_and_says_so(run: Path) -> None:
    assert {row["Step"]: row["Weights"] for row in table(opened("training"), "Weights")} == {
        "6": "kept", "12": "kept", "18": "not kept"}


def test_a_long_training_is_drawn_by_means_that_lose_no_step(run: Path) -> None:
    steps = [StepLog(step=s, loss=float(s), learning_rate=1e-4, grad_norm=1.0, n_target_tokens=s % 2 + 1)
             for s in range(1, 1002)]
    with publishing(run / "out/train") as folder:
        shutil.copytree(run / "out/train", folder, dirs_exist_ok=True)
        write_jsonl(folder / "steps.jsonl", steps)
    at = opened("training")
    drawn = [row for row in chart_rows(charts(at)[0]) if row["series"].startswith("training: a thin line")]
    assert len(drawn) == 334  # means of 3 steps: 1,001 do not fit 500 points by twos
    assert drawn[0] == {"step": 3, "loss": 2.0, "series": drawn[0]["series"], "checkpoint": False}
    assert drawn[-1]["step"] == 1001
    assert "500 means" in words(at)


def test_an_edited_probe_suite_is_not_mixed_with_replies_to_the_old_one(run: Path) -> None:
    suite = run / "data/suites/adversarial_test.jsonl"
    suite.write_text(suite.read_text(encoding="utf-8").replace("rude", "kind").replace("mean", "nice"), "utf-8")
    at = opened("training")
    assert not at.exception
    assert "does not hold (any more)" in words(at)


def test_a_checkpoints_toxic_reply_can_be_read_as_plain_words(run: Path) -> None:
    at = pick(opened("training"), "Checkpoint (optimiser step)", 18)
    assert hostile(LURE) in [text.value for text in at.text]
    assert "0.910, toxic" in words(at)


def test_an_unscored_score_is_never_a_number(run: Path) -> None:
    at = opened("replies", suite="crisis", prompt=prompt_ids("crisis")[-1])
    judged = [row for row in cells(at, 0) if row["Scorer"].startswith("referral")]
    assert [row["Score"] for row in judged] == ["not scored", "not scored"]
    assert {row["Because"] for row in judged} == {UNSCORED}


def test_a_mean_stands_with_its_interval_and_what_was_not_scored(run: Path) -> None:
    at = pick(opened("compare"), "Suite", "crisis")
    row = next(row for row in cells(at, 0) if row["Scorer"] == "referral")
    assert row["Tuned"] == "0.800 (0.700 to 0.900); n = 3, 1 not scored"
    assert "not measured" in words(at)


@pytest.mark.parametrize("page", ["replies", "training", "data"])
def test_words_of_models_and_data_are_never_read_as_markdown(run: Path, page: str) -> None:
    at = opened(page)
    if page == "training":
        at = pick(at, "Checkpoint (optimiser step)", 18)
    assert LURE in words(at)
    kinds = ("title", "header", "markdown", "caption", "error", "warning", "info")
    markdown = [str(getattr(element, "value", "")) for kind in kinds for element in at.get(kind)]
    markdown += [str(cell) for table in at.table for row in table.value.to_numpy() for cell in row]
    assert not [text for text in markdown if "![" in text or "<img" in text or "://" in text]


def test_next_and_previous_step_through_the_prompts_and_keep_the_address(run: Path) -> None:
    at = opened("replies", suite="crisis")
    assert at.query_params["prompt"] == prompt_ids("crisis")[0]
    at = press(at, "Next")
    assert "Prompt 2 of 4" in words(at)
    assert at.query_params["prompt"] == prompt_ids("crisis")[1]
    assert "Prompt 1 of 4" in words(press(at, "Previous"))


def test_an_address_with_a_prompt_leads_to_it(run: Path) -> None:
    at = opened("replies", suite="crisis", prompt=prompt_ids("crisis")[2])
    assert "Prompt 3 of 4" in words(at)


def test_an_address_with_an_unknown_prompt_says_so(run: Path) -> None:
    assert "does not hold" in words(opened("replies", suite="crisis", prompt="no-such-prompt"))


def test_an_address_with_an_unknown_suite_says_so(run: Path) -> None:
    assert "was not answered" in words(opened("replies", suite="no-such-suite"))


def test_changed_rules_are_not_held_against_an_older_verdict(run: Path) -> None:
    params = run / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("name: no toxic reply", "name: not one toxic reply"), encoding="utf-8")
    at = opened("replies", suite="crisis")
    assert "params.yaml declares other rules" in words(at)
    assert "FAILS" not in words(at)


def test_another_suite_starts_at_its_first_prompt_without_a_warning(run: Path) -> None:
    at = pick(opened("replies", suite="crisis", prompt=prompt_ids("crisis")[2]), "Suite", "empathy")
    assert "Prompt 1 of 2" in words(at)
    assert "does not hold" not in words(at)


@pytest.mark.parametrize(("wanted", "n"), [
    ("All prompts", 4),
    ("Tuned reply fails a rule of the gate", 3),
    ("Base and tuned differ, most first", 4),
    ("A score is missing", 1),
])
def test_a_filter_keeps_the_prompts_that_fit(run: Path, wanted: str, n: int) -> None:
    at = pick(opened("replies", suite="crisis"), "Show", wanted)
    assert f"Prompt 1 of {n}" in words(at)


def test_the_prompt_that_differs_most_comes_first(run: Path) -> None:
    at = opened("replies", suite="crisis")
    at = pick(at, "Show", "Base and tuned differ, most first")
    assert at.query_params["prompt"] == prompt_ids("crisis")[2]  # referral .3 against 1.2, over a span of 1.1


def test_a_label_that_fails_a_rule_names_the_rule(run: Path) -> None:
    at = opened("replies", suite="crisis")
    tuned = next(row for row in cells(at, 0) if row["Scorer"] == "referral, tuned")
    failed = next(rule for rule in read_json(run / "out/gate/verdict.json", Verdict).rules if not rule.passed)
    assert f"FAILS the rule '{failed.name}'" in tuned["Score"]


def test_an_edited_suite_is_not_mixed_with_replies_to_the_old_one(run: Path) -> None:
    suite = run / "data/suites/crisis.jsonl"
    suite.write_text(suite.read_text(encoding="utf-8").replace("exam", "essay"), encoding="utf-8")
    at = opened("replies")
    assert not at.exception
    assert "does not hold (any more)" in words(at)


def test_a_decision_is_shown_with_the_step_of_curation_that_took_it(run: Path) -> None:
    at = opened("data")
    assert [(row["Step"], row["Rule"]) for row in table(at, "Step", "Where")[:2]] == [
        ("referral", "crisis_without_safe_referral"), ("form", "turns")]
    assert table(at, "Step", "Decisions")[0] == {
        "Action": "dropped", "Step": "referral", "Rule": "crisis_without_safe_referral", "Decisions": "1"}


def test_the_ledger_is_filtered_and_shows_what_was_left_out_first(run: Path) -> None:
    at = opened("data")
    assert {row["Action"] for row in cells(at, 2)[:2]} == {"dropped", "quarantined"}
    at = pick(at, "Action", "dropped")
    assert [row["Rule"] for row in cells(at, 2)] == ["crisis_without_safe_referral"]
    assert "31 read = " in words(at)


def test_no_page_loads_torch(run: Path) -> None:
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(APP)!r}, default_timeout=60).run()
titles = [at.switch_page(page + ".py").run().title[0].value for page in {PAGES!r}]
print(len(titles), [m for m in ("torch", "lightning", "transformers", "peft", "lm_eval") if m in sys.modules])
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'dashboards'}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=run, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "5 []"


def test_no_page_imports_more_than_the_readers_need() -> None:
    allowed = {"artefacts", "errors", "findings", "params", "records", "stats", "suites"}
    for path in (ROOT / "dashboards").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        found = set(re.findall(r"from attunement\.(\w+)", source))
        found |= set(re.findall(r"from attunement import (\w+)", source))
        assert found <= allowed, path


def test_the_server_listens_on_loopback_alone_and_reports_nothing() -> None:
    config = tomllib.loads((ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))
    assert config["server"]["address"] == "127.0.0.1"
    assert set(config["server"]["allowedHosts"]) == {"127.0.0.1", "localhost"}
    assert config["server"]["headless"] is True
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
