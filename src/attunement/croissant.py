"""The dataset for machines: Croissant 1.0 (MLCommons), JSON-LD that data hubs and loaders read.

In: the folder with the splits. Out: the description: files with sha256, columns, licences. No clock and no place of
this machine stands in it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attunement.artefacts import sha256_of
from attunement.sources.base import Source
from attunement.splits import SPLITS

CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs", "column": "cr:column", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet",
    "recordSet": "cr:recordSet", "source": "cr:source", "subField": "cr:subField", "md5": "cr:md5",
    "repeated": "cr:repeated",
}
FIELDS = {
    "id": "hash of the dialogue as it was read", "source": "the corpus it is from", "licence": "of that corpus",
    "locale": "BCP 47 tag; und when unknown", "turns": "role and text, in order",
    "tags": "JSON: severity, topic, tier …",
    "scores": "JSON: value of each scorer, null where it could not be taken",
}


def described(folder: Path, sources: Sequence[Source]) -> str:
    """The description of the Parquet files in ``folder``, as JSON text."""
    return json.dumps(_metadata(folder, sources), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _metadata(folder: Path, sources: Sequence[Source]) -> dict[str, Any]:
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "attunement-curated",
        "description": "Support conversations, curated: a reason for every row that is left out stands in "
                       "ledger.parquet. For fine-tuning and evaluating; not for release as a service.",
        "license": sorted({source.licence for source in sources}),
        "creator": [{"@type": "sc:Organization", "name": source.name} for source in sources],
        "citeAs": "; ".join(f"{source.name} ({source.licence}): {source.consent}" for source in sources),
        "distribution": [
            {"@type": "cr:FileObject", "@id": f"{name}.parquet", "name": f"{name}.parquet",
             "contentUrl": f"{name}.parquet", "encodingFormat": "application/x-parquet",
             "sha256": sha256_of(folder / f"{name}.parquet")}
            for name in SPLITS
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": name, "name": name, "description": f"the dialogues for {name}",
             "field": [
                 {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "description": about,
                  "dataType": "sc:Text", "source": {"fileObject": {"@id": f"{name}.parquet"},
                                                    "extract": {"column": field}}}
                 for field, about in FIELDS.items()
             ]}
            for name in SPLITS
        ],
    }
