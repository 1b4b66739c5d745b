"""
Graphs without names
====================

Two graphs, and no list of which node is which. Distances along edges are all that is known on either side: Gromov-
Wasserstein looks for the coupling that keeps them. What nodes know of themselves joins in as a second cost (fused),
and a piece of a graph is matched to the whole by marginals that may give.
"""

# %%
# A karate club
# -------------
# Friendships between the 34 members of a karate club, which split in two (W. W. Zachary, *An information flow model
# for conflict and fission in small groups*, 1977), and the side that each member took. Distances are lengths of
# shortest paths.

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse.csgraph import shortest_path
from scipy.stats import rankdata

import elastic_ot as eot

FRIENDS = {
    1: [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 18, 20, 22, 32],
    2: [3, 4, 8, 14, 18, 20, 22, 31],
    3: [4, 8, 9, 10, 14, 28, 29, 33],
    4: [8, 13, 14],
    5: [7, 11],
    6: [7, 11, 17],
    7: [17],
    9: [31, 33, 34],
    10: [34],
    14: [34],
    15: [33, 34],
    16: [33, 34],
    19: [33, 34],
    20: [34],
    21: [33, 34],
    23: [33, 34],
    24: [26, 28, 30, 33, 34],
    25: [26, 28, 32],
    26: [32],
    27: [30, 34],
    28: [34],
    29: [32, 34],
    30: [33, 34],
    31: [33, 34],
    32: [33, 34],
    33: [34],
}
edges = np.array([(i - 1, j - 1) for i, others in FRIENDS.items() for j in others])
adjacency = np.zeros((34, 34))
adjacency[edges[:, 0], edges[:, 1]] = adjacency[edges[:, 1], edges[:, 0]] = 1.0
distances = shortest_path(adjacency)
side = np.isin(np.arange(34) + 1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 17, 18, 20, 22])
assert len(edges) == 78

# %%
# The names are lost
# ------------------
# The second graph is the first with its nodes in another order. The problem is not convex: of ten starts the best
# counts. Some members have the same friends as others (15, 16, 19, 21 and 23 all know 33 and 34 only), and nothing
# can tell them apart; so a match is right if it keeps the friendships. Where two pairs could change places, the
# plan may be undecided between them, with one half for either; the larger half is then a matter of rounding, and a
# friendship or two may be lost.

rng = np.random.default_rng(0)
order = rng.permutation(34)
shuffled = distances[np.ix_(order, order)]
found = eot.gromov(distances, shuffled, epsilon=0.05, starts=10, tol=1e-5)
partner = order[found.plan.argmax(axis=1)]  # of each member, by the names that were lost


def kept(partner):
    """The share of friendships between whose partners there is one."""
    return adjacency[partner[edges[:, 0]], partner[edges[:, 1]]].mean()


print(found)
home = np.mean(partner == np.arange(34))
print(f"{home:.0%} of the members at their own place, {kept(partner):.0%} of friendships kept")
assert kept(partner) > 0.9

# %%
# Drawn with a layout of the distances, both graphs look the same, and the colours of the first, carried over by the
# plan, say who is who.


def layout_of(distances):
    """Classical multidimensional scaling to the plane, spread a little."""
    centred = distances**2 - (distances**2).mean(axis=0)
    values, vectors = np.linalg.eigh(-0.5 * (centred - centred.mean(axis=1, keepdims=True)))
    places = vectors[:, -2:] * np.sqrt(values[-2:])
    return np.stack([rankdata(z) + 6 * z for z in places.T], axis=1)


places = layout_of(distances)
turn = np.array([[0.0, -1.0], [1.0, 0.0]])
colours = plt.get_cmap("viridis")((places[:, 0] - places[:, 0].min()) / np.ptp(places[:, 0]))[:, :3]
carried = found.plan.T @ colours / found.col_marginal[:, None]

figure, axes = plt.subplots(1, 2, figsize=(8.5, 4.2), layout="constrained")
drawings = (
    (places, edges, colours, "the club"),
    ((places @ turn)[order], np.argsort(order)[edges], carried, "without names: colours carried over"),
)
for axis, (points, lines, shades, title) in zip(axes, drawings, strict=True):
    for i, j in lines:
        axis.plot(*points[[i, j]].T, color="0.8", lw=0.8, zorder=1)
    axis.scatter(*points.T, c=np.clip(shades, 0, 1), s=90, edgecolors="black", linewidths=0.6, zorder=2)
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

# %%
# A worse copy, and what nodes know
# ---------------------------------
# Now the second graph is another observation, which missed two friendships in five. The club had two leaders with a
# circle each, and what is left of the distances does not tell one half from the other: the best match exchanges them.
# If everybody's side is known as well, fused Gromov-Wasserstein adds to the energy a cost of 1 for a member on the
# wrong side; ``alpha`` is the share of the energy.

rng = np.random.default_rng(2)
lost = rng.permutation(len(edges))[: 2 * len(edges) // 5]
thinned = adjacency.copy()
thinned[edges[lost, 0], edges[lost, 1]] = thinned[edges[lost, 1], edges[lost, 0]] = 0.0
paths = shortest_path(thinned)
paths = np.minimum(paths, paths[np.isfinite(paths)].max() + 1.0)
observed = paths[np.ix_(order, order)]
other_side = (side[:, None] != side[order]).astype(float)

alphas, rows = (1.0, 0.8, 0.5, 0.2), []
for alpha in alphas:
    linear = None if alpha == 1.0 else other_side
    fused = eot.gromov(
        distances, observed, linear=linear, alpha=alpha, epsilon=0.05 * alpha, starts=10, tol=1e-4, max_iter=300
    )
    partner = order[fused.plan.argmax(axis=1)]
    rows.append((np.mean(side[partner] == side), kept(partner)))
    print(f"alpha {alpha:.1f}: {rows[-1][0]:.0%} on the right side, {rows[-1][1]:.0%} of friendships kept")

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for k, label in enumerate(("members on their own side", "friendships kept")):
    axis.bar(np.arange(4) + 0.36 * (k - 0.5), [row[k] for row in rows], 0.36, label=label)
axis.set(xlabel="alpha (1: distances only)", ylabel="share", ylim=(0, 1.25))
axis.set_xticks(range(4), alphas)
axis.legend(frameon=False, loc="upper center", ncols=2)
plt.show()

# %%
# A piece of a graph
# ------------------
# The instructor (1) with all whom he knows, against the whole club. Nodes have one weight on both sides, so the club
# has twice the mass of the circle. With fixed marginals, and masses made equal, every member has to be somebody's
# partner. With ``AtMost`` columns members may be left out, and distances fit five times as well. By themselves they
# mix the circle with that of the president (34), which looks much the same. With the sides known it finds its own
# place.

piece = np.flatnonzero(adjacency[0] + np.eye(34)[0])
within, wrong = distances[np.ix_(piece, piece)], other_side[np.ix_(piece, np.argsort(order))]
weights = np.full(34, 1.0 / len(piece))
how = {"starts": 10, "tol": 1e-4, "max_iter": 300}
whole = eot.gromov(within, distances, epsilon=0.02, **how)
part = eot.gromov(within, distances, b=weights, epsilon=0.02, cols=eot.AtMost(), **how)
fused = eot.gromov(within, distances, b=weights, linear=wrong, alpha=0.5, epsilon=0.01, cols=eot.AtMost(), **how)

figure, axes = plt.subplots(1, 3, figsize=(11, 4.0), layout="constrained")
for axis, one, scale, title in (
    (axes[0], whole, 34, "fixed"),
    (axes[1], part, len(piece), "at most once"),
    (axes[2], fused, len(piece), "at most once, sides known"),
):
    for i, j in edges:
        axis.plot(*places[[i, j]].T, color="0.85", lw=0.8, zorder=1)
    own = np.isin(np.arange(34), piece)
    shown = axis.scatter(
        *places.T,
        c=one.col_marginal * scale,
        cmap="Oranges",
        vmin=0,
        vmax=1,
        s=90,
        edgecolors=np.where(own, "C0", "0.6"),
        linewidths=np.where(own, 2.0, 0.6),
        zorder=2,
    )
    axis.set_title(f"{title}\nenergy {one.energy:.3f}")
    axis.set_axis_off()
figure.colorbar(shown, ax=axes, shrink=0.8, label="share of a member that is used")
figure.suptitle("where the circle of 1 (blue rings) is found")
plt.show()
found_share = fused.col_marginal[piece].sum()
print(f"{found_share:.1%} of the mass lies on the circle")
assert found_share > 0.99
