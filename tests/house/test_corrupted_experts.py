"""Experts on corrupted digits: corruptions do what they say, and all routers of a seed see the same of them."""

import importlib

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import corruptions
from helpers.array_libraries import library

library("torch")
for needed in ("matplotlib", "sklearn"):
    pytest.importorskip(needed)
torch = importlib.import_module("torch")
digits = importlib.import_module("benchmarks.corrupted_digits")
experts = importlib.import_module("docs.gallery.studies.study_corrupted_experts")
routing = importlib.import_module("elastic_ot.applications.routing")

SIDE = 28
EXACT = 1e-12
"""Rounding of sums of 784 numbers up to 1 in double precision, and then some."""


def random_pictures(count):
    """Ink in the middle, as digits have it, and paper around."""
    images = np.zeros((count, SIDE, SIDE))
    images[:, 4:-4, 4:-4] = np.random.default_rng(0).random((count, 20, 20))
    return images


def spoilt(name, images, seed=0):
    return corruptions.CORRUPTIONS[name](images, np.random.default_rng(seed))


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_corrupted_pictures_are_other_pictures(name):
    images = random_pictures(20)
    before = images.copy()
    found = spoilt(name, images)
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert (abs(found - images).max(axis=(1, 2)) > 0.1).all()
    assert np.array_equal(images, before)


def test_a_seed_corrupts_alike_and_another_otherwise():
    one, same, other = (corruptions.corrupt(random_pictures(20), seed) for seed in (3, 3, 4))
    assert list(one) == list(corruptions.CORRUPTIONS)
    for name, found in one.items():
        assert np.array_equal(found, same[name])
        assert np.array_equal(found, other[name]) == (name in ("blur", "contrast"))


def test_noise_is_normal_and_cut_off_at_the_ends():
    found = spoilt("noise", np.full((50, SIDE, SIDE), 0.5))
    # of 39200 pixels a share has a standard error of 0.0025 at most
    for within in (corruptions.NOISE, 0.499999):
        expected = norm.cdf(within / corruptions.NOISE) - norm.cdf(-within / corruptions.NOISE)
        assert np.mean(abs(found - 0.5) < within) == pytest.approx(expected, abs=0.01)


def test_a_blurred_point_is_as_wide_as_the_kernel():
    image = np.zeros((1, SIDE, SIDE))
    image[0, 14, 14] = 1
    (found,) = spoilt("blur", image)
    offset = np.arange(SIDE) - 14
    assert found.sum() == pytest.approx(1, abs=1e-6)
    for axis in (0, 1):
        # the kernel is cut off at four standard deviations
        assert found.sum(axis=axis) @ offset**2 == pytest.approx(corruptions.BLUR**2, rel=0.02)


def test_a_rotated_line_has_turned_by_the_angle():
    line = np.zeros((40, SIDE, SIDE))
    line[:, 3:-3, 13:15] = 1
    sides = set()
    for found in spoilt("rotation", line):
        y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        moments = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=found.ravel())
        axis = np.linalg.eigh(moments)[1][:, -1]
        angle = np.rad2deg(np.arctan(axis[0] / axis[1]))
        assert abs(angle) == pytest.approx(corruptions.ANGLE, abs=1)  # pixels are coarse
        sides.add(angle > 0)
    assert sides == {True, False}


def test_a_shift_moves_all_ink_along_both_axes():
    images, seen = random_pictures(40), set()
    for image, found in zip(images, spoilt("shift", images), strict=True):
        steps = [
            (down, right)
            for down in (-corruptions.SHIFT, corruptions.SHIFT)
            for right in (-corruptions.SHIFT, corruptions.SHIFT)
            if np.array_equal(found, np.roll(image, (down, right), axis=(0, 1)))
        ]
        assert len(steps) == 1
        seen.update(steps)
    assert len(seen) == 4


def test_contrast_falls_about_the_mean():
    images = random_pictures(5)
    found = spoilt("contrast", images)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=EXACT)
    np.testing.assert_allclose(found.std(axis=(1, 2)), corruptions.CONTRAST * images.std(axis=(1, 2)), rtol=EXACT)


def test_an_occluded_picture_lacks_one_square():
    size, margin = corruptions.SQUARE, corruptions.MARGIN
    for found in spoilt("occlusion", np.ones((40, SIDE, SIDE))):
        rows, cols = (np.flatnonzero((found == 0).any(axis=axis)) for axis in (1, 0))
        assert (found == 0).sum() == size**2
        for places in (rows, cols):
            assert len(places) == size
            assert places[0] >= margin
            assert places[-1] < SIDE - margin


def test_digits_of_a_seed_are_split_once_and_alike_for_all_routers():
    scale = experts.QUICK
    sizes = scale.mnist, scale.train, scale.held_out, scale.test
    found = digits.split(3, *sizes)
    assert [len(part.y) for part in found[:3]] == list(sizes[1:])
    images, labels = digits.pictures(mnist=False)
    everything = {tuple(x.tolist()): int(y) for x, y in zip(digits.averaged(images), labels, strict=True)}
    drawn = [(tuple(x.tolist()), int(y)) for part in found[:3] for x, y in zip(part.x, part.y, strict=True)]
    assert len(set(drawn)) == len(drawn)
    assert all(everything[x] == y for x, y in drawn)
    runs = [experts.one_run(kind, 3, scale) for kind in (experts.ONE, "balance loss", experts.ssr(1.0, 0.1))]
    assert {run["split"] for run in runs} == {found.checksum}
    assert digits.split(4, *sizes).checksum != found.checksum


def test_ssr_that_always_solves_is_the_plan_and_one_that_never_does_the_softmax(monkeypatch):
    scale, trained = experts.QUICK, {}
    monkeypatch.setitem(experts.KINDS, "never", experts.Kind(1.0, 0.0))
    for name in (experts.BASE, "never", experts.ssr(1.0, 1.0)):
        trained[name] = experts.Training(name, 3, scale, 1e-2)
    with monkeypatch.context() as patched:
        # the same network with the router that is made for it
        patched.setattr(experts, "SinkhornRouter", sinkhorn_router)
        trained["plan"] = experts.Training(experts.ssr(1.0, 1.0), 3, scale, 1e-2)
    for one, other in (("never", experts.BASE), (experts.ssr(1.0, 1.0), "plan")):
        for key, value in trained[one].model.state_dict().items():
            assert torch.equal(value, trained[other].model.state_dict()[key])
    assert [trained[name].solved for name in ("never", experts.BASE)] == [0, 0]
    assert [trained[name].solved for name in (experts.ssr(1.0, 1.0), "plan")] == [scale.steps] * 2


def sinkhorn_router(pixels, count, *, epsilon, method, probability):
    assert method == "ssr"
    assert probability == 1
    router = importlib.import_module("elastic_ot.torch").SinkhornRouter
    return router(pixels, count, method="sinkhorn", lam=1.0, epsilon=epsilon)


def test_a_layer_gives_what_each_expert_gives_by_itself():
    torch.manual_seed(0)
    model = experts.Experts(experts.KINDS[experts.BASE]).eval()
    x = torch.rand(20, experts.PIXELS)
    with torch.no_grad():
        found, routed = model(x)
        for token, chosen, weight, logits in zip(x, routed.idx[:, 0], routed.weight, found, strict=True):
            rows = slice(int(chosen) * experts.HIDDEN, (int(chosen) + 1) * experts.HIDDEN)
            hidden = torch.relu(model.inner.weight[rows] @ token + model.inner.bias[rows])
            expected = weight * (hidden @ model.outer[chosen] + model.bias[chosen])
            # sums of 196 and of 8 products in single precision
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_plans_balance_choices_as_they_get_sharp():
    """What the page says of temperatures: at a low one the plan is nearly an assignment, and its largest entries it."""
    scores = torch.randn(400, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores += torch.linspace(0, 3, 8)
    sharp, flat, none = (
        experts.fullest(routing.route(scores, method=method, epsilon=epsilon).load)
        for method, epsilon in (("sinkhorn", 0.01), ("sinkhorn", 100.0), ("softmax", 1.0))
    )
    # an assignment has few rows whose mass is shared by experts, fewer than there are experts
    assert 1 <= sharp <= 1 + 8 / 50
    # in the limit of high temperatures a digit goes where its score is largest beside the mean score of that expert
    centred = torch.bincount((scores - scores.mean(dim=0)).argmax(dim=-1), minlength=8)
    assert flat == pytest.approx(experts.fullest(centred), abs=0.05)
    assert sharp < flat < none
