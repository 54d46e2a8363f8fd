"""Tuning on a toy: the same bytes again, nothing half-made, nothing trained on that is held out or not allowed."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_encoder
from attunement import classifier_recipes, toxicity_teachers
from attunement import tune_classifier as stage
from attunement.artefacts import sha256_of
from attunement.calibrate import PLANS
from attunement.classifier import ADAPTER, FOLDER, MADE_OF, load_adapted, read_made_of
from attunement.classifier_recipes import RECIPES, Example, last_text, own_dialogues, trainable
from attunement.errors import TrainingError
from attunement.labelled import SETS
from attunement.records import content_id
from attunement.scorers.refusal import opening

# Lightning's to mend: it asks torch by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")

ROOT = Path(__file__).resolve().parents[1]
LABELS = ROOT.parent / "shared" / "data"
needs_labels = pytest.mark.skipif(not LABELS.is_dir(), reason=f"no labelled sets under {LABELS}")
RECIPE_NAMES = sorted(RECIPES)
SAID_BY_MANY_WORDS = 6  # a text of so few words is written twice by people who never met


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Tuning turns deterministic kernels on for its process; other tests did not ask for them."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_encoder.build(tmp_path_factory.mktemp("toy-encoder"))


@pytest.fixture(scope="module")
def tuned(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the classifier ``toy``. Read only."""
    folder = tmp_path_factory.mktemp("toy-classifiers")
    toy_encoder.adapt(folder / "toy", encoder=encoder)
    return folder


# --- a training


def test_two_trainings_give_the_same_bytes(tuned: Path, encoder: Path, tmp_path: Path) -> None:
    toy_encoder.adapt(tmp_path / "again", encoder=encoder)
    for name in (ADAPTER, MADE_OF):
        assert sha256_of(tmp_path / "again" / name) == sha256_of(tuned / "toy" / name)


def test_another_seed_gives_another_adapter(tuned: Path, encoder: Path, tmp_path: Path) -> None:
    stage.tune(toy_encoder.recipe(), toy_encoder.examples(), folder=tmp_path, encoder=encoder, seed=5)
    assert sha256_of(tmp_path / ADAPTER) != sha256_of(tuned / "toy" / ADAPTER)
    assert read_made_of(tmp_path / MADE_OF).seed == 5


def test_every_tensor_of_the_adapter_was_trained(tuned: Path, encoder: Path, tmp_path: Path) -> None:
    # With a rate this small nothing moves that half precision could show.
    still = toy_encoder.tensors(toy_encoder.adapt(tmp_path, encoder=encoder, learning_rate=1e-30))
    moved = toy_encoder.tensors(tuned / "toy")
    assert moved.keys() == still.keys()
    assert not [key for key in moved if torch.equal(moved[key], still[key])]
    assert all(not bool(still[key].any()) for key in still if "lora_B" in key), "untrained, the product is nothing"


def test_the_mean_of_two_adapters_adds_the_mean_of_what_each_adds() -> None:
    torch.manual_seed(3)
    one, other = ({"q.lora_A.weight": torch.randn(2, 6), "q.lora_B.weight": torch.randn(5, 2),
                   "classifier.bias": torch.randn(3)} for _ in range(2))
    both = stage.averaged([one, other])
    added = [state["q.lora_B.weight"] @ state["q.lora_A.weight"] for state in (one, other)]
    assert torch.allclose(both["q.lora_B.weight"] @ both["q.lora_A.weight"], (added[0] + added[1]) / 2, atol=1e-6)
    assert torch.allclose(both["classifier.bias"], (one["classifier.bias"] + other["classifier.bias"]) / 2)
    assert all(torch.equal(stage.averaged([one])[key], one[key]) for key in one)


def test_several_runs_make_one_adapter_of_their_ranks_together(encoder: Path, tmp_path: Path) -> None:
    twice = replace(toy_encoder.recipe(), runs=2)
    stage.tune(twice, toy_encoder.examples(), folder=tmp_path / "twice", encoder=encoder)
    made = read_made_of(tmp_path / "twice" / MADE_OF)
    assert (made.runs, made.r) == (2, 2 * twice.r)
    assert load_adapted("twice", folder=tmp_path, encoder=encoder).heads == twice.heads


def test_the_encoder_itself_is_not_written_into_the_adapter(tuned: Path) -> None:
    names = set(toy_encoder.tensors(tuned / "toy"))
    assert not [name for name in names if "embeddings" in name or "LayerNorm" in name or "base_layer" in name]
    assert all(value.dtype == torch.float16 for value in toy_encoder.tensors(tuned / "toy").values())


def test_a_training_learns_what_its_examples_say(encoder: Path, tmp_path: Path) -> None:
    given = [Example(text, None, (float("idiot" in text), None, None), "toy")
             for text in (*toy_encoder.sentences(24), *(f"{one} idiot" for one in toy_encoder.sentences(24)))]
    toy_encoder.adapt(tmp_path / "toy", encoder=encoder, given=given, epochs=10, learning_rate=0.01)
    toy = load_adapted("toy", folder=tmp_path, encoder=encoder)
    found = toy.probabilities([one for text in toy.windows([one.first for one in given]) for one in text], batch_size=8)
    yes, no = ([row[0] for row, one in zip(found, given, strict=True) if one.targets[0] == told] for told in (1.0, 0.0))
    assert sum(yes) / len(yes) > sum(no) / len(no) + 0.05


def test_a_training_that_is_stopped_writes_nothing(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(stage.Tuning):
        """Asked to stop in its second step, as a signal asks."""

        def training_step(self, batch: dict[str, torch.Tensor], number: int) -> torch.Tensor:
            self.trainer.should_stop = self.trainer.global_step >= 1
            return super().training_step(batch, number)

    monkeypatch.setattr(stage, "Tuning", Stopping)
    with pytest.raises(TrainingError, match=r"stopped after 2 of 6 steps; nothing was written"):
        toy_encoder.adapt(tmp_path / "toy", encoder=encoder)
    assert not (tmp_path / "toy").exists()


# --- what each head learns from


def tuning_on(encoder: Path, n_heads: int) -> stage.Tuning:
    """A model with all its weights free and no dropout, to look at gradients."""
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(encoder, num_labels=n_heads).eval()
    found = stage.Tuning(model, learning_rate=0.1, n_steps=1, head_weights=[1 / n_heads] * n_heads)
    found.log = lambda *_args, **_kwargs: None  # type: ignore[method-assign]  # no trainer listens here
    return found


def gradient(tuning: stage.Tuning, encoder: Path, given: Sequence[Example]) -> torch.Tensor:
    """Of the heads' weights, (head, hidden), from one batch."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tuning.zero_grad()
    rows = [stage._encode(one, tokenizer, 64) for one in given]
    tuning.training_step(stage._padded(rows, tokenizer, len(given[0].targets)), 0).backward()
    found: torch.Tensor = tuning.model.classifier.weight.grad.clone()
    return found


def test_a_head_that_an_example_does_not_answer_learns_nothing_from_it(encoder: Path) -> None:
    tuning = tuning_on(encoder, 3)
    found = gradient(tuning, encoder, [Example("i hear you", None, (1.0, None, 0.0), "toy")])
    assert not bool(found[1].any())
    assert bool(found[0].any())
    assert bool(found[2].any())


def test_an_example_without_an_answer_does_not_thin_out_what_others_answer(encoder: Path) -> None:
    tuning = tuning_on(encoder, 2)
    answered = Example("i hear you", None, (1.0, None), "toy")
    silent = Example("you are an idiot", None, (None, None), "toy")
    alone, together = (gradient(tuning, encoder, given) for given in ([answered] * 2, [answered, answered, silent]))
    assert torch.allclose(alone, together, atol=1e-6)


def test_an_answer_of_no_is_an_answer(encoder: Path) -> None:
    tuning = tuning_on(encoder, 2)
    yes, no = (gradient(tuning, encoder, [Example("i hear you", None, (value, None), "toy")]) for value in (1.0, 0.0))
    assert bool(no[0].any())
    assert not torch.allclose(yes[0], no[0])


def test_an_example_counts_by_its_weight(encoder: Path) -> None:
    tuning = tuning_on(encoder, 1)
    one, other = (Example(text, None, (1.0,), "toy") for text in ("i hear you", "how hard that sounds"))
    heavy = Example(other.first, None, other.targets, "toy", weight=2.0)
    assert torch.allclose(gradient(tuning, encoder, [one, heavy]), gradient(tuning, encoder, [one, other, other]),
                          atol=1e-6)


# --- batches


def test_every_example_stands_once_in_every_epoch_and_the_order_changes() -> None:
    lengths = [3 + number % 40 for number in range(501)]
    batches = list(stage.Batches(lengths, size=8, epochs=2, seed=1))
    assert len(batches) == len(stage.Batches(lengths, size=8, epochs=2, seed=1))
    first, second = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    for epoch in (first, second):
        assert sorted(number for batch in epoch for number in batch) == list(range(501))
        assert max(map(len, epoch)) == 8
    assert first != second


def test_the_seed_alone_decides_the_batches() -> None:
    lengths = [3 + number % 40 for number in range(100)]
    one, same, other = (list(stage.Batches(lengths, size=8, epochs=1, seed=seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_a_batch_holds_examples_of_like_length() -> None:
    lengths = [number % 100 for number in range(400)]
    spans = [max(lengths[n] for n in batch) - min(lengths[n] for n in batch)
             for batch in stage.Batches(lengths, size=8, epochs=1, seed=1)]
    assert max(spans) <= 2


# --- what is written of it


def test_the_description_tells_all_that_the_adapter_was_made_of(tuned: Path, encoder: Path) -> None:
    recipe = toy_encoder.recipe()
    made = read_made_of(tuned / "toy" / MADE_OF)
    assert made.model_dump() == {
        "about": recipe.about,
        "heads": list(toy_encoder.HEADS),
        "encoder_sha256": sha256_of(encoder / "model.safetensors"),
        "pooling": "first",
        "scaling": 2.0,
        "max_tokens": 128,
        "examples": {"toy pairs": 12, "toy texts": 12},
        "licences": {"own": "CC-BY-4.0"},
        "seed": stage.SEED,
        "runs": 1,
        "epochs": 2,
        "learning_rate": 0.02,
        "r": 2,
        "batch_size": 8,
    }


def test_the_mean_over_the_tokens_needs_no_pooler_and_ignores_padding(encoder: Path, tmp_path: Path) -> None:
    toy_encoder.adapt(tmp_path / "toy", encoder=encoder, pooling="mean")
    assert not [name for name in toy_encoder.tensors(tmp_path / "toy") if "pooler" in name]
    toy = load_adapted("toy", folder=tmp_path, encoder=encoder)
    short, long = toy.windows(["you are an idiot", "thank you for telling me that sounds hard"])
    together = toy.probabilities([*short, *long], batch_size=2)
    alone = load_adapted.__wrapped__("toy", folder=tmp_path, encoder=encoder)
    assert together[0] == pytest.approx(alone.probabilities(short, batch_size=1)[0], abs=1e-5)


def test_the_heads_begin_where_a_linear_probe_puts_them(encoder: Path, tmp_path: Path) -> None:
    given = [Example(text, None, (float("idiot" in text), None, 1.0), "toy")
             for text in (*toy_encoder.sentences(24), *(f"{one} idiot" for one in toy_encoder.sentences(24)))]
    toy_encoder.adapt(tmp_path / "toy", encoder=encoder, given=given, epochs=1, learning_rate=1e-30, pooling="mean")
    toy = load_adapted("toy", folder=tmp_path, encoder=encoder)
    found = [row for one in given for row in toy.probabilities(toy.windows([one.first])[0], batch_size=1)]
    insults = [row[0] for row, one in zip(found, given, strict=True) if one.targets[0]]
    calm = [row[0] for row, one in zip(found, given, strict=True) if not one.targets[0]]
    assert sum(insults) / len(insults) > sum(calm) / len(calm) + 0.05
    assert all(row[2] > 0.5 for row in found), "a head that is always answered yes begins at yes"


def test_the_command_tunes_a_recipe_into_the_folder_that_is_named(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/encoder").symlink_to(encoder)
    monkeypatch.setitem(RECIPES, "toy", toy_encoder.recipe())
    monkeypatch.setattr(sys, "argv", ["tune", "toy", "--labels", "none", "--to", "made"])
    stage.main()
    assert "toy: 24 examples, 2 epochs" in capsys.readouterr().err
    assert {path.name for path in Path("made/toy").iterdir()} == {ADAPTER, MADE_OF}


@pytest.mark.parametrize("path", sorted(FOLDER.glob(f"*/{MADE_OF}")), ids=lambda path: path.parent.name)
def test_every_shipped_adapter_was_made_by_the_recipe_of_its_name(path: Path) -> None:
    made, recipe = read_made_of(path), RECIPES[path.parent.name]
    assert (made.heads, made.about, made.licences) == (list(recipe.heads), recipe.about, recipe.licences)
    assert (made.epochs, made.learning_rate, made.runs, made.r, made.batch_size, made.max_tokens) == (
        recipe.epochs, recipe.learning_rate, recipe.runs, recipe.r * recipe.runs, recipe.batch_size, recipe.max_tokens)


# --- what may be trained on


@pytest.mark.parametrize("name", sorted(name for name, one in SETS.items() if not one.may_train))
def test_a_set_that_may_only_be_measured_on_cannot_be_trained_on(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{name} .*may be measured on, not trained on") as caught:
        trainable(name, tmp_path)
    assert SETS[name].licence in str(caught.value)


@pytest.mark.parametrize("one", [one for one in SETS.values() if one.may_train], ids=lambda one: one.name)
def test_a_set_may_be_trained_on_only_under_a_licence_that_lets_weights_be_given_away(one: Any) -> None:
    assert one.licence in {"MIT", "CC0-1.0", "Apache-2.0", "BSD-3-Clause"}


def test_a_text_that_is_held_out_is_not_trained_on_in_another_set_or_with_other_punctuation(tmp_path: Path) -> None:
    texts = [f"toy sentence number {number}" for number in range(200)]
    tweets = "".join(f",3,0,0,3,2,{text}{end}\n" for text in texts for end in ("", "?"))
    header = ",count,hate_speech,offensive_language,neither,class,tweet"
    write(tmp_path / "davidson/labeled_data.csv", f"{header}\n{tweets}")
    pairs = [{"context": "toy sentence", "response": f"NUMBER {n}.", "category": "", "label": "Safe"} for n in range(9)]
    write(tmp_path / "diasafety/train.json", json.dumps(pairs))
    write(tmp_path / "diasafety/val.json", json.dumps(pairs[:3]))
    held = {plain(one.item.words) for one in SETS["davidson"].items(tmp_path, "test")}
    assert held & {plain(one.item.words) for one in SETS["davidson"].items(tmp_path, "train")}, "or this shows nothing"
    given = {plain(one.item.words) for one in trainable("davidson", tmp_path)}
    assert len(given) > 100
    assert not held & given
    numbers = {int(plain(one.item.words).split()[1]) for one in trainable("diasafety_train", tmp_path)}
    assert numbers == {n for n in range(3, 9) if f"toy sentence number {n}" not in held}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_a_recipe_names_the_licence_of_nothing_that_may_not_be_trained_on(name: str) -> None:
    sets = [one for one in RECIPES[name].licences if one in SETS]
    assert all(SETS[one].may_train and RECIPES[name].licences[one] == SETS[one].licence for one in sets)
    assert not [one for one in RECIPES[name].licences if one not in SETS and one != "own" and "teacher" not in one]


def test_a_fifth_of_our_own_dialogues_is_left_to_measure_on() -> None:
    every = [json.loads(line) for path in sorted((ROOT / "data/sources/attunement").glob("*.jsonl"))
             for line in path.read_text(encoding="utf-8").splitlines()]
    kept = {content_id(row["messages"]) for row in own_dialogues()}
    assert 0.7 < len(kept) / len(every) < 0.9


@pytest.fixture(scope="module")
def examples_of() -> Any:
    """The examples of a recipe, without the teachers of toxicity, which a network would have to bring."""
    found: dict[str, list[Example]] = {}

    def of(name: str) -> list[Example]:
        if name not in found:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(toxicity_teachers, "tox_block", lambda texts: [[0.5] * 6 for _ in texts])
                patch.setattr(toxicity_teachers, "profanity_check", lambda texts: [0.5 for _ in texts])
                found[name] = RECIPES[name].examples(LABELS)
        return found[name]

    return of


def plain(text: str) -> str:
    """A text as words alone: case, punctuation and spaces do not make another of it."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def judged(first: str, second: str | None) -> tuple[str, str]:
    """What an example or item is about, so that it can be found again in another set."""
    return (plain(first), plain(second)) if second is not None else ("", plain(first))


def held_out(recipe: str) -> dict[tuple[str, str], str]:
    """All that a recipe's scorer is measured on, as `judged` has it, with the name of its set."""
    kinds = {"toxicity": ("detoxify",), "crisis": ("crisis", "referral")}.get(recipe, (recipe,))
    plans = [plan for kind, plan in PLANS.items() if kind in kinds or kind.startswith(f"{recipe}.")]
    names = sorted({name for plan in plans for name in plan.sets if SETS[name].present(LABELS)})
    assert names
    found: dict[tuple[str, str], str] = {}
    for name in names:
        for one in SETS[name].items(LABELS, "test"):
            item = one.item
            if item.form == "dialogue":
                found |= {("", plain(turn.text)): name for turn in item.dialogue if turn.role == "user"}
            elif item.form == "text":
                found[judged(item.words, None)] = name
            else:
                reply = opening(item.words) if recipe == "refusal" else item.words
                found[judged(last_text(one), reply)] = name
    return found


@needs_labels
@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_no_example_of_a_recipe_is_measured_on(name: str, examples_of: Any) -> None:
    held = held_out(name)
    given = [(one, judged(one.first, one.second)) for one in examples_of(name)]
    assert given
    found = sorted({(one.origin, held[key]) for one, key in given
                    if key in held and len(" ".join(key).split()) > SAID_BY_MANY_WORDS})
    assert not found


@needs_labels
@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_every_example_answers_each_head_with_a_share_or_not_at_all(name: str, examples_of: Any) -> None:
    heads = RECIPES[name].heads
    for one in examples_of(name):
        assert len(one.targets) == len(heads)
        assert all(value is None or 0 <= value <= 1 for value in one.targets)
        assert any(value is not None for value in one.targets)
    for number, head in enumerate(heads):
        answers = [one.targets[number] for one in examples_of(name) if one.targets[number] is not None]
        assert min(answers) < 0.5 <= max(answers), f"{head} is never answered both ways"


@needs_labels
@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_a_recipe_names_the_licence_of_every_set_it_reads(
    name: str, examples_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()

    def noting(one: str, root: Path) -> Any:
        read.add(one)
        return trainable(one, root)

    monkeypatch.setattr(classifier_recipes, "trainable", noting)
    monkeypatch.setattr(toxicity_teachers, "tox_block", lambda texts: [[0.5] * 6 for _ in texts])
    monkeypatch.setattr(toxicity_teachers, "profanity_check", lambda texts: [0.5 for _ in texts])
    RECIPES[name].examples(LABELS)
    assert read == {one for one in RECIPES[name].licences if one in SETS}
