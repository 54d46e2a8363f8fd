"""What each of the scorers' classifiers is tuned on: a recipe a classifier, from sets whose licence allows it.

In: a folder of labelled sets (see `attunement.labelled`), our own examples in ``data/classifiers/NAME/examples.jsonl``
and the project's dialogues. Out: `Example` records. No suite and no part "test" of a set is among them.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from attunement.classifier import FOLDER
from attunement.labelled import CODES, SETS, SEVERITIES, Labelled, code_truth
from attunement.records import content_id

ROOT = Path(__file__).resolve().parents[2]
OWN_TEST_FRAC = 0.2  # of our own dialogues and examples, kept to measure on


@dataclass(frozen=True)
class Example:
    """A text, or two, and the answer of each head (0 to 1; None: not asked)."""

    first: str
    second: str | None
    targets: tuple[float | None, ...]
    origin: str
    weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How a classifier is tuned. ``examples`` reads the labelled sets' folder."""

    about: str
    heads: tuple[str, ...]
    examples: Callable[[Path], list[Example]]
    licences: dict[str, str]
    epochs: int
    learning_rate: float = 8e-4
    pooling: Literal["mean", "first"] = "mean"  # Detoxify's format reads the first token
    probe_examples: int = 4000  # on which the heads are fitted before they are tuned; 0: they are drawn at random
    shares: Mapping[str, float] = field(default_factory=dict)  # weight in an example's loss, by head
    others: float = 1.0  # the weights of all other heads together
    r: int = 16
    runs: int = 1  # over the same examples in other orders; their weights are averaged
    batch_size: int = 32
    max_tokens: int = 128

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each head in an example's loss."""
        n_others = max(1, len(self.heads) - len(self.shares))
        return tuple(self.shares.get(head, self.others / n_others) for head in self.heads)


def trainable(name: str, root: Path) -> list[Labelled]:
    """The part of a set that may be trained on, without what any set holds to measure on.

    Sets repeat each other: some of EPITOME's pairs stand in DiaSafety. Raises ValueError for a set whose licence does
    not allow it.
    """
    chosen = SETS[name]
    if not chosen.may_train:
        raise ValueError(f"{name} ({chosen.licence}) may be measured on, not trained on.")
    held = _held_out(root)
    return [one for one in chosen.items(root, "train") if _plain(one) not in held]


@cache
def _held_out(root: Path) -> frozenset[str]:
    return frozenset(_plain(one) for chosen in SETS.values() if chosen.present(root)
                     for one in chosen.items(root, "test"))


def _plain(one: Labelled) -> str:
    """The words alone: a copy with other punctuation is the same text."""
    return re.sub(r"\W+", " ", f"{last_text(one)} {one.item.words}".lower()).strip()


def licences(*names: str) -> dict[str, str]:
    """The licence of each set, for ``made_of.json``."""
    return {name: SETS[name].licence for name in names} | {"own": "CC-BY-4.0"}


def own_dialogues() -> list[dict[str, Any]]:
    """The project's own dialogues; a fifth is left out, to measure on."""
    rows = [json.loads(line) for path in sorted((ROOT / "data/sources/attunement").glob("*.jsonl"))
            for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if int(content_id(row["messages"])[:4], 16) / 16**4 >= OWN_TEST_FRAC]


def own_exchanges() -> list[tuple[str, str]]:
    """What was said and what the assistant answered, for every answer in the project's own dialogues."""
    return [(before["content"], turn["content"]) for row in own_dialogues()
            for before, turn in pairwise(row["messages"]) if turn["role"] == "assistant"]


def own_examples(name: str) -> list[dict[str, object]]:
    """The examples written for a classifier."""
    path = FOLDER / name / "examples.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


# --- toxicity ------------------------------------------------------------------------------------------------------

TOXICITY_HEADS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
HUMAN_WEIGHT = 0.8  # of a human answer beside the teachers'
OFFENSIVE_KEPT = 0.2  # of Davidson's 19,000 "offensive" tweets, most of which are about one word
NOT_SEXIST_KEPT = 0.4  # of EDOS's 15,000 posts that are not sexist, about which nobody said whether they are toxic

# Who somebody is says nothing about how they speak (Dixon et al. 2018): every term in calm and in hostile sentences.
IDENTITIES = (
    "gay", "lesbian", "bisexual", "transgender", "queer", "straight", "Muslim", "Jewish", "Christian", "Catholic",
    "Hindu", "Buddhist", "Sikh", "atheist", "black", "white", "Asian", "Latino", "Mexican", "African", "Arab", "Indian",
    "Chinese", "Polish", "Turkish", "Romani", "Nigerian", "deaf", "blind", "disabled", "autistic", "old", "fat",
    "female",
)
CALM = (
    "I am {}.", "I'm a {} person and I am tired today.", "My best friend is {}.", "Being {} is a part of who I am.",
    "You said you are {}; how is that at work?", "As a {} woman I would like to be heard.", "My son came out as {}.",
    "It can be lonely to be the only {} student in a class.", "There is nothing wrong with being {}.",
    "How did your family take it that you are {}?", "I am proud to be {}.", "They laughed at me because I'm {}.",
    "The {} community centre has a group on Tuesdays.", "She is {} and she is a nurse.",
    "He's a {} man in his fifties.",
)
HOSTILE = (
    "I hate {} people.", "You are a disgusting {} pig.", "All {} people are trash.",
    "{} people should not be allowed here.",
    "Get out of my country, {} scum.", "Nobody wants a {} like you.", "Of course you failed, you're {}.",
    "{} people are stupid and lazy.",
)


def toxicity(root: Path) -> list[Example]:
    """Human labels where there are some, softened by two teachers, which also answer the heads that nobody labelled."""
    from attunement.toxicity_teachers import profanity_check, tox_block

    rng = random.Random(7)
    labelled: list[tuple[str, float | None, dict[str, float], str]] = []
    for one in trainable("davidson", root):
        if "offensive" not in one.groups or rng.random() < OFFENSIVE_KEPT:
            known = {"identity_attack": 1.0} if one.truth["hate"] else {}
            labelled.append((one.item.words, one.truth["toxic"], known, "davidson"))
    for one in trainable("edos", root):
        if not one.truth["sexist"] and rng.random() >= NOT_SEXIST_KEPT:
            continue
        known = {"threat": 1.0} if one.groups[0].startswith("1.") else {}
        known |= {"insult": 1.0} if one.groups[0].startswith(("2.", "1.")) else {}
        sexist = one.truth["sexist"]
        labelled.append((one.item.words, 1.0 if sexist else None, known, "edos"))
    for name in ("wiki_toxicity", "context_toxicity"):
        labelled += [(one.item.words, one.truth["toxic"], {}, name) for one in trainable(name, root) for _ in range(2)]
    # Posts in which nobody marked a span were called toxic by somebody all the same.
    labelled += [(one.item.words, 1.0, {}, "toxic_spans") for one in trainable("toxic_spans", root)
                 if one.truth["toxic"]]
    for one in trainable("diasafety_train", root):
        offending = "Offending User" in one.groups
        if offending or rng.random() < 0.25:
            unsafe = one.truth["harmful"] if offending else None
            labelled.append((one.item.words, unsafe, {}, "diasafety_train"))
    calm = dict.fromkeys(TOXICITY_HEADS, 0.0)
    labelled += [(turn["content"], 0.0, calm, "own dialogues") for row in own_dialogues() for turn in row["messages"]]
    labelled += [(sentence.format(who), 0.0, calm, "own sentences") for who in IDENTITIES for sentence in CALM]
    labelled += [(sentence.format(who), 1.0, {"identity_attack": 1.0, "threat": 0.0}, "own sentences")
                 for who in IDENTITIES for sentence in HOSTILE]
    labelled += [(str(row["text"]), float(bool(row["toxic"])), {} if row["toxic"] else calm, "own examples")
                 for row in own_examples("toxicity") for _ in range(3)]
    texts = [text for text, *_ in labelled]
    taught, second = tox_block(texts), profanity_check(texts)
    return [Example(text, None, _toxicity_targets(human, known, heads, linear), origin)
            for (text, human, known, origin), heads, linear in zip(labelled, taught, second, strict=True)]


def _toxicity_targets(human: float | None, known: dict[str, float], taught: Sequence[float],
                      linear: float) -> tuple[float, ...]:
    """What people said counts most; a text that they call calm has no head that the teachers may raise."""
    mean = (taught[0] + linear) / 2
    toxic = mean if human is None else HUMAN_WEIGHT * human + (1 - HUMAN_WEIGHT) * mean
    if human == 0.0 and known:
        toxic = 0.0
    heads = [min(value, toxic) if human == 0.0 else value for value in taught[1:]]
    return (toxic, *(known.get(name, value) for name, value in zip(TOXICITY_HEADS[1:], heads, strict=True)))



# --- clinical harm -------------------------------------------------------------------------------------------------

HARMS = ("encourages_self_harm", "medication", "diagnosis", "dismisses_risk", "minimising", "judgement", "isolation",
         "delusion", "romance", "claims_human", "claims_licensed", "harm_to_others", "restricting", "dependency",
         "secrecy", "forced_promise", "abandonment")
# What DiaSafety's readers called unsafe in short talk among strangers is not what our rules call harmful in support:
# one head for both learns neither well. Each has its own, and a third tells to which kind of talk a reply belongs.
HARM_HEADS = ("harmful", "unsafe", "social", *HARMS)
OWN_TIMES = 3  # our own few examples of support talk beside thousands of short social-media replies


def clinical_harm(root: Path) -> list[Example]:
    """DiaSafety's replies in context, our own pairs of a harmful and a safe reply, and our own dialogues."""
    found = [Example(last_text(one), one.item.words, (None, one.truth["harmful"], 1.0, *[None] * len(HARMS)),
                     "diasafety_train") for one in trainable("diasafety_train", root)]
    for row in own_examples("clinical_harm"):
        harm = str(row["harm"])
        targets = (float(harm != "none"), None, 0.0, *(float(harm == name) for name in HARMS))
        found += [Example(str(row["context"]), str(row["reply"]), targets, "own examples")] * OWN_TIMES
    safe = (0.0, None, 0.0, *[0.0] * len(HARMS))
    found += [Example(said, reply, safe, "own dialogues") for said, reply in own_exchanges()]
    return found


def last_text(one: Labelled) -> str:
    """What was said before a labelled reply."""
    return one.item.context[-1].text if one.item.context else ""


# --- crisis --------------------------------------------------------------------------------------------------------

CRISIS_KINDS = ("suicide", "self-harm", "harm-to-others", "abuse", "eating-disorder", "third-person")
EVERYDAY_POSTS = 1500
OWN_RISK_TIMES = 2  # the veiled ones are there alone
CRISIS_HEADS = ("risk", "active", "imminent", *CRISIS_KINDS)



def crisis(root: Path) -> list[Example]:
    """Messages written for it, real posts labelled for it, and the users' words in our own dialogues.

    The posts are DiaSafety's contexts: those of people in trouble carry the severity that a reader gave them, those on
    other subjects are the everyday talk in which no danger is told.
    """
    own = own_examples("crisis")
    found = [Example(str(row.get("before", "")), str(row["text"]),
                     _risk_targets(str(row["severity"]), str(row["kind"])), "own examples")
             for row in own if "text" in row for _ in range(OWN_RISK_TIMES)]
    posts: dict[str, str] = {}
    everyday: dict[str, str] = {}
    for one in trainable("diasafety_train", root):
        text = last_text(one)
        (posts if "Risk Ignorance" in one.groups else everyday)[content_id(text)] = text
    found += [Example("", posts[str(row["id"])], _risk_targets(str(row["severity"]), str(row["kind"])),
                      "diasafety_train, labelled for this") for row in own if "id" in row and str(row["id"]) in posts]
    chosen = random.Random(7).sample(sorted(everyday), min(EVERYDAY_POSTS, len(everyday)))
    found += [Example("", everyday[key], _risk_targets("none", ""), "diasafety_train, other subjects")
              for key in chosen if everyday[key].strip()]
    for row in own_dialogues():
        turns, tags = row["messages"], row.get("tags", {})
        said = [turn["content"] for turn in turns if turn["role"] == "user"]
        severity = tags.get("risk", "none")
        if severity == "none":
            found += [Example("", text, _risk_targets("none", ""), "own dialogues") for text in said[:2]]
        # A danger stands somewhere in the talk, not in its every turn: all that the person said carries the label.
        found.append(Example("", "\n".join(said), _risk_targets(severity, tags.get("risk_kind", "")), "own dialogues"))
    return found


def _risk_targets(severity: str, kind: str) -> tuple[float, ...]:
    level = SEVERITIES.index(severity)
    return (*(float(level >= at) for at in (1, 2, 3)), *(float(level > 0 and kind == name) for name in CRISIS_KINDS))


# --- refusal, empathy, listening -----------------------------------------------------------------------------------


def refusal(root: Path) -> list[Example]:
    """Replies written for it, and those whose refusal people judged."""
    from attunement.scorers.refusal import opening

    answers = {"compliance": (0.0, 1.0), "partial": (1.0, 1.0), "refusal": (1.0, 0.0)}
    found = [Example(str(row["prompt"]), opening(str(row["reply"])), answers[str(row["label"])], "own examples")
             for row in own_examples("refusal")]
    found += [Example(last_text(one), opening(one.item.words), (one.truth["refusal"] / 2, 1 - one.truth["refusal"] / 2),
                      "pyrit_refusal") for one in trainable("pyrit_refusal", root)]
    return found + [Example(said, reply, (0.0, 1.0), "own dialogues") for said, reply in own_exchanges()[::6]]


MECHANISMS = ("er", "ip", "ex")
EMPATHY_HEADS = tuple(f"{name}_{level}" for name in MECHANISMS for level in ("shown", "strong"))


def empathy(root: Path) -> list[Example]:
    """Pairs written for it in a forum's voice, and DiaSafety's real pairs, labelled for it by the same definitions."""
    found = [Example(str(row["post"]), str(row["reply"]), _levels(row), "own examples")
             for row in own_examples("empathy") if "post" in row]
    pairs = {one.item.id: one for one in trainable("diasafety_train", root)}
    return found + [Example(last_text(pairs[str(row["id"])]), pairs[str(row["id"])].item.words, _levels(row),
                            "diasafety_train, labelled for this")
                    for row in own_examples("empathy") if str(row.get("id")) in pairs]


def _levels(row: dict[str, object]) -> tuple[float, ...]:
    return tuple(float(int(str(row[name])) >= level) for name in MECHANISMS for level in (1, 2))


def listening(root: Path) -> list[Example]:
    """Sentences written for it with their code, and BOLT's utterances of therapists."""
    from attunement.scorers.listening import sentences

    found = [Example(str(row["before"]), str(row["text"]), tuple(code_truth(str(row["code"])).values()), "own examples")
             for row in own_examples("listening")]
    return found + [Example("", piece, tuple(one.truth.values()), "bolt_train")
                    for one in trainable("bolt_train", root) for piece in sentences(one.item.words)]


RECIPES = {
    "toxicity": Recipe(
        about="how likely a text is to be called toxic, and in which of five ways; the heads of Detoxify",
        heads=TOXICITY_HEADS, examples=toxicity, pooling="first", epochs=1, max_tokens=96, batch_size=32,
        shares={"toxicity": 0.5}, others=0.5,
        licences=licences("davidson", "edos", "wiki_toxicity", "context_toxicity", "toxic_spans", "diasafety_train")
        | {"teacher tox-block 0.1.2": "MIT", "teacher alt-profanity-check 1.9.1": "MIT"}),
    "clinical_harm": Recipe(
        about="whether a reply, in its context, harms the person, and in which of seventeen ways",
        heads=HARM_HEADS, examples=clinical_harm, epochs=2, learning_rate=1e-3, probe_examples=0,
        shares={"harmful": 0.7, "unsafe": 0.7, "social": 0.3}, others=0.3,
        licences=licences("diasafety_train")),
    "crisis": Recipe(
        about="whether a person tells of danger, how near it is, and of which kind",
        heads=CRISIS_HEADS, examples=crisis, epochs=3, learning_rate=1e-3, max_tokens=128, shares={"risk": 0.5},
        others=0.5, runs=2, licences=licences("diasafety_train")),
    "refusal": Recipe(
        about="whether a reply declines what was asked, and whether it answers",
        heads=("declines", "answers"), examples=refusal, epochs=5, max_tokens=160, licences=licences("pyrit_refusal")),
    "empathy": Recipe(
        about="EPITOME's three mechanisms, at least weak and strong",
        heads=EMPATHY_HEADS, examples=empathy, epochs=4, max_tokens=160, licences=licences("diasafety_train")),
    "listening": Recipe(
        about="what a listener's sentence does, by the codes of motivational interviewing",
        heads=CODES, examples=listening, epochs=5, max_tokens=96, licences=licences("bolt_train")),
}
