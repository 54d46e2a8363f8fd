"""The whole pipeline through DVC on a tiny random model, offline. See test_kills for what happens when it is killed."""

import json
from pathlib import Path

import build
import pytest

from attunement.artefacts import verify

STAGES = ("fetch", "curate", "train", "select", "respond@base", "respond@tuned", "score", "bench@base", "bench@tuned",
          "calibrate", "gate", "report")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose pipeline has run once to the end."""
    folder = build.build_project(tmp_path_factory.mktemp("toy"))
    done = build.run(folder, "dvc", "repro")
    (folder / "repro.log").write_text(done.stdout + done.stderr)
    return folder


def test_every_stage_runs_and_publishes_what_its_manifest_says(project: Path) -> None:
    log = (project / "repro.log").read_text()
    assert [stage for stage in STAGES if f"Running stage '{stage}'" not in log] == []
    for name in ("curate", "train", "select", "respond/base", "respond/tuned", "score", "calibrate", "bench/base",
                 "gate", "report"):
        verify(project / "out" / name)


def test_sockets_are_really_blocked_in_the_project(project: Path) -> None:
    done = build.run(project, "python", "-c", "import socket; socket.create_connection(('127.0.0.1', 9))", check=False)
    assert "may not touch a network" in done.stderr


def test_every_prompt_is_answered_by_both_models_and_scored_by_every_scorer(project: Path) -> None:
    n_prompts = 40 + 20 + 20  # as the toy's params.yaml declares
    for model in ("base", "tuned"):
        assert len(build.read_lines(project / f"out/respond/{model}/replies.jsonl")) == n_prompts
    scores = build.read_lines(project / "out/score/scores.jsonl")
    scorers = {score["scorer"] for score in scores}
    assert scorers == {"linear", "referral", "rubric:support"}
    assert len(scores) == 2 * n_prompts * len(scorers)


def test_a_task_is_asked_as_many_items_as_declared_spread_over_all_of_it(project: Path) -> None:
    for model in ("base", "tuned"):
        assert {one["n"] for one in build.read_lines(project / f"out/bench/{model}/bench.jsonl")} == {40}


def test_the_last_checkpoint_is_asked_every_prompt_of_the_sample_and_those_between_some_of_them(project: Path) -> None:
    probes = build.read_lines(project / "out/train/probes.jsonl")
    steps = [point["step"] for point in build.read_lines(project / "out/train/history.jsonl")]
    asked = [{probe["prompt_id"] for probe in probes if probe["step"] == step} for step in steps]
    assert [len(prompts) for prompts in asked] == [12, 40]
    assert asked[0] < asked[1]
    for step in steps:
        assert (project / f"out/train/checkpoints/step-{step:06d}/adapter_model.safetensors").exists()


def test_a_random_model_does_not_pass_and_the_verdict_says_why(project: Path) -> None:
    verdict = json.loads((project / "out/gate/verdict.json").read_text())
    assert verdict["passed"] is False
    failed = {rule["name"]: rule["because"] for rule in verdict["rules"] if not rule["passed"]}
    assert "replies to 'crisis' are" in failed["safe referral in crisis"]


def test_the_headline_fits_a_terminal_and_the_card_tells_the_verdict(project: Path) -> None:
    headline = json.loads((project / "metrics/headline.json").read_text())
    assert len(headline) <= 6
    assert all(value is None or isinstance(value, float) for value in headline.values())
    assert "## Verdict: NOT passed" in (project / "out/report/card.md").read_text()


def test_no_words_of_a_prompt_are_in_the_log(project: Path) -> None:
    log = (project / "repro.log").read_text()
    suites = [item for name in ("adversarial_test", "empathy", "crisis")
              for item in build.read_lines(project / f"data/suites/{name}.jsonl")]
    said = [turn["text"] for item in suites for turn in item["context"]]  # type: ignore[attr-defined]
    assert [text[:12] for text in said if len(text) > 12 and text in log] == []  # "hi" stands in any log


def test_a_second_run_runs_nothing(project: Path) -> None:
    assert "Running stage" not in build.run(project, "dvc", "repro").stdout


def test_the_base_is_not_asked_again_when_only_the_limit_of_selection_changes(project: Path) -> None:
    params = project / "params.yaml"
    before = params.read_text()
    try:
        params.write_text(before.replace("max_unscored_replies: 0", "max_unscored_replies: 64"))
        told = build.run(project, "dvc", "repro", "--dry").stdout
    finally:
        params.write_text(before)
    assert "Running stage 'select'" in told
    assert "Running stage 'train'" not in told
    assert "Running stage 'respond@base'" not in told


def test_a_changed_output_is_refused_by_the_next_stage(project: Path) -> None:
    replies = project / "out/respond/tuned/replies.jsonl"
    before = replies.read_bytes()
    try:
        replies.chmod(0o644)
        replies.write_bytes(before + before.splitlines(keepends=True)[0])
        done = build.run(project, "python", "-m", "attunement.score", check=False)
    finally:
        replies.write_bytes(before)
    assert done.returncode == 1
    assert "is not as its stage left it" in done.stderr
    assert "replies.jsonl" in done.stderr
