"""croissant.json: the format's own library accepts it and reads the dialogues by it, without a network."""

import json
from pathlib import Path
from typing import Any

import pytest

from attunement.artefacts import read_parquet
from attunement.croissant import FIELDS, TURN, described
from attunement.curate import publish
from attunement.records import Dialogue, Turn
from attunement.splits import SPLITS
from attunement.steps.base import Step
from attunement.steps.pii import PiiStep
from curation import curated, harmless, params, row, source

# mlcroissant's own dependencies use what other libraries have renamed
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.disable_socket]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    rows = (*map(harmless, range(30)), row("Tea?", "Yes.", "Milk?", "“No.”", line=40, topic="tea"))
    publish(curated(*rows), params(), None, tmp_path / "out")
    return tmp_path / "out"


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "croissant.json").read_text(encoding="utf-8"))
    return found


def test_the_formats_own_library_finds_nothing_amiss_but_a_date(
    out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mlcroissant import Dataset

    issues = Dataset(jsonld=out / "croissant.json").metadata.ctx.issues
    assert not issues.errors
    (warning,) = issues.warnings
    assert "datePublished" in warning  # a clock, which would make other bytes of the same data
    assert "not standard" not in caplog.text


@pytest.mark.parametrize("split", SPLITS)
def test_every_dialogue_is_read_back_by_the_description(out: Path, split: str) -> None:
    from mlcroissant import Dataset

    records = list(Dataset(jsonld=out / "croissant.json").records(split))
    dialogues = read_parquet(out / f"{split}.parquet", Dialogue)
    assert [one[f"{split}/id"].decode() for one in records] == [one.id for one in dialogues]
    for record, dialogue in zip(records, dialogues, strict=True):
        turns = [{key.rpartition("/")[2]: value.decode() for key, value in turn.items()}
                 for turn in record[f"{split}/turns"]]
        assert [Turn.model_validate(turn) for turn in turns] == list(dialogue.turns)
        assert json.loads(record[f"{split}/tags"]) == dialogue.tags


def test_every_column_is_a_field(out: Path) -> None:
    assert set(FIELDS) == set(Dialogue.model_fields)
    assert set(TURN) == set(Turn.model_fields)
    for record_set in read(out)["recordSet"]:
        assert [field["name"] for field in record_set["field"]] == list(FIELDS)


def test_files_have_the_hashes_of_the_manifest_and_the_version_follows_them(out: Path, tmp_path: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    found = read(out)
    assert {one["name"]: one["sha256"] for one in found["distribution"]} == {
        f"{name}.parquet": manifest[f"{name}.parquet"] for name in SPLITS}
    publish(curated(*map(harmless, range(31))), params(), None, tmp_path / "other")
    assert read(tmp_path / "other")["version"] != found["version"]
    assert found["version"].startswith("1.0.0+")


def test_every_licence_is_named_once_and_no_place_of_this_machine(out: Path) -> None:
    other = source(name="other").model_copy(update={"licence": "MIT"})
    text = described(out, [source(), other, source(name="third")], params().steps)
    assert json.loads(text)["license"] == ["CC0-1.0", "MIT"]
    assert [one["name"] for one in json.loads(text)["creator"]] == ["toy", "other", "third"]
    assert str(out.parent) not in text
    assert "Kettle" not in text


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), "is not masked: no step that masks it was declared."),
        (params().steps, "is not masked: no step that masks it was declared."),
        ((PiiStep(kind="pii", types=("name",)),), "is not masked: no step that masks it was declared."),
        ((PiiStep(kind="pii", types=("phone", "email")),), "as the rules find it: email, phone; a person's name"),
        ((*params().steps, PiiStep(kind="pii")), "find it: address, card, email, handle, id, phone; a person's name"),
    ],
)
def test_what_is_said_of_masking_follows_the_declared_steps(
    out: Path, steps: tuple[Step, ...], expected: str
) -> None:
    assert expected in json.loads(described(out, [source()], steps))["rai:personalSensitiveInformation"]
