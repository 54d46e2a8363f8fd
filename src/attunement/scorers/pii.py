"""Scorer `pii`: does a text or reply tell a person apart, by e-mail, phone, handle, address, id or card (and name)?

A text is judged whole. Of a reply the reply alone is judged, not the context: what the person disclosed is not the
model's doing, but a reply that repeats it is counted. Of a dialogue every turn is judged, the user's as well, since
neither may enter a corpus. What counts and what does not, by decision: see `attunement.pii`.

Names are off by default. They need Presidio and a spaCy model (``pip install attunement[names]``, then ``python -m
spacy download en_core_web_sm``), which are large, know English alone, and cannot tell a public figure from a neighbour.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module, util
from importlib.metadata import version as package_version
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Literal

from attunement import helplines, phrases, pii, pii_address
from attunement.errors import ModelError
from attunement.helplines import Helplines, load_helplines
from attunement.phrases import REFERRAL_PHRASES
from attunement.pii import TYPES, Found, find_pii
from attunement.records import content_id
from attunement.scorers.base import Form, Item, Scored, Scorer, unscored

CODE = tuple(Path(file) for file in (pii.__file__, pii_address.__file__, helplines.__file__, phrases.__file__))
READERS = ("phonenumbers", "python-stdnum")  # their tables of numbers change from one version to the next
NAME_READERS = ("presidio-analyzer", "spacy")
NONE = "none"


class Pii(Scorer):
    """Value: the number found; label: their types in the order of `TYPES`, joined by "+", or "none".

    ``labels`` holds each combination, so a rule that counts failures has to say of each whether it fails.
    ``because`` gives type@turn:start-end, with turns from 0 (a reply's turn comes after its context), never words.
    ``names`` looks for names of persons too and raises ModelError where Presidio or ``names_model`` is not installed.
    """

    kind: Literal["pii"] = "pii"
    helplines: str = "data/resources/helplines.yaml"
    names: bool = False
    names_model: str = "en_core_web_sm"
    forms: ClassVar[tuple[Form, ...]] = ("text", "reply", "dialogue")
    labels: ClassVar[tuple[str, ...]] = (
        NONE, *("+".join(kinds) for size in range(1, len(TYPES) + 1) for kinds in combinations(TYPES, size)))
    higher_is_better: ClassVar[bool | None] = False

    @property
    def version(self) -> str:
        """As every scorer's, and the versions of the packages that read numbers and names."""
        if self.names:
            _require_names(self.names_model)
        packages = (*READERS, *NAME_READERS, self.names_model) if self.names else READERS
        return content_id([super().version, *(package_version(name) for name in packages)], length=12)

    def data_files(self) -> tuple[Path, ...]:
        """The helplines that are not counted, and the code that looks."""
        return (Path(self.helplines), REFERRAL_PHRASES, *CODE)

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item, in the same order. Raises ModelError when names are asked for and cannot be read."""
        if self.names:
            _require_names(self.names_model)
        lines = load_helplines(Path(self.helplines))
        return [self._score_one(item, lines) for item in items]

    def _score_one(self, item: Item, lines: Helplines) -> Scored:
        turns = _judged(item)
        if not any(text.strip() for text in turns.values()):
            return unscored(item, "no words to look at")
        found = {turn: self._found(text, item.locale, lines) for turn, text in turns.items()}
        spans = [f"{one.type}@{turn}:{one.start}-{one.end}" for turn, ones in found.items() for one in ones]
        kinds = {one.type for ones in found.values() for one in ones}
        label = "+".join(kind for kind in TYPES if kind in kinds) or NONE
        return Scored(id=item.id, value=float(len(spans)), label=label, because=", ".join(spans) or "nothing found")

    def _found(self, text: str, locale: str, lines: Helplines) -> list[Found]:
        found = find_pii(text, locale=locale, helplines=lines)
        if not self.names:
            return found
        names = [name for name in _names_in(text, self.names_model)
                 if all(name.end <= one.start or one.end <= name.start for one in found)]
        return sorted([*found, *names], key=lambda one: one.start)


def _judged(item: Item) -> dict[int, str]:
    """The texts to look at, by turn."""
    if item.form == "dialogue":
        return {turn: one.text for turn, one in enumerate(item.dialogue)}
    return {len(item.context): item.words}


def _require_names(model: str) -> None:
    missing = [package for package in ("presidio_analyzer", "spacy", model) if util.find_spec(package) is None]
    if missing:
        raise ModelError(f"pii: names is true, which needs Presidio and the spaCy model {model}, but "
                         f"{', '.join(missing)} is not installed. Run `pip install attunement[names]` and "
                         f"`python -m spacy download {model}`, or set names to false.")


@cache
def _analyzer(model: str) -> Any:
    """Presidio's analyzer on one installed spaCy model; asked for persons alone it opens no network."""
    presidio = import_module("presidio_analyzer")
    provider = import_module("presidio_analyzer.nlp_engine").NlpEngineProvider(nlp_configuration={
        "nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]})
    return presidio.AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])


def _names_in(text: str, model: str) -> list[Found]:
    """Full names of persons: a first name alone tells nobody apart."""
    results = _analyzer(model).analyze(text=text, entities=["PERSON"], language="en")
    return [Found("name", one.start, one.end) for one in results if len(text[one.start:one.end].split()) > 1]
