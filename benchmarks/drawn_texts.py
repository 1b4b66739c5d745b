"""Texts of made-up words, read byte by byte, after the texts of the Long Range Arena: is the review a good one?

A text is an odd number of sentences. A sentence has a noun, a word that praises or blames at its end, and perhaps one
without meaning; in some a negation stands anywhere before the last word, and turns its meaning round. A text is good if
more of its sentences praise than blame: all have to be read, and a word does not tell without what stands before it.
"""

from dataclasses import dataclass

import numpy as np

PRAISE = ("lumo", "sarel", "vinda", "heplo")
BLAME = ("grot", "zubek", "krasp", "dorux")
NEGATIONS = ("nok", "yim")
NOUNS = ("tavi", "bemar", "olsen", "pirot")
FILLERS = ("ta", "esi", "uro", "mip")
PAD, BYTES = 0, 128
"""The byte that fills a text up to the longest, and how many there are: letters are ASCII."""

P_NEGATION, MAX_FILLERS = 0.2, 1


@dataclass(frozen=True)
class Texts:
    """Bytes (count, longest) padded with PAD, and whether the text is good (count,)."""

    tokens: np.ndarray
    good: np.ndarray


def draw(count: int, sentences: int, seed: int) -> Texts:
    """So many texts, half of them good; equal seeds give equal texts."""
    if count % 2 or sentences % 2 == 0:
        raise ValueError(f"count is {count} and sentences are {sentences}; the first must be even, the second odd")
    rng = np.random.default_rng(seed)
    found: dict[bool, list[str]] = {True: [], False: []}
    while min(map(len, found.values())) < count // 2:
        written, meanings = zip(*(_sentence(rng) for _ in range(sentences)), strict=True)
        found[sum(meanings) > 0].append(" ".join(written))
    texts = [text for pair in zip(found[True][: count // 2], found[False][: count // 2], strict=True) for text in pair]
    tokens = np.full((count, max(map(len, texts))), PAD)
    for row, one in zip(tokens, texts, strict=True):
        row[: len(one)] = np.frombuffer(one.encode("ascii"), dtype=np.uint8)
    return Texts(tokens, np.arange(count) % 2 == 0)


def text(tokens: np.ndarray) -> str:
    """As one reads it."""
    return bytes(tokens[tokens != PAD].astype(np.uint8)).decode("ascii")


def _sentence(rng: np.random.Generator) -> tuple[str, int]:
    """Its text, and 1 if it praises, -1 if it blames."""
    good, negated = rng.random() < 0.5, rng.random() < P_NEGATION
    words = [str(rng.choice(NOUNS)), *map(str, rng.choice(FILLERS, int(rng.integers(MAX_FILLERS + 1))))]
    if negated:
        words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(NEGATIONS)))
    words.append(str(rng.choice(PRAISE if good else BLAME)))
    return f"{' '.join(words)}.", 1 if good != negated else -1


def counted(tokens: np.ndarray) -> np.ndarray:
    """Whether more words praise than blame (count,), whatever negations say."""
    texts = [text(row).replace(".", "").split() for row in tokens]
    return np.array([sum((word in PRAISE) - (word in BLAME) for word in words) > 0 for words in texts])
