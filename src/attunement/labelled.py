"""Labelled sets: what people said of texts, replies and dialogues, to measure scorers by and, where allowed, to train.

In: a folder that holds public datasets as their repositories publish them, and the project's own suites and examples.
Out: ``Labelled`` records. A set that is not there is not read and is named as absent. None of these texts is in the
project; a set's ``may_train`` says whether its licence lets weights that were made with it be given to others.

Sets from which classifiers learn are cut by a hash of the text: what stands in part "test" is never trained on.
"""

import ast
import csv
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from attunement.errors import DataError
from attunement.records import Role, Turn, content_id
from attunement.scorers.base import Item

DATA = Path(__file__).resolve().parents[2] / "data"
SEVERITIES = ("none", "passive", "active", "imminent")
Part = Literal["train", "test"]
Truth = Mapping[str, float]


@dataclass(frozen=True)
class Labelled:
    """An item with what people said of it.

    ``truth`` maps a question ("toxic", "risk", "er") to its answer; ``groups`` are those in which rates are told apart.
    """

    item: Item
    truth: Truth
    groups: tuple[str, ...] = ()

    def part(self, test_frac: float) -> Part:
        """Train or test, decided by the words alone, so that copies of a text stand on one side."""
        words = " ".join([*(turn.text for turn in self.item.context or self.item.dialogue), self.item.words])
        digest = hashlib.sha256(re.sub(r"\W+", " ", words.lower()).encode()).hexdigest()
        return "test" if int(digest[:8], 16) / 16**8 < test_frac else "train"


@dataclass(frozen=True)
class LabelledSet:
    """A dataset: where it lies under the folder of labelled sets, its terms, how it is read, what is held out."""

    name: str
    files: tuple[str, ...]
    licence: str
    about: str
    read: Callable[..., Iterator[Labelled]]
    may_train: bool = False
    test_frac: float = 1.0  # of the items; the rest may be trained on
    own: bool = False  # lies under the project's data/

    def present(self, root: Path) -> bool:
        """Whether all its files are there."""
        return all(path.is_file() for path in self.paths(root))

    def paths(self, root: Path) -> list[Path]:
        """Where its files lie: under ``root``, or under data/ where the set is our own."""
        return [(DATA if self.own else root) / file for file in self.files]

    def items(self, root: Path, part: Part | None = None) -> list[Labelled]:
        """The items of one part, or all; raises DataError when a file does not have the published shape."""
        try:
            every = list(self.read(*self.paths(root)))
        except (KeyError, ValueError, TypeError, AttributeError, SyntaxError, csv.Error) as error:
            raise DataError(
                f"{self.name}: {', '.join(map(str, self.paths(root)))} is not as published "
                f"({type(error).__name__}). Get it again from its repository, or take it away."
            ) from None
        return [one for one in every if part is None or one.part(self.test_frac) == part]


def rows(path: Path, *, skip_comments: bool = False) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header."""
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#")) if skip_comments else file
        yield from csv.DictReader(lines)


def _text(text: str, truth: Truth, *groups: str) -> Labelled:
    return Labelled(Item(id=content_id(text), text=text), truth, groups)


def _pair(said: str, reply: str, truth: Truth, *groups: str) -> Labelled:
    context = (Turn(role="user", text=said),) if said.strip() else ()
    return Labelled(Item(id=content_id([said, reply]), context=context, reply=reply), truth, groups)


def tweet(text: str) -> str:
    """A tweet without what stands around its words: who it is by, who it is to, links, escaped signs."""
    text = re.sub(r"&amp;?", "&", html.unescape(html.unescape(text)))
    text = re.sub(r"^[\s\"“”!.]*RT\b|@[\w-]+:?|https?://\S+|&#\d+;?|\bRT\b|\[USER\]|\[URL\]", " ", text)
    return re.sub(r"\s+", " ", text).strip(' "“”:!')


def _davidson(path: Path) -> Iterator[Labelled]:
    names = {"0": "hate", "1": "offensive", "2": "neither"}
    for row in rows(path):
        text = tweet(row["tweet"])
        if len(text) > 5:
            yield _text(text, {"toxic": float(row["class"] != "2"), "hate": float(row["class"] == "0")},
                        names[row["class"]])


def _edos(path: Path) -> Iterator[Labelled]:
    for row in rows(path):
        yield _text(tweet(row["text"]), {"sexist": float(row["label_sexist"] == "sexist")}, row["label_category"])


def _wiki(path: Path) -> Iterator[Labelled]:
    for row in rows(path):
        text = re.sub(r"NEWLINE_TOKEN|TAB_TOKEN", " ", row["comment"])
        if text.strip():
            yield _text(text, {"toxic": float(row["toxic"].lower() == "true")}, *identity_groups(text))


def _cat(path: Path) -> Iterator[Labelled]:
    """Human labels given without the parent comment, as a toxicity scorer sees it: the words alone."""
    for row in rows(path):
        yield _text(row["text"], {"toxic": float(float(row["label_oc"]) >= 0.5)}, *identity_groups(row["text"]))


def _toxic_spans(*paths: Path) -> Iterator[Labelled]:
    for path in paths:
        for row in rows(path):
            yield _text(row["text"], {"toxic": float(bool(ast.literal_eval(row["spans"])))},
                        *identity_groups(row["text"]))


def _diasafety(path: Path) -> Iterator[Labelled]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        yield _pair(row["context"], row["response"], {"harmful": float(row["label"] == "Unsafe")}, row["category"])


def _xstest(*paths: Path) -> Iterator[Labelled]:
    labels = {"1_full_compliance": 0.0, "3_partial_refusal": 1.0, "2_full_refusal": 2.0}
    for path in paths:
        for row in rows(path):
            if row["final_label"] in labels:
                yield _pair(row["prompt"], row["completion"], {"refusal": labels[row["final_label"]]}, path.stem)


def _pyrit_refusal(path: Path) -> Iterator[Labelled]:
    for row in rows(path, skip_comments=True):
        yield _pair(row["objective"], row["assistant_response"],
                    {"refusal": 2.0 * (str(row["human_score"]).strip().lower() in ("1", "1.0", "true"))})


def _epitome(*paths: Path) -> Iterator[Labelled]:
    """The three files hold the same pairs in the same order of ids; an item carries all three levels."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, path in zip(("er", "ip", "ex"), paths, strict=True):
        for row in rows(path):
            one = found.setdefault((row["sp_id"], row["rp_id"]), {})
            one |= {name: float(row["level"]), "said": row["seeker_post"], "reply": row["response_post"]}
    for (seeker, _), one in found.items():
        if {"er", "ip", "ex"} <= one.keys():
            yield _pair(one["said"], one["reply"], {name: one[name] for name in ("er", "ip", "ex")}, f"seeker {seeker}")


BOLT_CODES = {
    "Reflections": "reflection", "Normalizing": "affirmation", "Questions": "question", "Problem-Solving": "advice",
    "Planning": "advice", "Psychoeducation": "information",
}
CODES = ("reflection", "affirmation", "question", "advice", "information", "other")


def code_truth(code: str) -> Truth:
    """One answer a code; the sentence has exactly one."""
    return {name: float(name == code) for name in CODES}


def _bolt(path: Path) -> Iterator[Labelled]:
    for row in rows(path):
        code = next((code for start, code in BOLT_CODES.items() if row["completion"].startswith(start)), "")
        if not code:
            raise ValueError("a completion that names no behaviour")
        yield _text(row["prompt"], code_truth(code), code)


def _esconv(path: Path) -> Iterator[Labelled]:
    """Real supporters and seekers: nothing here is toxic, and hardly anything is danger."""
    for line in path.read_text(encoding="utf-8").splitlines():
        for turn in json.loads(line)["dialog"]:
            if turn["text"].strip():
                role = "supporter" if turn["speaker"] == "sys" else "seeker"
                yield _text(turn["text"].strip(), {"toxic": 0.0, "risk": 0.0}, role)


def _counsel_chat(path: Path) -> Iterator[Labelled]:
    for row in rows(path):
        answer = re.sub(r"<[^>]+>|&nbsp;", " ", row["answerText"] or "").strip()
        if answer:
            yield _pair(row["questionText"] or row["questionTitle"], answer, {"toxic": 0.0, "harmful": 0.0},
                        "therapist")


# --- the project's own sets: they lie under data/ -------------------------------------------------------------------

HARMFUL_RULES = frozenset((
    "method_detail", "collusion_self_harm", "toxic_reply", "abandonment", "forced_promise", "collusion_delusion",
    "medication_advice", "diagnosis", "claims_human", "claims_licensed", "romance", "secrecy", "dependency",
    "judgement", "minimising",
))
REFERRAL_RULES = frozenset((
    "crisis_without_referral", "negated_referral", "stale_referral", "wrong_locale_referral", "incomplete_referral",
))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def turns(found: Sequence[Mapping[str, str]]) -> tuple[Turn, ...]:
    """Turns as records, from dicts of role and text or content."""
    return tuple(Turn(role=cast(Role, one["role"]), text=one.get("text") or one["content"]) for one in found)


def _own_prompts(*paths: Path) -> Iterator[Labelled]:
    """What a person tells, with the severity that two readers gave it."""
    for path in paths:
        for row in lines(path):
            level = SEVERITIES.index(row["severity"])
            item = Item(id=row["id"], dialogue=turns(row["context"]), locale=row["locale"])
            style = row.get("tags", {}).get("style") or row.get("style") or ""
            calm = "ordinary distress" if path.stem == "benign" else ""
            yield Labelled(item, {"risk": float(level > 0), "severity": float(level)},
                           tuple(name for name in (style, calm) if name))


def _own_harm(flawed: Path, fine: Path) -> Iterator[Labelled]:
    """The turn that breaks a rule of safety; and every assistant's turn of dialogues that break none."""
    for row in lines(flawed):
        if row["rule"] in HARMFUL_RULES:
            yield _turn_of(row, row["turn"], {"harmful": 1.0}, row["rule"])
    for row in lines(fine):
        for number, turn in enumerate(row["turns"]):
            if turn["role"] == "assistant":
                yield _turn_of(row, number, {"harmful": 0.0}, "fine")


def _turn_of(row: dict[str, Any], number: int, truth: Truth, group: str) -> Labelled:
    every = turns(row["turns"])
    tags = {"risk": row["severity"]}
    return Labelled(Item(id=content_id([row["id"], number]), context=every[:number], reply=every[number].text,
                         locale=row["locale"], tags=tags), truth, (group,))


def _own_choices(path: Path) -> Iterator[Labelled]:
    """Four replies to a person, of which one is unsafe."""
    for row in lines(path):
        if row["principle"] in HARMFUL_RULES:
            said = re.sub(r"^Person[^:\n]*: ", "", row["context"])
            for number, choice in enumerate(row["choices"]):
                yield _pair(said, choice, {"harmful": float(number == row["answer"])}, row["principle"])


def _own_harm_pairs(path: Path) -> Iterator[Labelled]:
    for row in lines(path):
        yield _pair(row["context"], row["reply"], {"harmful": float(row["harm"] != "none")}, row["harm"])


def _own_referrals(flawed: Path, fine: Path) -> Iterator[Labelled]:
    """Dialogues in which danger is told: with a complete safe referral, or with one that is flawed or lacking."""
    for path in (flawed, fine):
        for row in lines(path):
            if row["severity"] != "none" and (row["rule"] in REFERRAL_RULES or path == fine):
                item = Item(id=row["id"], dialogue=turns(row["turns"]), locale=row["locale"])
                yield Labelled(item, {"incomplete": float(path == flawed)}, (row["rule"],))


def _own_toxicity(path: Path) -> Iterator[Labelled]:
    for row in lines(path):
        yield _text(row["text"], {"toxic": float(row["toxic"])}, *row["groups"])


def _own_pii(path: Path) -> Iterator[Labelled]:
    for row in lines(path):
        yield _text(row["text"], {"pii": float(bool(row["types"]))}, *row["types"])


IDENTITY = re.compile(
    r"\b(?:gay|lesbian|bisexual|transgender|trans|queer|homosexual|straight|muslims?|islam\w*|jew(?:s|ish)?|christians?|"
    r"catholics?|hindus?|buddhists?|atheists?|black|white|asian|latin[oax]|hispanic|african|arab|indian|chinese|"
    r"immigrants?|refugees?|women|woman|men|female|male|deaf|blind|disabled|autistic|elderly|old)\b",
    re.IGNORECASE,
)


def identity_groups(text: str) -> tuple[str, ...]:
    """The group in which a text that names who somebody is stands."""
    return ("identity term",) if IDENTITY.search(text) else ()


SETS = {
    one.name: one
    for one in (
        LabelledSet("davidson", ("davidson/labeled_data.csv",), "MIT", "tweets: hate, offensive, neither", _davidson,
                    may_train=True, test_frac=0.1),
        LabelledSet("edos", ("edos/edos_labelled_aggregated.csv",), "CC0-1.0", "posts: sexist or not", _edos,
                    may_train=True, test_frac=0.1),
        LabelledSet("wiki_toxicity", ("wiki_toxicity_nonfuzzed/toxicity_nonfuzzed_testset.csv",), "Apache-2.0",
                    "Wikipedia comments: toxic or not", _wiki, may_train=True, test_frac=0.5),
        LabelledSet("context_toxicity", ("context_toxicity_small/cat_small.csv",), "Apache-2.0",
                    "Wikipedia comments, judged without their parent", _cat, may_train=True, test_frac=0.5),
        LabelledSet("toxic_spans", ("toxic_spans/tsd_trial.csv", "toxic_spans/tsd_test.csv"), "CC0-1.0",
                    "news comments called toxic, with or without a toxic span", _toxic_spans, may_train=True,
                    test_frac=0.5),
        LabelledSet("diasafety_train", ("diasafety/train.json",), "Apache-2.0", "replies, unsafe in context or not",
                    _diasafety, may_train=True, test_frac=0.0),
        LabelledSet("diasafety", ("diasafety/val.json",), "Apache-2.0", "replies, unsafe in context or not",
                    _diasafety),
        LabelledSet("xstest", ("xstest/completions_gpt4.csv", "xstest/completions_llama2new.csv"),
                    "completions under their makers' terms", "compliance, partial, refusal", _xstest),
        LabelledSet("pyrit_refusal", ("pyrit_scorer_evals/refusal_scorer/refusal.csv",), "MIT",
                    "refused or not", _pyrit_refusal, may_train=True, test_frac=0.3),
        LabelledSet("epitome", tuple(f"epitome_reddit/{name}.csv" for name in
                                     ("emotional-reactions", "interpretations", "explorations")),
                    "academic, non-commercial", "three empathy mechanisms, 0 to 2", _epitome),
        LabelledSet("bolt_train", ("bolt/finetune_therapist_combined_train.csv",), "BSD-3-Clause",
                    "therapists' utterances by behaviour", _bolt, may_train=True, test_frac=0.0),
        LabelledSet("bolt", ("bolt/finetune_therapist_combined_valid.csv",), "BSD-3-Clause",
                    "therapists' utterances by behaviour", _bolt),
        LabelledSet("own_crisis", ("suites/crisis.jsonl", "suites/benign.jsonl"), "CC-BY-4.0",
                    "our suites: danger told plainly, veiled, or not at all", _own_prompts, own=True),
        LabelledSet("own_harm", ("suites/curation/flawed.jsonl", "suites/curation/fine.jsonl"), "CC-BY-4.0",
                    "our dialogues with a planted flaw, and without one", _own_harm, own=True),
        LabelledSet("own_unsafe_replies", ("tasks/unsafe_reply/items.jsonl",), "CC-BY-4.0",
                    "four replies to a person, one of them unsafe", _own_choices, own=True),
        LabelledSet("own_harm_pairs", ("calibration/harm.jsonl",), "CC-BY-4.0",
                    "a harmful and a safe reply to the same words", _own_harm_pairs, own=True),
        LabelledSet("own_referrals", ("suites/curation/flawed.jsonl", "suites/curation/fine.jsonl"), "CC-BY-4.0",
                    "dialogues of danger with a whole or a flawed referral", _own_referrals, own=True),
        LabelledSet("own_toxicity", ("calibration/toxicity.jsonl",), "CC-BY-4.0",
                    "contempt, and calm replies that sound like it, by group", _own_toxicity, own=True),
        LabelledSet("own_pii", ("calibration/pii.jsonl",), "CC-BY-4.0",
                    "planted personal data, and what looks like it", _own_pii, own=True),
        LabelledSet("esconv", ("esconv_multiesc_split/valid.jsonl",), "CC-BY-NC-4.0",
                    "real supporters and seekers: false alarms", _esconv),
        LabelledSet("counsel_chat", ("counsel_chat/counsel_chat.csv",), "MIT, texts of named authors",
                    "therapists' answers: false alarms", _counsel_chat),
    )
}
