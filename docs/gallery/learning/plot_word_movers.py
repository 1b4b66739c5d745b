"""
How far to move the words
=========================

Two sentences can say the same with no word in common. The word mover's distance asks how far the words of one have to
travel, in a space where words of like use lie close, to become those of the other. Every pair of sentences is a
transport problem of its own small size, and all of them are solved in one call.
"""

# %%
# Sentences, and where words lie
# ------------------------------
# Thirty-six short sentences on four matters, written for this page. How much two words have to do with each other is
# the positive mutual information of standing in one sentence. A word's place is where a walk leads from it along such
# relations, in two units of time and on the twenty slowest modes. So few sentences make a rough map, on which words
# of like use are neighbours all the same.

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot

TOPICS = {
    "kitchen": """
        the cook slices onions and garlic for the soup
        she stirs the soup while the bread bakes
        fresh bread and butter wait on the table
        he chops garlic and fries onions in butter
        the baker kneads dough before the oven is hot
        dough rises slowly near the warm oven
        they season the stew with pepper and salt
        a pinch of salt and pepper improves the soup
        the chef tastes the stew and stirs the sauce
    """,
    "sea": """
        the sailor hoists the sail before the storm
        waves strike the harbour wall during the storm
        a fishing boat leaves the harbour at dawn
        the captain steers the boat through high waves
        gulls follow the boat back to the harbour
        wind fills the sail and the ship gains speed
        the crew lowers the anchor near the island
        the ship drops anchor when the wind falls
        at dawn the captain sights an island
    """,
    "orchestra": """
        the violin answers the cello in the slow movement
        the conductor raises his baton and the orchestra waits
        a young pianist plays the sonata from memory
        the orchestra tunes its strings before the concert
        she practises the violin every evening
        the audience applauds the pianist after the sonata
        drums and trumpets open the last movement
        the cello carries the melody of the sonata
        trumpets announce the melody to the audience
    """,
    "garden": """
        rain waters the roses and the young trees
        the gardener prunes roses early in spring
        she plants tulips along the garden path
        bees visit the tulips and the apple trees
        weeds grow between the stones of the path
        the gardener pulls weeds after the rain
        apple trees blossom late in a cold spring
        he digs the soil and plants beans
        worms loosen the soil below the beans
    """,
}
SMALL = {*"a an and the of in on at to is it its his she he they for from with before after near when while".split()}
SMALL |= {*"during between below along through back every".split()}
sentences, topics = [], []
for topic, text in TOPICS.items():
    for line in text.strip().splitlines():
        sentences.append([word for word in line.split() if word not in SMALL])
        topics.append(topic)
topics = np.array(topics)
vocabulary = sorted({word for sentence in sentences for word in sentence})
index = {word: k for k, word in enumerate(vocabulary)}

together = np.zeros((len(vocabulary), len(vocabulary)))
for sentence in sentences:
    for one in sentence:
        for other in sentence:
            together[index[one], index[other]] += 1.0
frequent = together.sum(axis=1)
with np.errstate(divide="ignore"):
    mutual = np.log(together * together.sum() / np.outer(frequent, frequent))
mutual = np.maximum(mutual, 0.0)
scale = 1.0 / np.sqrt(mutual.sum(axis=1))
rates, modes = np.linalg.eigh(mutual * scale[:, None] * scale)
vectors = modes[:, -20:] * np.exp(2.0 * (rates[-20:] - 1.0))
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
words = [len(sentence) for sentence in sentences]
print(f"{len(sentences)} sentences of {min(words)} to {max(words)} words, {len(vocabulary)} different ones")

# %%
# All pairs in one call
# ---------------------
# 630 problems, none larger than 6 by 6, and of different sizes: costs are stored in one array, as large as the
# largest, and ``row_lengths`` and ``col_lengths`` say what counts. What lies beyond is not read.

pairs = np.array([(i, j) for i in range(len(sentences)) for j in range(i)])
lengths = np.array([len(sentence) for sentence in sentences])
size = lengths.max()
places = np.zeros((len(sentences), size, vectors.shape[1]))
for k, sentence in enumerate(sentences):
    places[k, : len(sentence)] = vectors[[index[word] for word in sentence]]
first, second = places[pairs[:, 0]], places[pairs[:, 1]]
costs = np.sqrt(((first[:, :, None] - second[:, None]) ** 2).sum(axis=3))

found = eot.solve(costs, epsilon=0.02, row_lengths=lengths[pairs[:, 0]], col_lengths=lengths[pairs[:, 1]])
distances = np.zeros((len(sentences),) * 2)
distances[pairs[:, 0], pairs[:, 1]] = distances[pairs[:, 1], pairs[:, 0]] = found.transport_cost
print(f"{len(pairs)} problems, all converged: {found.converged.all()}")

# %%
# Sentences that share no word
# ----------------------------
# Of most pairs on one matter a count of common words has nothing to say: they share none. For these pairs: how often
# is one of the same topic nearer than one of different topics? Cosines of mean vectors, the other usual way, see
# where the words of a sentence lie on average, and not how they are spread.

same = topics[pairs[:, 0]] == topics[pairs[:, 1]]
apart = np.array([not set(sentences[i]) & set(sentences[j]) for i, j in pairs])
print(f"{same.sum()} pairs have one topic, {(same & apart).sum()} of them no word in common")


def told_apart(distances):
    """How often a pair of one topic is nearer than a pair of two, among those without a common word."""
    of_pair = distances[pairs[:, 0], pairs[:, 1]]
    alike, different = of_pair[same & apart], of_pair[~same & apart]
    nearer = alike[:, None] - different
    return np.mean(nearer < -1e-9) + 0.5 * np.mean(np.abs(nearer) <= 1e-9)


bags = np.zeros((len(sentences), len(vocabulary)))
for k, sentence in enumerate(sentences):
    bags[k, [index[word] for word in sentence]] = 1.0
bags /= np.linalg.norm(bags, axis=1, keepdims=True)
means = np.array([vectors[[index[word] for word in sentence]].mean(axis=0) for sentence in sentences])
means /= np.linalg.norm(means, axis=1, keepdims=True)
scores = {
    "common words": told_apart(1 - bags @ bags.T),
    "mean vectors": told_apart(1 - means @ means.T),
    "word mover": told_apart(distances),
}
for name, score in scores.items():
    print(f"{name:13s} {score:.1%}")
assert scores["word mover"] > scores["common words"]

figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for axis, matrix, title in (
    (axes[0], 1 - bags @ bags.T, "by common words"),
    (axes[1], distances, "word mover's distance"),
):
    shown = axis.imshow(matrix, cmap="magma_r")
    ticks = np.arange(len(TOPICS)) * 9 + 4
    axis.set_xticks(ticks, TOPICS)
    axis.set_yticks(ticks, TOPICS, rotation=90, va="center")
    axis.set_title(title)
    figure.colorbar(shown, ax=axis, shrink=0.75)
plt.show()

# %%
# Where the words go
# ------------------
# The plan says why two sentences are near. These two have no word in common, but butter has been seen with bread and
# garlic with soup, and frying goes with stirring and baking.

one, other = 1, 3
k = int(np.flatnonzero((pairs == [other, one]).all(axis=1))[0])
plan = found.plan[k][: lengths[other], : lengths[one]]
figure, axis = plt.subplots(figsize=(4.6, 3.8), layout="constrained")
shown = axis.imshow(plan, cmap="Blues", vmin=0)
axis.set_xticks(range(lengths[one]), sentences[one], rotation=30, ha="right")
axis.set_yticks(range(lengths[other]), sentences[other])
axis.set_title("mass that goes from word to word")
figure.colorbar(shown, ax=axis, shrink=0.8)
plt.show()
