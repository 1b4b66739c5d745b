"""
A cost of your own: around the globe
====================================

Costs need not be distances of vectors. A function of some rows and some columns says what their pairs cost; every
solver, penalty and certificate works on it, and the matrix is never stored.
"""

# %%
# Great-circle distances between places given by longitude and latitude, in thousands of kilometres.

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot

RADIUS = 6.371  # of the Earth, thousands of kilometres


def great_circle(x, y):
    """Distances along the surface of the Earth, of places (longitude, latitude) in degrees."""
    chord = np.linalg.norm(unit_vectors(x)[:, None] - unit_vectors(y), axis=2)
    return 2.0 * RADIUS * np.arcsin(np.minimum(0.5 * chord, 1.0))


def unit_vectors(places):
    longitude, latitude = np.radians(places).T
    return np.column_stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    )


# %%
# Twenty-four large cities, with millions of people in their urban areas (United Nations, *World urbanization
# prospects*, 2018), and nine seaports that all goods leave from: name, longitude, latitude, people.

CITIES = """
Tokyo 139.7 35.7 37, Delhi 77.2 28.6 29, Shanghai 121.5 31.2 26, SaoPaulo -46.6 -23.6 22, MexicoCity -99.1 19.4 22,
Cairo 31.2 30.0 20, Mumbai 72.9 19.1 20, Beijing 116.4 39.9 20, Dhaka 90.4 23.8 20, Osaka 135.5 34.7 19,
NewYork -74.0 40.7 19, Karachi 67.0 24.9 15, BuenosAires -58.4 -34.6 15, Istanbul 29.0 41.0 15, Kolkata 88.4 22.6 15,
Lagos 3.4 6.5 13, Manila 121.0 14.6 13, RioDeJaneiro -43.2 -22.9 13, Kinshasa 15.3 -4.3 13, LosAngeles -118.2 34.1 12,
Moscow 37.6 55.8 12, Paris 2.4 48.9 11, Jakarta 106.8 -6.2 11, London -0.1 51.5 9
"""
PORTS = """
Shanghai 121.5 31.2, Singapore 103.8 1.3, Busan 129.0 35.1, Rotterdam 4.5 51.9, Dubai 55.3 25.3,
LosAngeles -118.3 33.7, NewYork -74.0 40.7, Santos -46.3 -24.0, Durban 31.0 -29.9
"""
cities, ports = ([line.split() for line in table.split(",")] for table in (CITIES, PORTS))
place, people = np.array([[float(x) for x in city[1:3]] for city in cities]), np.array([float(x[3]) for x in cities])
harbour = np.array([[float(x) for x in port[1:3]] for port in ports])
cost = eot.FunctionCost(great_circle, harbour, place)

# %%
# Two questions. If every port ships as much, who is served from where? And if a port may ship more or less than that,
# at a price (``KL(2)``, in the units of the cost), what would the market do?

demand = people / people.sum()
plans = {
    "every port ships as much": eot.solve(cost, b=demand, epsilon=0.2),
    "ports may ship more or less": eot.solve(cost, b=demand, epsilon=0.2, rows=eot.KL(2.0)),
}

figure, axes = plt.subplots(2, 1, figsize=(9, 8), sharex=True, layout="constrained")
for ax, (name, solution) in zip(axes, plans.items(), strict=True):
    plan = solution.plan
    for i, j in zip(*np.nonzero(plan > 2e-3), strict=True):
        ax.plot(*np.stack([harbour[i], place[j]]).T, color="0.5", lw=60 * plan[i, j], alpha=0.6, zorder=1)
    ax.scatter(*place.T, s=8 * people, facecolors="white", edgecolors="black", zorder=2)
    ax.scatter(*harbour.T, s=1500 * solution.row_marginal, color="#D55E00", alpha=0.8, zorder=3)
    for (name_of_port, *_), where in zip(ports, harbour, strict=True):
        ax.annotate(name_of_port, where, xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8)
    ax.set(title=f"{name}: {solution.transport_cost:.2f} thousand km on average", ylabel="latitude", ylim=(-48, 72))
axes[1].set_xlabel("longitude (lines are drawn straight on the map, and measured around the globe)")
plt.show()

# %%
# Nothing above depends on the size. Half a million pairs of places of the whole sphere, by blocks:

rng = np.random.default_rng(0)
many, more = (
    np.column_stack([rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))]) for n in (800, 600)
)
solution = eot.solve(eot.FunctionCost(great_circle, many, more), epsilon=0.3, tol=1e-4)
print(solution.status.name, f"value {solution.value:.3f}, gap {solution.gap:.0e}")
