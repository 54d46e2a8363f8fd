"""The dataset for machines: Croissant 1.0 (MLCommons), JSON-LD that data hubs and loaders read.

In: the folder with the splits, and what was declared. Out: the description: files with sha256 and size, columns with
their types, licences, and what is masked. No clock and no place of this machine stands in it. Written by hand, because
the format's own library takes seconds to import; a test has that library validate it and read the dialogues through it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attunement.artefacts import sha256_of
from attunement.sources.base import Source
from attunement.splits import SPLITS
from attunement.steps.base import Step
from attunement.steps.pii import PiiStep

# As the specification prints it: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"}, **{term: f"cr:{term}" for term in TERMS},
}
FIELDS = {
    "id": "hash of the dialogue as it was read", "source": "the corpus it is from", "licence": "of that corpus",
    "locale": "BCP 47 tag; und when unknown", "turns": "who says what, in order",
    "tags": "JSON: severity, topic, tier …",
    "scores": "JSON: value of each scorer, null where it could not be taken",
}
TURN = {"role": "user or assistant", "text": "what is said"}


def described(folder: Path, sources: Sequence[Source], steps: Sequence[Step]) -> str:
    """The description of the Parquet files in ``folder``, as JSON text; what was masked follows from the steps."""
    return json.dumps(_metadata(folder, sources, steps), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _metadata(folder: Path, sources: Sequence[Source], steps: Sequence[Step]) -> dict[str, Any]:
    files = [_file(folder / f"{name}.parquet") for name in SPLITS]
    content = hashlib.sha256("".join(file["sha256"] for file in files).encode()).hexdigest()
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "attunement-curated",
        "description": "Support conversations, curated: a reason for every row that is left out stands in "
                       "ledger.parquet. For fine-tuning and evaluating; not for release as a service.",
        "version": f"1.0.0+{content[:12]}",  # what follows the plus is of the content: equal bytes, equal version
        "license": sorted({source.licence for source in sources}),
        "creator": [{"@type": "sc:Organization", "name": source.name} for source in sources],
        "citeAs": "; ".join(f"{source.name} ({source.licence}): {source.consent}" for source in sources),
        "rai:personalSensitiveInformation": f"People tell of distress and danger. {_masking(steps)}",
        "distribution": files,
        "recordSet": [_record_set(name) for name in SPLITS],
    }


def _masking(steps: Sequence[Step]) -> str:
    """What is done about what tells a person apart, as the steps are declared."""
    types = sorted({kind for step in steps if isinstance(step, PiiStep) for kind in step.types if kind != "name"})
    if not types:
        return "What tells a person apart is not masked: no step that masks it was declared."
    return (f"Masked by its type is, as far as the rules find it: {', '.join(types)}; a person's name is not. "
            "See datasheet.md.")


def _file(path: Path) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "@id": path.name, "name": path.name, "contentUrl": path.name,
            "contentSize": f"{path.stat().st_size} B", "encodingFormat": "application/x-parquet",
            "sha256": sha256_of(path)}


def _record_set(split: str) -> dict[str, Any]:
    """The dialogues of a split, a field for each column."""
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "description": f"the dialogues for {split}",
            "key": {"@id": f"{split}/id"},
            "field": [_turns(split) if name == "turns" else _field(split, name, about)
                      for name, about in FIELDS.items()]}


def _field(split: str, name: str, about: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"{split}/{name}", "name": name, "description": about, "dataType": "sc:Text",
            "source": {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": name}}}


def _turns(split: str) -> dict[str, Any]:
    """The turns, each with a role and a text, which stand in the column one struct a turn."""
    parts = [
        {"@type": "cr:Field", "@id": f"{split}/turns/{name}", "name": f"turns/{name}", "description": about,
         "dataType": "sc:Text",
         "source": {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": "turns"},
                    "transform": {"jsonPath": name}}}
        for name, about in TURN.items()
    ]
    return {"@type": "cr:Field", "@id": f"{split}/turns", "name": "turns", "description": FIELDS["turns"],
            "repeated": True, "subField": parts}
