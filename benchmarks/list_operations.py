"""Nested operations on digits, after the task ListOps of the Long Range Arena: [MAX 2 9 [MIN 4 7 ] 0 ] is 9.

The grammar is that of its description (Nangia, Bowman, *ListOps: a diagnostic dataset for latent tree learning*, 2018;
Tay et al., *Long Range Arena*, 2021): the root is an operator, every other node one with probability 0.25, else a
digit; operators have 2 to 10 arguments, and nodes at depth 10 are digits, the root being at depth 1. Lists are drawn
until their length is in range, so long ones come as often as the grammar makes them, and of short ones most have one
operator alone.
"""

import random
from dataclasses import dataclass

import numpy as np

OPERATORS = ("MIN", "MAX", "MED", "SM")
CLOSE = 10 + len(OPERATORS)
PAD = CLOSE + 1
TOKENS = PAD + 1
"""Digits are their own tokens, 0 to 9; then come the operators with their brackets, the closing one, and padding."""

COMMONEST, DIGIT, OPERATOR, BOTH = "commonest value", "first digit", "first operator", "first operator and digit"
"""Guesses by how much of a list they see."""

P_OPERATOR, MAX_ARGUMENTS, MAX_DEPTH = 0.25, 10, 10


@dataclass(frozen=True)
class Lists:
    """Lists (count, longest) padded with PAD, their lengths (count,) and their values (count,), 0 to 9."""

    tokens: np.ndarray
    lengths: np.ndarray
    values: np.ndarray


def draw(count: int, shortest: int, longest: int, seed: int) -> Lists:
    """So many lists of at least `shortest` and at most `longest` tokens; equal seeds give equal lists."""
    rng = random.Random(seed)
    tokens = np.full((count, longest), PAD)
    lengths, values = np.zeros(count, dtype=int), np.zeros(count, dtype=int)
    done = 0
    while done < count:
        found: list[int] = []
        value = _node(rng, 1, found, longest)
        if value is not None and len(found) >= shortest:
            tokens[done, : len(found)] = found
            lengths[done], values[done] = len(found), value
            done += 1
    return Lists(tokens, lengths, values)


def guesses(lists: Lists, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """The share of test lists that every guess is right about; train and test are indices of lists.

    A guess sees a key of the list, and says the commonest value of the training lists with that key: 0 where there are
    none. `COMMONEST` has one key for all lists.
    """
    operators = lists.tokens[:, 0] - 10
    digits = np.array([tokens[tokens < 10][0] for tokens in lists.tokens])
    keys = {COMMONEST: np.zeros_like(digits), DIGIT: digits, OPERATOR: operators, BOTH: 10 * operators + digits}
    right = {}
    for name, key in keys.items():
        counts = np.zeros((key.max() + 1, 10))
        np.add.at(counts, (key[train], lists.values[train]), 1)
        right[name] = float((counts.argmax(1)[key[test]] == lists.values[test]).mean())
    return right


def text(tokens: np.ndarray) -> str:
    """As one reads it."""
    names = [*map(str, range(10)), *(f"[{name}" for name in OPERATORS), "]"]
    return " ".join(names[token] for token in tokens if token != PAD)


def apply(operator: int, arguments: list[int]) -> int:
    """MIN, MAX, the median rounded down, or the sum modulo 10."""
    ordered = sorted(arguments)
    half = len(ordered) // 2
    name = OPERATORS[operator]
    if name == "MIN":
        return ordered[0]
    if name == "MAX":
        return ordered[-1]
    if name == "MED":
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2
    return sum(ordered) % 10


def _node(rng: random.Random, depth: int, found: list[int], longest: int) -> int | None:
    """Append a random node to `found` and return its value; None once it is too long."""
    if depth > 1 and (depth >= MAX_DEPTH or rng.random() >= P_OPERATOR):
        digit = _below(10, rng)
        found.append(digit)
        return digit if len(found) <= longest else None
    operator = _below(len(OPERATORS), rng)
    found.append(10 + operator)
    arguments = []
    for _ in range(2 + _below(MAX_ARGUMENTS - 1, rng)):
        value = _node(rng, depth + 1, found, longest)
        if value is None:
            return None
        arguments.append(value)
    found.append(CLOSE)
    return apply(operator, arguments) if len(found) <= longest else None


def _below(count: int, rng: random.Random) -> int:
    """One of 0, 1, ..., count - 1; `randrange` and generators of NumPy take several times as long for a number."""
    return int(count * rng.random())
