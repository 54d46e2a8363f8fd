"""What can be counted in a corpus: repetition, variety, overlap, balance. Values in, values out.

Words are maximal runs of letters, digits and apostrophes, in lower case. An n-gram is n words in a row.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

WORD = re.compile(r"[\w'’]+")
SENTENCE = re.compile(r"(?<=[.!?…])[\"'”)]*\s+|\n+")


def words(text: str) -> list[str]:
    """The words of a text."""
    return [word.replace("’", "'") for word in WORD.findall(text.casefold())]


def ngrams(text: str, n: int) -> set[str]:
    """The n-grams of a text; the whole text when it is shorter."""
    found = words(text)
    return {" ".join(found[i : i + n]) for i in range(max(1, len(found) - n + 1))} if found else set()


def near_duplicates(texts: Sequence[str], *, threshold: float, n: int = 5) -> list[tuple[int, int, float]]:
    """Pairs (i, j, Jaccard) with i < j whose sets of n-grams have at least that Jaccard similarity; exact."""
    if len(texts) < 2:
        return []
    counts: sparse.csr_matrix = CountVectorizer(analyzer=lambda text: ngrams(text, n)).fit_transform(texts)
    sizes = np.asarray(counts.sum(axis=1)).ravel()
    shared = sparse.triu(counts @ counts.T, k=1).tocoo()
    pairs = zip(shared.row.tolist(), shared.col.tolist(), shared.data.tolist(), strict=True)
    scored = ((i, j, both / (sizes[i] + sizes[j] - both)) for i, j, both in pairs)
    return sorted((i, j, float(jaccard)) for i, j, jaccard in scored if jaccard >= threshold)


def shared_ngrams(texts: Mapping[str, str], others: Mapping[str, str], *, n: int) -> list[tuple[str, str, str]]:
    """(name, other name, n-gram) for every run of n words that stands in a text of both sides."""
    where: dict[str, list[str]] = {}
    for name, text in others.items():
        if len(words(text)) >= n:
            for gram in ngrams(text, n):
                where.setdefault(gram, []).append(name)
    return sorted((name, other, gram) for name, text in texts.items() if len(words(text)) >= n
                  for gram in ngrams(text, n) for other in where.get(gram, ()))


def lines(text: str) -> list[str]:
    """The sentences of a text, as words joined by spaces; empty ones are left out."""
    return [line for part in SENTENCE.split(text) if (line := " ".join(words(part)))]


def most_frequent(values: Iterable[str]) -> tuple[int, int]:
    """(how often the most frequent value stands, how many values there are)."""
    counted = Counter(values)
    return max(counted.values(), default=0), counted.total()


def variety(texts: Sequence[str], *, n_words: int) -> tuple[float, int]:
    """(distinct-2, vocabulary) of the first ``n_words`` words, so that corpora of unequal size can be compared.

    distinct-2 is the number of different bigrams over the number of bigrams (Li et al. 2016); none crosses a text.
    Raises ValueError when there are fewer words than that.
    """
    kept: list[list[str]] = []
    left = n_words
    for text in texts:
        own = words(text)[:left]
        kept.append(own)
        left -= len(own)
        if not left:
            break
    if left:
        raise ValueError(f"expected at least {n_words} words, got {n_words - left}")
    bigrams = [pair for own in kept for pair in pairwise(own)]
    return len(set(bigrams)) / len(bigrams), len({word for own in kept for word in own})


def choices_alone(choices: Sequence[Sequence[str]], answers: Sequence[int]) -> float:
    """How often naive Bayes finds the answer from the words of the choices alone, each item left out in turn.

    A task whose answers it finds far above chance can be passed without reading the question.
    """
    right_words: Counter[str] = Counter()
    wrong_words: Counter[str] = Counter()
    bags = [[Counter(words(choice)) for choice in item] for item in choices]
    for item, answer in zip(bags, answers, strict=True):
        for i, bag in enumerate(item):
            (right_words if i == answer else wrong_words).update(bag)
    size = len(right_words | wrong_words)
    found = 0
    for item, answer in zip(bags, answers, strict=True):
        right = right_words - item[answer]
        wrong = wrong_words - sum((bag for i, bag in enumerate(item) if i != answer), Counter())
        n_right, n_wrong = right.total() + size, wrong.total() + size
        scores = [sum(n * (np.log((right[w] + 1) / n_right) - np.log((wrong[w] + 1) / n_wrong))
                      for w, n in bag.items()) for bag in item]
        found += int(np.argmax(scores)) == answer
    return found / len(answers)


def length_ranks(choices: Sequence[Sequence[str]], answers: Sequence[int]) -> Counter[int]:
    """How many answers are the shortest (0), …, the longest of their item, by characters; ties by place."""
    return Counter(sorted(range(len(item)), key=lambda i: (len(item[i]), i)).index(answer)
                   for item, answer in zip(choices, answers, strict=True))
