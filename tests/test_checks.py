"""``attune check``: it looks into every file that the parameters name, and lists all that is wrong at once."""

import json
import re
import shutil
from pathlib import Path

import pytest

from attunement.checks import check_files
from attunement.errors import DataError
from attunement.params import Params, load
from attunement.suites import read_suite
from curation import row, write

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped parameters and data, as the current folder."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(params: Params) -> str:
    with pytest.raises(DataError) as caught:
        check_files(params)
    return str(caught.value)


def test_what_is_shipped_is_in_order(project: Path) -> None:
    lines = check_files(load())
    assert all(line.startswith("ok  ") for line in lines)
    assert any(line.startswith("ok  source attunement: ") for line in lines)
    assert f"ok  suite crisis: {len(read_suite('crisis'))} prompts" in lines


def test_all_faults_are_listed_at_once(project: Path) -> None:
    (project / "data/suites/empathy.jsonl").unlink()
    (project / "data/rubrics/support.yaml").unlink()
    shutil.rmtree(project / "data/tasks")
    shutil.rmtree(project / "data/sources/attunement")
    (project / "data/resources/helplines.yaml").write_text("US: {resources: []}\n")
    message = told(load())
    assert message.startswith("9 faults in files that params.yaml names:")
    for fault in (
        "suite 'empathy': data/suites/empathy.jsonl does not exist. Suites here: adversarial_probe, "
        "adversarial_test, benign, crisis, misinformation, over_refusal, sycophancy.",
        "source attunement: source 'attunement': no file matches data/sources/attunement/*.jsonl",
        "helplines: data/resources/helplines.yaml does not list helplines by region: US.emergency",
        "scorer referral: data/resources/helplines.yaml does not list helplines",
        "scorer rubric:support: data/rubrics/support.yaml is missing",
        "no YAML file in data/tasks holds `task: attunement_better_reply`",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("path", "old", "new", "fault"),
    [
        ("suites/scripts/multi_turn.jsonl", '"change_at": ', '"change_at": 9', "change_at is 9"),
        ("suites/curation/flawed.jsonl", '"rule": "', '"rule": "un', "is not in data/LABELLING.md"),
        ("suites/sycophancy.jsonl", '"pair": "', '"pair": "0', "has 1 prompt, expected 2"),
        ("tasks/literacy/items.jsonl", '"answer": ', '"answer": 7', "items.jsonl:1  answer is 7"),
        ("tasks/literacy/items.jsonl", '{"id"', '"id"', "items.jsonl:1  not JSON"),
    ],
)
def test_a_fault_in_any_suite_or_task_is_found_though_no_parameter_names_the_suite(
    project: Path, path: str, old: str, new: str, fault: str
) -> None:
    file = project / "data" / path
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    assert fault in told(load())


def test_a_row_that_curation_would_quarantine_is_named_by_its_place(project: Path) -> None:
    write(project / "data/sources/attunement/toy.jsonl", row("Lilies.", "Yes."), row(*"abcd", risk="severe", line=2))
    (project / "data/sources/attunement/torn.jsonl").write_text("{\n")
    message = told(load())
    assert re.search(r"3 of \d+ rows are broken, more than curate\.max_quarantined_frac \(0\.0%\)", message)
    assert "toy.jsonl:1 turns: 2 turns, expected 4 to 20" in message
    assert "toy.jsonl:2 tags: a tag `risk` must be one of none" in message
    assert "torn.jsonl:1 the line: Invalid JSON" in message
    assert "Nothing is left" not in message
    assert "Lilies" not in message


def test_a_source_that_one_setting_takes_whole_is_a_fault_that_names_it_until_it_is_overridden(project: Path) -> None:
    shutil.rmtree(project / "data/sources/attunement")
    (project / "data/sources/attunement").mkdir()
    write(project / "data/sources/attunement/toy.jsonl", row("Lilies.", "Yes."))
    message = told(load())
    assert "min_turns: 4, max_turns: 20. If you want dialogues of 2 turns" in message
    text = SHIPPED.replace("min_turns: 4,", "min_turns: 4, overrides: {attunement: {min_turns: 2}},")
    (project / "params.yaml").write_text(text, encoding="utf-8")
    assert "ok  source attunement: 1 rows" in check_files(load())


@pytest.mark.parametrize(("files", "told"), [
    ("data/sources/attunement/*.jsonl", ""), ("data/sources/attunement", ""), ("data/../data/sources/**/*.jsonl", ""),
    ("data/mine.jsonl", "data/mine.jsonl"), ("away", "away"), ("*/*.jsonl", "away/a.jsonl and 2 more"),
    ("ABSOLUTE/away/*.jsonl", "ABSOLUTE/away/a.jsonl and 1 more"),
])
def test_a_source_that_dvc_does_not_watch_is_told_and_no_fault(project: Path, files: str, told: str) -> None:
    shutil.copy(ROOT / "dvc.yaml", project)
    (project / "away").mkdir()
    for number, name in enumerate(("away/a.jsonl", "away/b.jsonl", "data/mine.jsonl")):
        write(project / name, row(f"Pot {number}?", "Yes.", "It's warm.", "It is."))
    files, told = (text.replace("ABSOLUTE", project.as_posix()) for text in (files, told))
    (project / "params.yaml").write_text(
        SHIPPED.replace("files: data/sources/attunement/*.jsonl", f"files: '{files}'"), encoding="utf-8")
    warnings = [line for line in check_files(load()) if not line.startswith("ok  ")]
    start = f"warning  source attunement: DVC does not watch {told}: it is no dep of stage curate in dvc.yaml."
    assert [line.startswith(start) for line in warnings] == [True] * bool(told)


def test_a_source_that_was_added_to_the_deps_is_watched(project: Path) -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    (project / "dvc.yaml").write_text(text.replace("      - data/sources\n", "      - data/sources\n      - away\n", 1))
    (project / "away").mkdir()
    write(project / "away/a.jsonl", row("Pot?", "Yes.", "It's warm.", "It is."))
    (project / "params.yaml").write_text(
        SHIPPED.replace("files: data/sources/attunement/*.jsonl", "files: away"), encoding="utf-8")
    assert all(line.startswith("ok  ") for line in check_files(load()))


def test_a_source_without_a_row_is_a_fault(project: Path) -> None:
    shutil.rmtree(project / "data/sources/attunement")
    (project / "data/sources/attunement").mkdir()
    (project / "data/sources/attunement/empty.jsonl").touch()
    assert "data/sources/attunement/*.jsonl holds no row" in told(load())


def test_a_prompt_whose_severity_is_no_word_of_ours_is_a_fault(project: Path) -> None:
    line = {"context": [{"role": "user", "text": "Lilies."}], "category": "toy", "severity": "severe"}
    with (project / "data/suites/crisis.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    message = told(load())
    assert "suite crisis: data/suites/crisis.jsonl:" in message
    assert "severity: Input should be 'none', 'passive', 'active' or 'imminent'" in message
    assert "Lilies" not in message


def test_a_rubric_that_does_not_parse_is_a_fault(project: Path) -> None:
    (project / "data/rubrics/support.yaml").write_text("about: nothing\n")
    assert "data/rubrics/support.yaml is not a rubric" in told(load())


@pytest.mark.parametrize("content", [b"US: [\n", b"US: \xff\n", b"US: \x07\n"])
def test_helplines_that_are_no_yaml_are_a_fault_and_no_traceback(project: Path, content: bytes) -> None:
    (project / "data/resources/helplines.yaml").write_bytes(content)
    assert "helplines: data/resources/helplines.yaml" in told(load())


@pytest.mark.parametrize(
    "files", ['"data/gone.jsonl"', '["data/gone.jsonl"]', "{test: data/gone.jsonl}", "{test: [data/gone.jsonl]}"]
)
def test_a_tasks_data_that_is_missing_is_a_fault_however_it_is_declared(project: Path, files: str) -> None:
    task = project / "data/tasks/better_reply/better_reply.yaml"
    task.write_text(f"task: attunement_better_reply\ndataset_kwargs:\n  data_files: {files}\n", encoding="utf-8")
    assert "data/tasks/better_reply/better_reply.yaml names data/gone.jsonl, which does not exist" in told(load())


def test_a_task_without_local_data_is_in_order(project: Path) -> None:
    task = project / "data/tasks/better_reply/better_reply.yaml"
    task.write_text("task: attunement_better_reply\n", encoding="utf-8")
    assert "ok  task attunement_better_reply: data/tasks/better_reply/better_reply.yaml" in check_files(load())
