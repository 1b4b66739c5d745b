"""Hard assignments of tokens to experts within capacities: NumPy on the host, integers in and out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..api.exact import exact
from ..frameworks.host_functions import host_function
from ..problems.penalties import AtMost, Between
from ..problems.penalty import Penalty

Integers = NDArray[np.int64]


@host_function
def assigned(logits: NDArray[np.floating], valid: NDArray[np.bool_], capacity: int) -> Integers:
    """`cheapest` of every problem, shape (B, T); a capacity of 0 is none."""
    return np.stack([cheapest(*problem, capacity or None) for problem in zip(logits, valid, strict=True)])


@host_function
def accepted(order: Integers, valid: NDArray[np.bool_], experts: int, k: int, capacity: int) -> Integers:
    """`greedy` of every problem, shape (B, T, k)."""
    return np.stack([greedy(*problem, experts, k, capacity) for problem in zip(order, valid, strict=True)])


def cheapest(logits: NDArray[np.floating], valid: NDArray[np.bool_], capacity: int | None) -> Integers:
    """The expert of every token, shape (T,), that makes the sum of the chosen logits largest; -1 for padding.

    Loads are at most `capacity`; without one they are balanced: T / E rounded down or up.
    """
    tokens, experts = int(valid.sum()), logits.shape[1]
    share, rest = divmod(tokens, experts)
    cols: Penalty = Between(share, share + (rest > 0)) if capacity is None else AtMost()
    places = np.full(experts, 1.0 if capacity is None else capacity)
    found = exact(-logits[valid].astype(np.float64), np.ones(tokens), places, cols=cols)
    chosen = np.full(logits.shape[0], -1)
    whole = found.mass > 0.5  # masses are whole numbers up to rounding
    chosen[np.flatnonzero(valid)[found.row_ind[whole]]] = found.col_ind[whole]
    return chosen


def greedy(order: Integers, valid: NDArray[np.bool_], experts: int, k: int, capacity: int) -> Integers:
    """`k` experts of every token, shape (T, k), none with more than `capacity` tokens; -1 for padding.

    Pairs (token, expert) are taken in the given order, flat indices best first, as long as there is room. What is left
    over displaces others along shortest chains, which exist as long as k tokens <= experts capacity.
    """
    need = np.where(valid, k, 0).tolist()
    room = [capacity] * experts
    chosen = np.zeros((valid.size, experts), dtype=bool)
    for pair in order.tolist():
        token, expert = divmod(pair, experts)
        if need[token] and room[expert]:
            need[token] -= 1
            room[expert] -= 1
            chosen[token, expert] = True
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    rank = rank.reshape(chosen.shape)
    for token in np.repeat(np.arange(valid.size), need):
        _displace(chosen, rank, int(token), capacity)
    found = np.full((valid.size, k), -1)
    best = np.argsort(np.where(chosen, rank, order.size), axis=1, kind="stable")[:, :k]
    found[valid] = best[valid]
    return found


def _displace(chosen: NDArray[np.bool_], rank: Integers, token: int, capacity: int) -> None:
    """One more expert for `token`: others move along a shortest chain of experts that ends where there is room.

    No token moves twice on a shortest chain: it could have made the longer move at once.
    """
    full = chosen.sum(axis=0) >= capacity
    # movers[e, to]: how many tokens of e could go to another expert
    movers = chosen.T.astype(np.float32) @ (~chosen).astype(np.float32)
    came_from = np.where(chosen[token], -2, -1)  # -2: not visited
    queue = np.flatnonzero(~chosen[token]).tolist()
    for expert in queue:
        if not full[expert]:
            break
        following = np.flatnonzero((movers[expert] > 0) & (came_from == -2))
        came_from[following] = expert
        queue.extend(following.tolist())
    while came_from[expert] >= 0:
        source = came_from[expert]
        able = np.flatnonzero(chosen[:, source] & ~chosen[:, expert])
        mover = able[np.argmin(rank[able, expert])]
        chosen[mover, source], chosen[mover, expert] = False, True
        expert = source
    chosen[token, expert] = True
