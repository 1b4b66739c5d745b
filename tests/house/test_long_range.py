"""Drawn paths and texts: labels against others who read them; the study on them, in small."""

import importlib
import re
from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import label

from benchmarks import drawn_paths, drawn_texts
from helpers.array_libraries import library

ROUNDING = 1e-5
"""Of a sum of at most 64 weights in single precision, and then some."""
LONG, DISTRACTORS = 6, 2


@pytest.fixture(scope="module")
def pictures():
    return drawn_paths.draw(80, 14, LONG, DISTRACTORS, seed=3)


@pytest.fixture(scope="module")
def texts():
    return drawn_texts.draw(300, 5, seed=3)


def connected(picture):
    """Numbers of the curves, neighbours by a corner counted, and 0 elsewhere."""
    return label(picture >= drawn_paths.CURVE, np.ones((3, 3)))[0]


def dots(picture):
    return np.argwhere(picture >= drawn_paths.DOT)


def test_dots_are_joined_if_their_pixels_are_connected(pictures):
    for picture, joined in zip(pictures.pixels, pictures.joined, strict=True):
        (first, second), curves = dots(picture), connected(picture)
        assert (curves[tuple(first)] == curves[tuple(second)]) == joined


def test_classes_show_the_same_curves(pictures):
    wanted = {LONG: 2, LONG // drawn_paths.SHORT: DISTRACTORS}
    for picture in pictures.pixels:
        curves = connected(picture)
        assert Counter(np.bincount(curves.ravel())[1:].tolist()) == wanted
        # dots are on the long ones, at ends: without its dots no curve falls into parts
        without = np.where(picture >= drawn_paths.DOT, drawn_paths.BACKGROUND, picture)
        assert connected(without).max() == curves.max()
        assert all((curves == curves[tuple(dot)]).sum() == LONG for dot in dots(picture))


def test_dots_of_a_pair_are_as_far_apart(pictures):
    apart = [round(float(np.linalg.norm(np.diff(dots(picture), axis=0)))) for picture in pictures.pixels]
    assert apart[::2] == apart[1::2]
    assert pictures.joined.tolist() == [True, False] * 40


def test_grey_values_are_in_range_and_all_occur(pictures):
    shades = {kind + shade for kind in (0, drawn_paths.CURVE, drawn_paths.DOT) for shade in range(drawn_paths.SHADES)}
    assert set(pictures.pixels.ravel().tolist()) == shades
    assert max(shades) < drawn_paths.GREYS


def meaning(sentence):
    """1 if it praises, -1 if it blames: read by patterns, as the generator does not."""
    words = re.findall("[a-z]+", sentence)
    (place,) = (k for k, word in enumerate(words) if word in (*drawn_texts.PRAISE, *drawn_texts.BLAME))
    turned = [k for k, word in enumerate(words) if word in drawn_texts.NEGATIONS]
    assert all(k < place for k in turned)
    return (1 if words[place] in drawn_texts.PRAISE else -1) * (-1) ** len(turned)


def test_texts_are_good_if_more_sentences_praise(texts):
    for tokens, good in zip(texts.tokens, texts.good, strict=True):
        sentences = drawn_texts.text(tokens).split(".")[:-1]
        assert len(sentences) == 5
        assert (sum(map(meaning, sentences)) > 0) == good
    assert texts.good.sum() == 150


def test_words_alone_are_a_majority_without_negations(texts):
    found = drawn_texts.counted(texts.tokens)
    for tokens, counted in zip(texts.tokens, found, strict=True):
        text = drawn_texts.text(tokens)
        plain = re.sub("|".join(rf"\b{word}\b" for word in drawn_texts.NEGATIONS), "", text)
        assert (sum(map(meaning, plain.split(".")[:-1])) > 0) == counted
    # a majority of five words, of which a fifth are turned, is that of the sentences in 73 % of the texts
    assert 0.5 < (found == texts.good).mean() < 0.9


def test_texts_are_bytes_with_padding_behind(texts):
    for tokens in texts.tokens:
        length = len(drawn_texts.text(tokens))
        assert (tokens[:length] != drawn_texts.PAD).all()
        assert (tokens[length:] == drawn_texts.PAD).all()
    assert texts.tokens.max() < drawn_texts.BYTES


def test_seeds_give_their_pictures_and_texts():
    for draw, field in ((lambda seed: drawn_paths.draw(4, 8, 5, 0, seed), "pixels"), (draw_texts, "tokens")):
        one, again, other = (getattr(draw(seed), field) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)


def draw_texts(seed):
    return drawn_texts.draw(4, 3, seed)


def test_odd_counts_are_refused():
    with pytest.raises(ValueError, match=r"count is 3; .* must be even"):
        drawn_paths.draw(3, 8, 5, 0, seed=0)
    with pytest.raises(ValueError, match="count is 0"):
        drawn_paths.draw(0, 8, 5, 0, seed=0)
    with pytest.raises(ValueError, match="sentences are 4"):
        drawn_texts.draw(2, 4, seed=0)


@pytest.fixture(scope="module")
def study():
    library("torch")
    for needed in ("matplotlib", "sklearn"):
        pytest.importorskip(needed)
    return importlib.import_module("docs.gallery.studies.study_long_range")


@pytest.mark.parametrize("name", ["digits", "paths", "texts"])
def test_kinds_of_a_seed_share_their_split(study, name):
    runs = [study.one_run(f"{name}: {kind}", 3, study.QUICK) for kind in ("softmax", "sparse")]
    assert runs[0]["split"] == runs[1]["split"] != study.one_run(f"{name}: softmax", 4, study.QUICK)["split"]
    task = study.QUICK[name]
    parts = study.split(task, 3)
    assert sorted(np.concatenate(parts)) == list(range(task.train + task.held_out + task.test))


@pytest.mark.parametrize("kind", ["softmax", "elastic"])
@pytest.mark.parametrize("padding", [0, 5])
def test_weights_sum_to_1_over_what_is_no_padding(study, kind, padding):
    torch = importlib.import_module("torch")
    q, k = torch.randn(2, 3, 2, 24, 16, generator=torch.Generator().manual_seed(0))
    real = (torch.arange(24) < 24 - padding).expand(3, 24)
    weights = study.ATTENTION[kind](q, k, torch.eye(24).expand(3, 2, 24, 24), real, 8)[:, :, : 24 - padding]
    assert abs(weights.sum(dim=-1) - 1).max() < ROUNDING
    assert (weights[..., 24 - padding :] == 0).all()


def test_places_begin_with_embeddings_of_their_own(study):
    torch = importlib.import_module("torch")
    for side, length in ((8, 64), (0, 98)):
        found = study.waves(length, side, 32)
        apart = torch.cdist(found, found) + 10 * torch.eye(length)
        assert apart.min() > 0.1
        assert abs(found.square().sum(dim=1) - 16).max() < 16 * ROUNDING
