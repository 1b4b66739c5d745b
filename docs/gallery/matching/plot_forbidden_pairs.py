"""
Pairs that are forbidden
========================

A timetable is an assignment problem with rules: who is on holiday cannot be given the shift, however urgent it is. An
infinite cost says so, and if the rules leave no solution the error names those who are in each other's way.
"""

# %%
# Seven nurses, seven shifts of a week, wishes from 1 (gladly) to 9 (if need be). ``inf``: not possible.

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot

nurses = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus"]
shifts = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
inf = np.inf
wishes = np.array(
    [
        [1, 2, 5, 9, 9, inf, inf],
        [3, 1, 1, 4, 6, 9, 9],
        [inf, 2, 2, 1, 5, 7, 8],
        [2, 2, 3, 3, 1, 8, inf],
        [6, 5, 4, inf, inf, 2, 1],
        [1, 4, 4, 5, 2, 6, inf],
        [2, 3, 1, 2, 4, inf, 9],
    ],
    dtype=float,
)

# %%
# The best timetable, and the proof: potentials u and v with u + v at most every wish that is allowed, and equal to it
# where somebody works. ``assign`` unpacks into the pair of arrays that SciPy's function returns.

best = eot.assign(wishes)
rows, cols = best
for i, j in zip(rows, cols, strict=True):
    print(f"{nurses[i]:5} {shifts[j]}  wish {wishes[i, j]:.0f}")
print(f"sum of wishes {best.cost:.0f}, proved to {best.gap:.0e}")

# %%
# Rules that cannot be kept. Ada and Gus go away and are back for Monday only, so one of them is too many:

away = wishes.copy()
away[[0, 6], 1:] = inf
try:
    eot.assign(away)
except eot.InfeasibleError as error:
    print(error)

# %%
# With capacities in place of single shifts it is ``exact``, with weights. Nobody has to work, so the nurses' side is
# ``AtMost``: up to two shifts each; every shift needs one. The plan has few entries, and whole numbers stay whole.

two_each = eot.exact(wishes, np.full(7, 2.0), np.ones(7), rows=eot.AtMost())
print(f"sum of wishes {two_each.value:.0f}; entries {np.unique(two_each.plan.round(9))}")

# %%
# Entropy shows how much room there is: the plan at a small ``epsilon`` is nearly a timetable where there is one good
# choice, and spreads where several are as good.

soft = eot.solve(wishes, np.ones(7), np.ones(7), epsilon=0.5)
figure, axes = plt.subplots(1, 3, figsize=(11, 4.4), sharey=True, layout="constrained")
one = np.zeros((7, 7))
one[rows, cols] = 1.0
panels = {"one shift each": one, "up to two each": two_each.plan, "with entropy": soft.plan}
for ax, (name, plan) in zip(axes, panels.items(), strict=True):
    ax.imshow(plan, cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(np.isinf(wishes)), strict=True):
        ax.text(j, i, "×", ha="center", va="center", color="0.6")
    ax.set_xticks(range(7), shifts)
    ax.set_title(name)
axes[0].set_yticks(range(7), nurses)
plt.show()
