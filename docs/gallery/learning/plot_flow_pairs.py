"""
Pairs that make paths straight
==============================

Flow matching trains a velocity field on pairs of noise and data. Where the straight paths of two pairs meet, the field
has to be the mean of their velocities, and what it flows along is neither. Pairs from a transport plan meet less.
"""

# %%
# The data are 500 handwritten digits, on the two axes along which digits differ most. The noise is normal.

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import cKDTree
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import elastic_ot as eot

rng = np.random.default_rng(0)
data = PCA(2, whiten=True, random_state=0).fit_transform(load_digits().data)[:500]
noise = rng.normal(size=data.shape)

# %%
# ``couple`` has one number for how sharp pairs are, whatever the units and the dimension: the renormalised entropy of
# the plan. It is 1 for pairs at random and 0 for a matching, and ``epsilon`` is found for what lies between.

pairs = {"at random": (np.arange(500), rng.permutation(500))}
for entropy in (0.7, 0.3):
    pairs[f"entropy {entropy}"] = eot.couple(noise, data, method="entropic", entropy=entropy, seed=0)
pairs["a matching"] = eot.couple(noise, data)

figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), sharex=True, sharey=True, layout="constrained")
for ax, (name, (rows, cols)) in zip(axes, pairs.items(), strict=True):
    ends = np.stack([noise[rows], data[cols]])[:, :150]
    ax.plot(*ends.transpose(2, 0, 1), color="0.6", lw=0.6)
    ax.scatter(*ends[0].T, s=6, color="#0072B2", zorder=2)
    ax.scatter(*ends[1].T, s=6, color="#D55E00", zorder=2)
    ax.set_title(name)
plt.show()

# %%
# What a field cannot learn is the spread of velocities at one place and time. Half way, among the five paths that are
# nearest to each other:

for name, (rows, cols) in pairs.items():
    velocities, places = data[cols] - noise[rows], 0.5 * (data[cols] + noise[rows])
    _, near = cKDTree(places).query(places, 5)
    spread = velocities[near].var(axis=1).sum(axis=-1).mean()
    print(f"{name:12} length of a path {np.linalg.norm(velocities, axis=1).mean():.2f}   spread {spread:.3f}")
