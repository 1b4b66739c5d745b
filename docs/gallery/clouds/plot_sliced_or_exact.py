"""
Sliced or exact?
================

On a line transport is sorting. Sliced distances project clouds on many lines, and take a small part of the time of
exact transport. They are another number, though. What do they say about transport itself, how does that depend on the
dimension, and what does each direction more buy?
"""

# %%
# Two clouds of digits
# --------------------
# Handwritten threes and eights of scikit-learn, 64 pixels each, on their first principal axes: clouds of any
# dimension up to 64 from the same data, with the same mass. The cost is the squared distance.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import elastic_ot as eot

digits = load_digits()
images = digits.data / 16.0
_, _, components = np.linalg.svd(images - images.mean(axis=0), full_matrices=False)
scores = (images - images.mean(axis=0)) @ components.T
threes, eights = scores[digits.target == 3][:170], scores[digits.target == 8][:170]

# %%
# Bounds from both sides
# ----------------------
# A projection is never longer than its vector, so values of projections are lower bounds, the largest
# (``kind="max"``) the better. The plan that sorting along a line gives moves the right masses, so what it costs in
# full space is an upper bound: ``kind="min"`` takes the best line, ``kind="expected"`` averages the plans of all of
# them. The exact value lies between, in every dimension.

dimensions = [2, 4, 8, 16, 32, 64]
bounds = {name: [] for name in ("mean", "max", "lower_bound", "min", "expected")}
exact = []
for d in dimensions:
    x, y = threes[:, :d], eights[:, :d]
    exact.append(eot.exact(eot.PointCloud(x, y)).value)
    for kind in ("mean", "max", "min", "expected"):
        found = eot.sliced(x, y, kind=kind, projections=128, seed=0)
        bounds[kind].append(found.value)
        if kind == "max":
            bounds["lower_bound"].append(found.lower_bound)
exact = np.array(exact)
ratios = {name: np.array(values) / exact for name, values in bounds.items()}
for name in ("mean", "max", "lower_bound"):
    assert (ratios[name] <= 1 + 1e-9).all()
for name in ("min", "expected"):
    assert (ratios[name] >= 1 - 1e-9).all()

labels = {
    "expected": "average plan (expected)",
    "min": "best plan (min)",
    "lower_bound": "lower_bound",
    "max": "largest value (max)",
    "mean": "mean value (mean)",
}
figure, axis = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for (name, label), marker in zip(labels.items(), "^vdso", strict=True):
    axis.plot(dimensions, ratios[name], marker=marker, label=label)
axis.axhline(1.0, color="black", lw=0.8)
axis.set(xscale="log", xlabel="dimension", ylabel="bound / exact value", title="128 directions", ylim=(0, None))
axis.set_xticks(dimensions, dimensions)
axis.minorticks_off()
axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %%
# In two dimensions the bounds are close. In 64 they are not: one line sees a small part of a distance in many
# dimensions, and a plan that is good along it couples points at random in all others. The mean falls as one over the
# dimension, and nothing but that is wrong with it at first: directions come in orthonormal groups, so it stays a
# bound when it is multiplied by d. ``lower_bound`` is the best that the directions allow, this or the largest value.

# %%
# What directions buy
# -------------------
# More directions make the mean more certain, not larger. The best of more lines is better, and slowly: in d
# dimensions a random line comes close to the right one with a chance that falls exponentially in d.

counts = [4, 16, 64, 256]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
for axis, d in zip(axes, (2, 32), strict=True):
    x, y = threes[:, :d], eights[:, :d]
    value = exact[dimensions.index(d)]
    for kind, marker, colour in (("mean", "o", "C0"), ("min", "v", "C2"), ("expected", "^", "C3")):
        runs = np.array([[eot.sliced(x, y, kind=kind, projections=k, seed=s).value for k in counts] for s in range(3)])
        runs = runs * d / value if kind == "mean" else runs / value
        axis.plot(counts, runs.mean(axis=0), marker=marker, color=colour, label="d x mean" if kind == "mean" else kind)
        axis.fill_between(counts, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.2, lw=0)
    axis.axhline(1.0, color="black", lw=0.8)
    axis.set(xscale="log", xlabel="directions", title=f"{d} dimensions")
axes[0].set_ylabel("value / exact value")
axes[0].legend(frameon=False)
plt.show()

# %%
# Bands are the least and the largest of three seeds. The mean over directions, times d, is of the size of the exact
# value, and with a few dozen directions it is the same for every seed: as a *distance*, to train with or to compare
# clouds by, it is cheap and stable. As a *plan* neither kind is near the best one in 32 dimensions.

# %%
# What it costs
# -------------
# Sorting takes n log n a direction. Exact transport has to look at pairs; for clouds of few coordinates the package
# finds those that matter in trees.

sizes, seconds = [250, 500, 1000, 2000], {"exact": [], "sliced, 128 directions": []}
rng = np.random.default_rng(0)
for n in sizes:
    x = rng.normal(size=(n, 8)) * threes[:, :8].std(axis=0) + threes[:, :8].mean(axis=0)
    y = rng.normal(size=(n, 8)) * eights[:, :8].std(axis=0) + eights[:, :8].mean(axis=0)
    for name, call in (
        ("exact", lambda x, y: eot.exact(eot.PointCloud(x, y))),
        ("sliced, 128 directions", lambda x, y: eot.sliced(x, y, projections=128, seed=0)),
    ):
        call(x[:50], y[:50])  # compiles what is needed
        times = []
        for _ in range(3):
            began = time.perf_counter()
            call(x, y)
            times.append(time.perf_counter() - began)
        seconds[name].append(min(times))

figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, taken), marker in zip(seconds.items(), "so", strict=True):
    axis.plot(sizes, taken, marker=marker, label=name)
axis.set(
    xscale="log", yscale="log", xlabel="points on either side", ylabel="seconds", title="Gaussians in 8 dimensions"
)
axis.set_xticks(sizes, sizes)
axis.minorticks_off()
axis.legend(frameon=False)
plt.show()

# %%
# So: to a few thousand points, and whenever the plan is what you want, be exact, or entropic with a certificate. For
# values of large clouds, many times over, slice, and let ``lower_bound`` and ``upper_bound`` say how far that may be
# off.
