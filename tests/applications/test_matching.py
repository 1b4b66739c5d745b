"""Keypoint matching: plans against log-domain iterations in NumPy, elastic dustbins against their optimality."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

import elastic_ot as eot
from elastic_ot.applications.matching import match
from helpers.application_arrays import DIFFERENTIABLE, arrays, differences, gradient, opened  # noqa: F401 - a fixture

EXACT = {"iterations": None, "tol": 1e-12}


def some_scores(m=5, n=7, seed=0, batch=()):
    return 2.0 * np.random.default_rng(seed).normal(size=(*batch, m, n))


def augmented(scores, alpha):
    m, n = scores.shape
    full = np.full((m + 1, n + 1), alpha, dtype=float)
    full[:m, :n] = scores
    return full


def iterated(scores, alpha, iterations=100, epsilon=1.0):
    """Log-domain iterations on normalised marginals, rows first; the logarithm of the plan times m + n."""
    m, n = scores.shape
    z = augmented(scores, alpha) / epsilon
    log_mu = np.log(np.append(np.ones(m), n) / (m + n))
    log_nu = np.log(np.append(np.ones(n), m) / (m + n))
    u, v = np.zeros(m + 1), np.zeros(n + 1)
    for _ in range(iterations):
        u = log_mu - logsumexp(z + v, axis=1)
        v = log_nu - logsumexp(z + u[:, None], axis=0)
    return z + u[:, None] + v + np.log(m + n)


def pairs(log_plan, threshold):
    """Mutual best partners above the threshold, one by one."""
    plan = np.exp(log_plan[:-1, :-1])
    found = []
    for i in range(plan.shape[0]):
        j = int(plan[i].argmax())
        if int(plan[:, j].argmax()) == i and plan[i, j] > threshold:
            found.append((i, j))
    return found


@pytest.mark.parametrize("iterations", [1, 7, 100])
@pytest.mark.parametrize("epsilon", [1.0, 0.5])
def test_the_plan_is_that_of_log_domain_iterations(arrays, iterations, epsilon):  # noqa: F811
    scores = some_scores()
    found = match(arrays.make(scores), dustbin=0.7, iterations=iterations, epsilon=epsilon)
    np.testing.assert_allclose(arrays.read(found.log_plan), iterated(scores, 0.7, iterations, epsilon), atol=1e-10)
    assert isinstance(found.log_plan, arrays.kind)
    plan = np.exp(iterated(scores, 0.7, iterations, epsilon))
    off = np.abs(plan.sum(1) - [1, 1, 1, 1, 1, 7]).sum()  # it ends on the columns
    assert float(found.error) == pytest.approx(off / 12, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_matches_are_mutual_and_above_the_threshold(arrays, seed):  # noqa: F811
    scores = some_scores(8, 6, seed)
    for threshold in (0.0, 0.2, 0.6):
        found = match(arrays.make(scores), dustbin=0.0, threshold=threshold)
        wanted = pairs(iterated(scores, 0.0), threshold)
        matches0, matches1 = np.full(8, -1), np.full(6, -1)
        for i, j in wanted:
            matches0[i], matches1[j] = j, i
        np.testing.assert_array_equal(arrays.read(found.matches0), matches0)
        np.testing.assert_array_equal(arrays.read(found.matches1), matches1)
        plan = np.exp(iterated(scores, 0.0))
        for i, j in wanted:
            assert arrays.read(found.scores0)[i] == pytest.approx(plan[i, j], rel=1e-9)
            assert arrays.read(found.scores1)[j] == pytest.approx(plan[i, j], rel=1e-9)


def test_scores_of_pairs_below_the_threshold_are_kept():
    found = match(some_scores(), dustbin=0.0, threshold=0.99)
    assert (found.matches0 == -1).all()
    assert found.scores0.max() > 0.2
    np.testing.assert_allclose(np.sort(found.scores0[found.scores0 > 0]), np.sort(found.scores1[found.scores1 > 0]))


def test_marginals_are_met_to_the_tolerance(arrays):  # noqa: F811
    found = match(arrays.make(some_scores()), dustbin=1.0, **EXACT)
    plan = np.exp(arrays.read(found.log_plan))
    np.testing.assert_allclose(plan.sum(axis=1), [1, 1, 1, 1, 1, 7], atol=2e-11)  # tol times the mass of 12
    np.testing.assert_allclose(plan.sum(axis=0), [1, 1, 1, 1, 1, 1, 1, 5], atol=2e-11)
    assert float(found.error) < 2e-12


def test_a_low_dustbin_matches_all_and_a_high_one_none():
    scores = some_scores(6, 6)
    assert (match(scores, dustbin=-30.0).matches0 >= 0).sum() > 3
    assert (match(scores, dustbin=30.0).matches0 == -1).all()


def prices(log_plan, scores, alpha, epsilon):
    """(f_i), (g_j) up to a shift and the sum of the dustbins' potentials, in units of epsilon."""
    m, n = scores.shape
    potentials = log_plan - augmented(scores, alpha) / epsilon
    np.testing.assert_allclose(
        potentials - potentials[:, [n]] - potentials[[m], :] + potentials[m, n], 0.0, atol=1e-12
    )  # f_i + g_j: the plan has the form of an optimal one
    return potentials[m, n]


@pytest.mark.parametrize("tau", [0.9, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("epsilon", [1.0, 0.4])
def test_elastic_dustbins_meet_their_optimality_conditions(tau, epsilon):
    scores, alpha = some_scores(), 0.5
    found = match(scores, dustbin=alpha, epsilon=epsilon, tau=tau, **EXACT)
    plan = np.exp(found.log_plan)
    np.testing.assert_allclose(plan[:-1].sum(axis=1), 1.0, atol=1e-10)
    np.testing.assert_allclose(plan[:, :-1].sum(axis=0), 1.0, atol=1e-10)
    delta = 7 - plan[-1].sum()
    assert 5 - plan[:, -1].sum() == pytest.approx(delta, abs=1e-10)
    assert abs(delta) > 1e-3
    reservoir = (1 - tau) / tau * 35 / 12
    assert prices(found.log_plan, scores, alpha, epsilon) == pytest.approx(np.log1p(delta / reservoir), abs=1e-9)
    assert float(found.error) < 1e-11


def test_elastic_dustbins_minimise_the_stated_objective():
    """SciPy's general minimiser on all cells, with the keypoints as constraints."""
    scores, alpha, tau, epsilon = some_scores(2, 3, seed=1), 0.3, 0.4, 0.8
    m, n = scores.shape
    full, reservoir = augmented(scores, alpha), (1 - tau) / tau * m * n / (m + n)

    def objective(log_plan):
        plan = np.exp(log_plan.reshape(m + 1, n + 1))
        delta = n - plan[-1].sum()
        if delta <= -reservoir:
            return 1e6
        price = (reservoir + delta) * np.log1p(delta / reservoir) - delta
        return (-full * plan).sum() + epsilon * ((plan * np.log(plan) - plan).sum() + price)

    def excess(log_plan):
        plan = np.exp(log_plan.reshape(m + 1, n + 1))
        return np.concatenate([plan[:-1].sum(axis=1) - 1, plan[:, :-1].sum(axis=0) - 1])

    start = np.log(np.full((m + 1) * (n + 1), 0.3))
    best = minimize(objective, start, constraints={"type": "eq", "fun": excess}, tol=1e-12, options={"maxiter": 1000})
    assert best.success
    found = match(scores, dustbin=alpha, tau=tau, epsilon=epsilon, **EXACT)
    np.testing.assert_allclose(np.exp(found.log_plan), np.exp(best.x.reshape(m + 1, n + 1)), atol=1e-5)
    assert objective(found.log_plan.ravel()) <= best.fun + 1e-8  # SLSQP takes numerical derivatives


def test_elastic_dustbins_have_the_curvature_of_kl():
    """Second derivatives at delta = 0 of the price, and of rho KL(n - delta | n) + rho KL(m - delta | m)."""
    m, n, tau, epsilon, h = 5, 7, 0.3, 0.6, 1e-3
    rho, reservoir = epsilon * tau / (1 - tau), (1 - tau) / tau * m * n / (m + n)

    def kl(r, a):
        return r * np.log(r / a) - r + a

    def price(delta):
        return epsilon * ((reservoir + delta) * np.log1p(delta / reservoir) - delta)

    ours = (price(h) - 2 * price(0) + price(-h)) / h**2
    theirs = sum(rho * (kl(size - h, size) + kl(size + h, size)) / h**2 for size in (m, n))
    assert ours == pytest.approx(theirs, rel=1e-5)  # h^2


def test_without_elasticity_dustbins_are_free():
    """tau -> 0: keypoints that pay alpha to stay alone, in plain scaling."""
    scores, alpha = some_scores(), 0.5
    kernel, alone, v = np.exp(scores), np.exp(alpha), np.ones(7)
    for _ in range(2000):
        u = 1 / (kernel @ v + alone)
        v = 1 / (kernel.T @ u + alone)
    found = match(scores, dustbin=alpha, tau=1e-5, iterations=None, tol=1e-9)
    np.testing.assert_allclose(np.exp(found.log_plan[:-1, :-1]), u[:, None] * kernel * v, atol=1e-4)  # tau


def test_tau_one_is_rigid_and_tau_near_one_nearly():
    scores = some_scores()
    rigid = match(scores, dustbin=0.5, **EXACT).log_plan
    np.testing.assert_allclose(match(scores, dustbin=0.5, tau=1 - 1e-9, **EXACT).log_plan, rigid, atol=1e-7)


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_padding_changes_nothing(arrays, tau):  # noqa: F811
    scores = some_scores(5, 6, batch=(4,))
    rows, cols = np.array([5, 3, 4, 0]), np.array([6, 6, 2, 3])
    padded = scores.copy()
    for k in range(4):
        padded[k, rows[k] :] = padded[k, :, cols[k] :] = np.nan
    alphas = np.array([0.1, 0.5, -0.3, 0.2])
    lengths = {"row_lengths": arrays.make(rows), "col_lengths": arrays.make(cols)}
    found = match(arrays.make(padded), dustbin=arrays.make(alphas), tau=tau, **lengths)
    matches0, matches1 = arrays.read(found.matches0), arrays.read(found.matches1)
    log_plan = arrays.read(found.log_plan)
    for k in range(3):
        m, n = rows[k], cols[k]
        one = match(scores[k, :m, :n], dustbin=float(alphas[k]), tau=tau)
        np.testing.assert_array_equal(matches0[k], np.append(one.matches0, np.full(5 - m, -1)))
        np.testing.assert_array_equal(matches1[k], np.append(one.matches1, np.full(6 - n, -1)))
        keep = np.ix_([*range(m), 5], [*range(n), 6])
        np.testing.assert_allclose(log_plan[k][keep], one.log_plan, atol=1e-9)
        assert (log_plan[k][m:5] == -np.inf).all()
        assert (log_plan[k][:, n:6] == -np.inf).all()
    assert (matches1[3] == -1).all()  # nobody to match with
    np.testing.assert_allclose(np.exp(log_plan[3][5, :3]), 1.0, atol=1e-9)


CASES = [
    {"iterations": 20},
    {"iterations": 4, "grad": "unroll"},
    {"iterations": None, "tol": 1e-13},
    {"iterations": None, "tol": 1e-13, "tau": 0.4},
]


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_torch_differentiates_scores_and_dustbin(options):
    with opened("torch") as found:
        import torch

        scores = found.make(some_scores(2, 3, batch=(2,))).requires_grad_()
        alpha = found.make(np.array([0.3, -0.2])).requires_grad_()
        # atol: solves to tol times the mass, over twice the step of 1e-6
        assert torch.autograd.gradcheck(
            lambda s, a: match(s, dustbin=a, **options).log_plan, (scores, alpha), atol=1e-5
        )


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("options", CASES, ids=str)
def test_gradients_are_those_of_differences(name, options):
    scores = some_scores(2, 3)
    factors = np.random.default_rng(2).normal(size=(3, 4))
    with opened(name) as library:
        weights = library.make(factors)
    found = gradient(name, lambda s: (match(s, dustbin=0.3, **options).log_plan * weights).sum(), scores)
    numeric = differences(lambda s: (match(s, dustbin=0.3, **options).log_plan * factors).sum(), scores, step=1e-5)
    np.testing.assert_allclose(found, numeric, atol=1e-6)


def test_padding_has_no_gradient_and_harms_none():
    with opened("torch") as found:
        import torch

        scores = found.make(some_scores(4, 4, batch=(2,)))
        scores[1, 2:] = torch.nan
        scores.requires_grad_()
        rows = torch.tensor([4, 2])
        log_plan = match(scores, dustbin=0.1, row_lengths=rows).log_plan
        log_plan[log_plan > -torch.inf].sum().backward()
        assert torch.isfinite(scores.grad).all()
        assert (scores.grad[1, 2:] == 0).all()
        alone = scores[1, :2].detach().requires_grad_()
        match(alone, dustbin=0.1).log_plan.sum().backward()
        torch.testing.assert_close(scores.grad[1, :2], alone.grad, atol=1e-9, rtol=0)


def test_an_unconverged_plan_says_so():
    with pytest.raises(eot.ConvergenceError):
        match(1e4 * some_scores(), dustbin=0.0, iterations=None, tol=1e-15, on_failure="raise")


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.zeros(3), {}, r"scores has shape \(3,\)"),
        (np.zeros((0, 2, 3)), {}, "of these only m, n may be 0"),
        (np.zeros((2, 3)), {"epsilon": -1.0}, "epsilon is -1.0"),
        (np.zeros((2, 3)), {"threshold": 1.0}, "threshold is 1.0"),
        (np.zeros((2, 3)), {"tau": 0.0}, "tau is 0.0"),
        (np.zeros((2, 3)), {"iterations": 0}, "iterations is 0"),
        (np.zeros((2, 3)), {"dustbin": np.nan}, "dustbin is nan"),
        (np.array([[0.0, np.nan]]), {}, r"scores\[0, 1\] is nan"),
        (np.zeros((2, 3)), {"dustbin": np.zeros(2)}, r"dustbin has shape \(2,\)"),
        (np.zeros((2, 2, 3)), {"row_lengths": np.array([1, 3])}, "row_lengths has lengths from 1 to 3; 0 to 2 exist"),
        (np.zeros((2, 2, 3)), {"row_lengths": np.array([1, 2, 2])}, r"row_lengths has shape \(3,\)"),
    ],
)
def test_bad_input_is_named(scores, options, message):
    with pytest.raises(ValueError, match=message):
        match(scores, **{"dustbin": 0.0, **options})


def test_lengths_are_integers():
    with pytest.raises(TypeError, match="row_lengths has dtype float64"):
        match(np.zeros((2, 3)), dustbin=0.0, row_lengths=np.array(2.0))


@pytest.mark.parametrize("shape", [(0, 3), pytest.param((0, 0), marks=pytest.mark.slow), (2, 3, 0)])
@pytest.mark.parametrize("iterations", [100, None])
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_an_image_without_keypoints_leaves_all_to_the_dustbin(arrays, shape, iterations, tau):  # noqa: F811
    found = match(arrays.make(np.zeros(shape)), dustbin=1.0, iterations=iterations, tau=tau)
    *batch, m, n = shape
    for matches, scores, size in ((found.matches0, found.scores0, m), (found.matches1, found.scores1, n)):
        assert arrays.read(matches).tolist() == np.full((*batch, size), -1).tolist()
        assert arrays.read(matches).dtype.kind == "i"
        assert arrays.read(scores).tolist() == np.zeros((*batch, size)).tolist()
    plan = np.exp(arrays.read(found.log_plan))
    wanted = np.ones((*batch, m + 1, n + 1))  # every keypoint in the dustbin of the other side
    wanted[..., -1, -1] = 0.0
    tol = 1e-14 if iterations else 1e-6
    np.testing.assert_allclose(plan, wanted, rtol=tol)
    assert np.abs(arrays.read(found.error)).max() <= tol


def test_a_problem_of_a_batch_without_keypoints_is_as_one_alone():
    scores = some_scores(3, 4, batch=(4,))
    lengths = np.array([3, 0, 2, 0]), np.array([4, 2, 0, 0])
    found = match(scores, dustbin=0.5, row_lengths=lengths[0], col_lengths=lengths[1], **EXACT)
    plans = np.exp(found.log_plan)
    np.testing.assert_allclose(plans[0], np.exp(match(scores[0], dustbin=0.5, **EXACT).log_plan), atol=1e-9)
    for k in (1, 2, 3):
        wanted = np.zeros((4, 5))
        wanted[: lengths[0][k], -1] = 1.0
        wanted[-1, : lengths[1][k]] = 1.0
        np.testing.assert_allclose(plans[k], wanted, atol=1e-12)
        assert (found.matches0[k] == -1).all()
    assert found.error.max() < 1e-9


@pytest.mark.parametrize("tau", [1.0, 0.5])
@pytest.mark.parametrize("epsilon", [1.0, pytest.param(0.3, marks=pytest.mark.slow)])
def test_a_forbidden_pair_is_as_one_of_a_very_low_score(arrays, tau, epsilon):  # noqa: F811
    scores = some_scores()
    forbidden = np.zeros(scores.shape, bool)
    forbidden[1], forbidden[2:4, 3] = True, True  # keypoint 1 has no partner at all
    options = {"dustbin": 0.3, "tau": tau, "epsilon": epsilon, **EXACT}
    found = match(arrays.make(np.where(forbidden, -np.inf, scores)), **options)
    low = match(np.where(forbidden, -600.0, scores), **options)  # exp(-600) is nothing beside the tolerance
    np.testing.assert_array_equal(np.isneginf(arrays.read(found.log_plan))[:-1, :-1], forbidden)
    np.testing.assert_allclose(np.exp(arrays.read(found.log_plan)), np.exp(low.log_plan), atol=1e-9)
    np.testing.assert_array_equal(arrays.read(found.matches0), low.matches0)
    assert arrays.read(found.matches0)[1] == -1
    assert arrays.read(found.error) < 1e-10


@pytest.mark.parametrize("tau", [1.0, 0.5])
@pytest.mark.parametrize("iterations", [5, None])
def test_where_every_pair_is_forbidden_nobody_is_matched(tau, iterations):
    scores = np.stack([np.full((2, 3), -np.inf), some_scores(2, 3)])
    found = match(scores, dustbin=0.3, tau=tau, iterations=iterations)
    np.testing.assert_allclose(np.exp(found.log_plan[0]), [[0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 0]], atol=1e-6)
    assert found.matches0[0].tolist() == [-1, -1]
    assert found.error[0] < (1e-12 if iterations else 1e-6)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_forbidden_pairs_have_no_gradient_and_spoil_no_other(name):
    scores, forbidden = some_scores(3, 4), np.zeros((3, 4), bool)
    forbidden[0, 1], forbidden[2] = True, True

    def loss(x):
        found = match(x, dustbin=0.3, **EXACT)
        return found.log_plan[0, 0] + found.log_plan[1, -1] - found.log_plan[-1, -1]

    with opened(name) as found:
        where = found.make(forbidden)
        xp = __import__("torch") if name == "torch" else __import__("jax").numpy

    numeric = differences(lambda x: loss(np.where(forbidden, -np.inf, x)), scores)
    got = gradient(name, lambda x: loss(xp.where(where, -np.inf, x)), scores)
    assert (got[forbidden] == 0).all()
    np.testing.assert_allclose(got, numeric, atol=1e-6)


@pytest.mark.parametrize(("bad", "said"), [(np.nan, "nan"), (np.inf, "inf")])
def test_scores_are_numbers_or_minus_inf(bad, said):
    with pytest.raises(ValueError, match=rf"scores\[0, 1\] is {said}; values must be numbers or -inf"):
        match(np.array([[0.0, bad]]), dustbin=0.0)
