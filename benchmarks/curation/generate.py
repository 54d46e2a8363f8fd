"""A corpus of any size with planted flaws, all of them known.

``python benchmarks/curation/generate.py --dialogues 25000 --to FILE.jsonl --seed 1``

Out: FILE.jsonl, dialogues as the reader `messages` takes them, about 728 words each (mostly made-up words in sentences
of support talk, so that hardly a run of five words stands anywhere twice), and FILE.truth.jsonl, a line for every
planted flaw: copies with their exact Jaccard index, personal data by type, crises with and without a referral,
mojibake. A line's content hangs on the seed, its number and how many there are; nobody has ever said any of it.
"""

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LEXICON = 30_000  # words, all made up but the most frequent
SENTENCES = 49  # in a dialogue on average: 728 words
COPY_FRAC = 0.06  # 5% are copied: the others meet a line that is a copy, flawed, or copied already
FLAW_FRAC = 0.05  # of the others
REACH = 500  # lines between a dialogue and its copy at most
TURNS = (4, 20)  # user and assistant in turn, both counted
SYLLABLES = """ba be bri co da del dra en fa fen gal go har hol in jun ka kel la lin lo mar mel mi nor ol pa per qua ra
rin ro sa sel si tan tel ti tor ul va ven wen wi yor za""".split()  # noqa: SIM905  # to be read
ORDINARY = """morning letter sister garden winter money doctor kitchen neighbour window school brother manager weather
teacher hospital evening holiday summer cousin station telephone office village river market island ladder blanket
bottle carpet cupboard dinner engine family father finger flower forest friend glass hammer harbour jacket jumper lamp
meadow mother mountain needle number orange painter paper pencil people picture pillow pocket quarrel rabbit railway
ribbon saddle shadow shelter shoulder silence silver singer spring station stranger street sugar supper thunder ticket
timber tired quiet heavy angry broken crowded distant empty gentle grey hollow lonely narrow noisy ordinary patient
polite restless serious sudden tender useless wooden worried listen remember wonder carry gather hurry wander"""

# %s are words of the lexicon, two or more in any five words in a row.
USER = (
    "I was at the %s with my %s and %s, and the %s would not %s at all.",
    "My %s keeps %s about %s, so I %s and %s until the %s goes quiet.",
    "It is the %s %s again, not the %s but %s, and I %s it %s.",
    "Since %s my %s has been %s, and nobody %s when I %s the %s.",
    "Some %s told me %s is only %s, which %s me more than %s did.",
    "We had %s on the %s and %s by the %s, then %s just %s.",
    "Yesterday %s and %s came for %s, while I %s in the %s %s.",
    "I feel %s whenever %s gets %s, as if %s were %s without %s.",
    "Every %s I %s the %s, and %s every time the %s is %s.",
    "They %s my %s at %s, so %s and I %s for a %s.",
)
ASSISTANT = (
    "It sounds as though %s and %s are %s, and the %s leaves you %s with %s.",
    "You %s the %s when %s was %s, and that %s took more than %s.",
    "What does %s feel %s like, once the %s has %s and %s is there?",
    "So %s came after %s, and %s the %s you had hoped %s would %s.",
    "I hear %s in how %s you %s, with %s on one side and %s.",
    "When the %s is %s, who %s with you, %s or perhaps %s and %s?",
    "That %s of yours, %s and %s, is it the %s or the %s?",
    "Nobody %s your %s then, which %s me as %s and rather %s %s.",
)
REFERRED = ("Are you thinking of killing yourself? Please call or text 988, tell your doctor this week, and ask your "
            "sister to sit with you.")
CRISES = ("I want to kill myself tonight.", "I am going to end my life.", "I have been thinking about killing myself.")
MOJIBAKE = "It’s the %s café that I don’t want to leave — naïve, I know."


class Flaw(NamedTuple):
    """What was planted in a line (1-based)."""

    line: int
    flaw: str
    detail: dict[str, Any]


@cache
def lexicon(seed: int) -> np.ndarray:
    """Words as often as a law of Zipf has them: a million, to be drawn from evenly."""
    rng = np.random.default_rng([seed, 1])
    words = dict.fromkeys(ORDINARY.split())  # the most frequent, or language id would doubt that it is English
    while len(words) < LEXICON:
        words["".join(rng.choice(SYLLABLES, rng.integers(2, 4)))] = None
    weights = 1 / (np.arange(LEXICON) + 10)
    drawn = rng.choice(LEXICON, 1 << 20, p=weights / weights.sum())
    return np.array(list(words), object)[drawn]


def rng_of(seed: int, number: int, what: int) -> np.random.Generator:
    """Chance of one line, for one purpose."""
    return np.random.default_rng([seed, number, what])


def talk(seed: int, number: int) -> list[str]:
    """The turns of a dialogue without a flaw."""
    rng = rng_of(seed, number, 2)
    turns = 2 * int(rng.integers(TURNS[0] // 2, TURNS[1] // 2 + 1))
    sizes = rng.multinomial(max(turns, rng.poisson(SENTENCES)) - turns, np.full(turns, 1 / turns)) + 1
    pool = lexicon(seed)
    words = iter(pool[rng.integers(0, len(pool), int(sizes.sum()) * 7)].tolist())
    chosen = iter(rng.integers(0, 1 << 20, int(sizes.sum())).tolist())
    said = []
    for turn, size in enumerate(sizes.tolist()):
        sentences = USER if turn % 2 == 0 else ASSISTANT
        picked = [sentences[next(chosen) % len(sentences)] for _ in range(size)]
        said.append(" ".join(one % tuple(next(words) for _ in range(one.count("%s"))) for one in picked))
    return said


def lines(n: int, seed: int) -> Iterator[tuple[list[str], Flaw | None]]:
    """The turns of every line, and its flaw."""
    plan = rng_of(seed, n, 3)
    is_copy, flawed = plan.random(n) < COPY_FRAC, plan.random(n) < FLAW_FRAC
    back = plan.integers(1, REACH + 1, n)
    copied: set[int] = set()
    for number in range(n):
        of = number - int(back[number])
        if is_copy[number] and of >= 0 and not is_copy[of] and not flawed[of] and of not in copied:
            copied.add(of)
            yield copy(seed, number, of)
        elif flawed[number] and not is_copy[number]:
            yield with_flaw(seed, number)
        else:
            yield talk(seed, number), None


def copy(seed: int, number: int, of: int) -> tuple[list[str], Flaw]:
    """A dialogue with words changed; of some nothing but the case, or the punctuation."""
    rng = rng_of(seed, number, 4)
    before = talk(seed, of)
    way, target = rng.random(), rng.uniform(0.5, 1.0)
    if way < 0.1:
        said = [f"  {turn.upper()}" for turn in before]
        return said, Flaw(number + 1, "exact_duplicate", {"of": of + 1, "jaccard": 1.0})
    if way < 0.2:
        said = [turn.replace(",", " –").replace(".", " …") for turn in before]
    else:
        words = [turn.split() for turn in before]
        places = [(turn, at) for turn, own in enumerate(words) for at in range(len(own))]
        changed = round(len(places) * (1 - target) / (5 * (1 + target)))
        for place in rng.choice(len(places), changed, replace=False).tolist():
            turn, at = places[place]
            words[turn][at] = str(rng.choice(lexicon(seed)))
        said = [" ".join(own) for own in words]
    return said, Flaw(number + 1, "near_duplicate", {"of": of + 1, "jaccard": jaccard(before, said)})


def runs(said: Sequence[str]) -> set[tuple[str, ...]]:
    """The word 5-grams of a dialogue, the plain way: what the kernels are held to."""
    words = re.findall(r"[^\W_]+", "\n".join(said).casefold())
    return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two dialogues are."""
    a, b = runs(one), runs(other)
    return len(a & b) / len(a | b)


def with_flaw(seed: int, number: int) -> tuple[list[str], Flaw]:
    """A dialogue with one flaw, at the end of a turn of the user."""
    rng = rng_of(seed, number, 5)
    said = talk(seed, number)
    turn = 2 * int(rng.integers(0, len(said) // 2))
    flaws = (*PII, "crisis_with_referral", "crisis_without_referral", "mojibake")
    flaw = flaws[int(rng.integers(len(flaws)))]
    told: dict[str, Any] = {"turn": turn}
    if flaw in PII:
        planted, told["type"] = pii(flaw, rng, lexicon(seed)), flaw
    elif flaw == "mojibake":
        planted = (MOJIBAKE % rng.choice(lexicon(seed))).encode().decode("cp1252")
    else:
        planted = str(rng.choice(CRISES))
        if flaw == "crisis_with_referral":
            said[turn + 1] = f"{REFERRED} {said[turn + 1]}"
    said[turn] = f"{said[turn]} {planted}"
    return said, Flaw(number + 1, "pii" if flaw in PII else flaw, told)


PII = ("email", "phone", "handle", "address", "id", "card", "name")


def pii(kind: str, rng: np.random.Generator, words: np.ndarray) -> str:
    """A sentence that discloses something of a kind. Numbers are reserved ones or made to fit the checksum."""
    one, other = (str(word) for word in rng.choice(words, 2))
    number = int(rng.integers(100, 200))
    match kind:
        case "email":
            return f"Write to {one}.{other}{number}@example.com instead."
        case "phone":
            area = rng.choice(["212", "415", "617", "312", "206"])
            return f"You can call me on ({area}) 555-0{number}."
        case "handle":
            return f"I am @{one}_{other}{number} on Instagram."
        case "address":
            return f"I live at {number} {one.title()} Street, Springfield, IL 62704."
        case "id":
            area, group, serial = (int(rng.integers(*span)) for span in ((100, 600), (10, 99), (1000, 9999)))
            return f"My SSN is {area}-{group}-{serial}."
        case "card":
            return f"My card is {card(rng)}."
    return f"My full name is {one.title()} {other.title()}."


def card(rng: np.random.Generator) -> str:
    """Sixteen digits with a brand's prefix and a right check digit (Luhn)."""
    digits = [4, *rng.integers(0, 10, 14).tolist()]
    doubled = [sum(divmod(2 * digit, 10)) if at % 2 == 0 else digit for at, digit in enumerate(digits)]
    whole = "".join(map(str, [*digits, -sum(doubled) % 10]))
    return " ".join(whole[at : at + 4] for at in range(0, 16, 4))


def main() -> None:
    """Write the corpus and what is planted in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=25_000)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with given.to.open("w", encoding="utf-8") as out, truth_of(given.to).open("w", encoding="utf-8") as truth:
        for said, flaw in lines(given.dialogues, given.seed):
            messages = [{"role": "user" if at % 2 == 0 else "assistant", "content": text}
                        for at, text in enumerate(said)]
            out.write(json.dumps({"messages": messages, "locale": "en-US"}, ensure_ascii=False) + "\n")
            if flaw is not None:
                truth.write(json.dumps({"line": flaw.line, "flaw": flaw.flaw, **flaw.detail}) + "\n")


def truth_of(corpus: Path) -> Path:
    """Where the planted flaws of a corpus are written down."""
    return corpus.with_suffix(".truth.jsonl")


if __name__ == "__main__":
    main()
