"""Unbalanced Gromov-Wasserstein and CO-optimal transport by POT's calls, compared with POT and with the definitions."""

import numpy as np
import ot
import pytest

import elastic_ot as eot
import elastic_ot.compat.pot as front
from helpers.pot_problems import accuracy, quiet_pot

KINDS = ("kl", "l2")


def spaces(n=8, m=6, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.random((n, 2)), rng.random((m, 3))
    a, b = rng.random(n) + 0.3, rng.random(m) + 0.3
    return ot.dist(x, x), ot.dist(y, y), a / a.sum(), 1.2 * b / b.sum(), 0.3 * rng.random((n, m))


def apart(x, y, kind):
    """The divergence of two arrays, entry by entry."""
    if kind == "l2":
        return 0.5 * float(((x - y) ** 2).sum())
    return float((x * np.log(np.where(x > 0, x / y, 1.0))).sum() - x.sum() + y.sum())


def of_products(pair, references, kind):
    return apart(np.multiply.outer(*pair), np.multiply.outer(*references), kind)


def objective(plans, matrices, weights, linear, *, strengths, epsilons, joint, kind):
    """With all four indices; `weights` of rows and of columns, `linear` the costs of both plans times their factors."""
    (P, Q), (X, Y) = plans, matrices
    four = (X[:, None, :, None] - Y[None, :, None, :]) ** 2
    total = float(np.einsum("ijkl,ij,kl", four, P, Q))
    total += sum(float((c * x).sum()) for c, x in zip(linear, plans, strict=True))
    for k, rho in enumerate(strengths):
        total += rho * of_products([x.sum(axis=1 - k) for x in plans], [w[k] for w in weights], kind)
    references = [np.outer(*w) for w in weights]
    if joint:
        return total + epsilons[0] * of_products(plans, references, "kl")
    return total + sum(eps * apart(x, r, "kl") for eps, x, r in zip(epsilons, plans, references, strict=True))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("rho", [0.5, (5.0, 2.0)])
def test_entropic_plans_are_those_of_pot(arrays, rho, fused):
    Cx, Cy, a, b, M = spaces()
    options = {"reg_marginals": rho, "epsilon": 0.05, "unbalanced_solver": "sinkhorn_log", "alpha": 0.8 if fused else 0}
    options |= {"tol": 1e-8, "max_iter": 300}
    made = [arrays.make(x) for x in (Cx, Cy, a, b)]
    linear = arrays.make(M) if fused else None
    P, Q, log = front.gromov.fused_unbalanced_gromov_wasserstein(*made, M=linear, tol_ot=1e-9, log=True, **options)
    theirs, _, their_log = ot.gromov.fused_unbalanced_gromov_wasserstein(
        Cx, Cy, a, b, M=M if fused else None, tol_ot=1e-10, max_iter_ot=5000, log=True, **options
    )
    tolerance = accuracy(arrays, 1e-5)
    np.testing.assert_allclose(arrays.read(P), theirs, atol=tolerance)
    np.testing.assert_allclose(arrays.read(Q), theirs, atol=tolerance)
    for name in ("linear_cost", "fugw_cost"):
        assert abs(float(log[name]) - their_log[name]) < tolerance
    assert set(log) == set(their_log) - {"backend"}
    for mine, other in zip(log["duals"], their_log["duals"], strict=True):
        np.testing.assert_allclose(arrays.read(mine).sum(), other.sum(), rtol=0.1)
    value = front.gromov.fused_unbalanced_gromov_wasserstein2(*made, M=linear, tol_ot=1e-9, **options)
    assert abs(float(value) - their_log["fugw_cost"]) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fused", [False, True])
def test_plans_without_entropy_are_mostly_no_worse_than_those_of_pot(fused, kind):
    """There are many stationary plans, and no descent finds the best one always."""
    no_worse = 0
    for seed in range(6):
        Cx, Cy, a, b, M = spaces(6, 5, seed)
        options = {"reg_marginals": 5.0, "divergence": kind, "alpha": 1.0 if fused else 0.0, "M": M if fused else None}
        P, Q, log = front.gromov.fused_unbalanced_gromov_wasserstein(Cx, Cy, a, b, log=True, **options)
        with quiet_pot():
            theirs = ot.gromov.fused_unbalanced_gromov_wasserstein(Cx, Cy, a, b, max_iter_ot=1000, **options)
        linear = (0.5 * M, 0.5 * M) if fused else (0.0 * M, 0.0 * M)
        whole = {"strengths": (5.0, 5.0), "epsilons": (0.0, 0.0), "joint": True, "kind": kind}
        ours, other = (objective(plans, (Cx, Cy), ((a, b), (a, b)), linear, **whole) for plans in ((P, Q), theirs))
        assert float(log["fugw_cost"]) == pytest.approx(ours, rel=1e-9, abs=1e-12)
        assert P.sum() == pytest.approx(Q.sum(), rel=1e-9)
        no_worse += ours <= other + 1e-6 * abs(other)
    assert no_worse >= 4


def test_the_value_is_that_of_gromov_with_product_penalties():
    Cx, Cy, a, b, M = spaces()
    share = 0.6
    found = eot.gromov(
        *(Cx, Cy, a, b),
        epsilon=0.06,
        linear=M,
        alpha=share,
        rows=eot.KL(0.6),
        cols=eot.KL(1.2),
        penalties="product",
        tol=1e-8,
    )
    options = {"reg_marginals": (0.3 / share, 0.6 / share), "epsilon": 0.03 / share, "alpha": (1 - share) / share}
    P, Q, log = front.gromov.fused_unbalanced_gromov_wasserstein(
        Cx, Cy, a, b, M=M, tol=1e-9, tol_ot=1e-10, max_iter=500, log=True, **options
    )
    np.testing.assert_allclose(P, found.plan, atol=1e-6)
    assert share * float(log["fugw_cost"]) == pytest.approx(found.value, rel=1e-8)


def matrices(seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.random((7, 4)), rng.random((6, 5))
    sizes = 7, 4, 6, 5
    weights = [w / w.sum() for w in (rng.random(k) + 0.3 for k in sizes)]
    return X, Y, weights, rng.random((7, 6)), rng.random((4, 5))


@pytest.mark.filterwarnings("ignore::elastic_ot.errors.ConvergenceWarning")
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("epsilon", [0, (0.02, 0.05)])
def test_couplings_of_rows_and_columns_are_no_worse_than_those_of_pot(epsilon, joint):
    """Where masses are not made equal, which POT does by changing the product of the plans."""
    X, Y, weights, M_samp, M_feat = matrices()
    options = {"reg_marginals": (3.0, 2.0), "epsilon": epsilon, "alpha": (0.1, 0.2), "rescale_plan": False}
    options |= {"reg_type": "joint" if joint else "independent", "unbalanced_solver": "mm"}
    options |= {"M_samp": M_samp, "M_feat": M_feat, "log": True}
    P, Q, log = front.gromov.fused_unbalanced_across_spaces_divergence(X, Y, *weights, **options)
    with quiet_pot():
        *theirs, their_log = ot.gromov.fused_unbalanced_across_spaces_divergence(X, Y, *weights, **options)
    wx, vx, wy, vy = weights
    epsilons = (0.0, 0.0) if not epsilon else (epsilon[0], epsilon[0]) if joint else epsilon
    whole = {"strengths": (3.0, 2.0), "epsilons": epsilons, "joint": joint, "kind": "kl"}
    ours, other = (
        objective(plans, (X, Y), ((wx, wy), (vx, vy)), (0.1 * M_samp, 0.2 * M_feat), **whole)
        for plans in ((P, Q), theirs)
    )
    assert float(log["ucoot_cost"]) == pytest.approx(ours, rel=1e-9)
    assert ours <= other * (1.0 + 1e-5)
    assert set(log) == set(their_log) - {"backend"}


@pytest.mark.parametrize("kind", KINDS)
def test_plans_have_equal_masses_by_default(kind):
    X, Y, weights, M_samp, M_feat = matrices()
    options = {"reg_marginals": (30.0, 20.0), "divergence": kind, "M_samp": M_samp, "M_feat": M_feat, "alpha": 0.1}
    options["unbalanced_solver"] = "mm"
    P, Q, log = front.gromov.unbalanced_co_optimal_transport(X, Y, *weights, log=True, **options)
    assert P.sum() == pytest.approx(Q.sum(), rel=1e-9)
    wx, vx, wy, vy = weights
    whole = {"strengths": (30.0, 20.0), "epsilons": (0.0, 0.0), "joint": False, "kind": kind}
    value = objective((P, Q), (X, Y), ((wx, wy), (vx, vy)), (0.1 * M_samp, 0.1 * M_feat), **whole)
    assert float(log["ucoot_cost"]) == pytest.approx(value, rel=1e-9)
    found = front.gromov.unbalanced_co_optimal_transport2(X, Y, *weights, **options)
    assert float(found) == pytest.approx(value, rel=1e-9)


def test_each_plan_is_the_best_given_the_other():
    """Along random directions, and the objective is of both plans."""
    X, Y, weights, M_samp, M_feat = matrices(1)
    P, Q = front.gromov.unbalanced_co_optimal_transport(
        X,
        Y,
        *weights,
        reg_marginals=(3.0, 2.0),
        epsilon=(0.05, 0.1),
        rescale_plan=False,
        tol=1e-6,
        tol_ot=1e-10,
        max_iter=3000,
    )
    wx, vx, wy, vy = weights
    whole = {"strengths": (3.0, 2.0), "epsilons": (0.05, 0.1), "joint": False, "kind": "kl"}

    def at(plans):
        return objective(plans, (X, Y), ((wx, wy), (vx, vy)), (0.0 * M_samp, 0.0 * M_feat), **whole)

    least = at((P, Q))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert least <= at((P * np.exp(0.1 * rng.normal(size=P.shape)), Q)) + 1e-9
        assert least <= at((P, Q * np.exp(0.1 * rng.normal(size=Q.shape)))) + 1e-9


def test_a_permuted_copy_is_found():
    X, *_ = matrices()
    rows, cols = np.random.default_rng(3).permutation(7), np.random.default_rng(4).permutation(4)
    P, Q = front.gromov.unbalanced_co_optimal_transport(X, X[np.ix_(rows, cols)])
    np.testing.assert_array_equal(rows[P.argmax(axis=1)], np.arange(7))
    np.testing.assert_array_equal(cols[Q.argmax(axis=1)], np.arange(4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reg", [None, 0.1])
def test_solve_gromov_has_the_plans_of_pot_or_better_ones(reg, kind):
    Cx, Cy, a, b, M = spaces()
    options = {"reg": reg, "unbalanced": 4.0, "unbalanced_type": kind.upper(), "alpha": 0.4}
    if reg and kind == "l2":
        with pytest.raises(NotImplementedError, match="squared penalty"):
            front.solve_gromov(Cx, Cy, M, a, b, **options)
        return
    ours = front.solve_gromov(Cx, Cy, M, a, b, **options)
    with quiet_pot():
        theirs = ot.solve_gromov(Cx, Cy, M, a, b, **options)
    assert ours.value <= theirs.value * (1.0 + (1e-6 if reg else 1e-2))  # without entropy plans are stationary soon
    if reg:
        np.testing.assert_allclose(ours.plan, theirs.plan, atol=1e-4)
    four = (Cx[:, None, :, None] - Cy[None, :, None, :]) ** 2
    assert ours.value_linear == pytest.approx(0.6 * float((M * ours.plan).sum()), rel=1e-6)
    assert ours.value_quad == pytest.approx(0.4 * np.einsum("ijkl,ij,kl", four, ours.plan, ours.plan), rel=1e-5)
    assert ours.status == "Converged"


def test_a_share_of_0_is_linear_and_relaxed():
    Cx, Cy, a, b, M = spaces()
    options = {"reg": 0.1, "unbalanced": 1.0}
    ours = front.solve_gromov(Cx, Cy, M, a, b, alpha=0, **options)
    np.testing.assert_allclose(ours.plan, front.solve(M, a, b, **options).plan, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_finite_differences(kind):
    torch = pytest.importorskip("torch")
    Cx, Cy, a, b, M = spaces(5, 4)
    options = {"reg_marginals": (3.0, 2.0), "divergence": kind, "alpha": 0.5, "tol": 1e-10, "tol_ot": 1e-11}
    options |= {"epsilon": 0.1} if kind == "kl" else {}
    inputs = [torch.tensor(x, requires_grad=True) for x in (Cx, Cy, a, b, M)]

    def value(Cx, Cy, a, b, M):
        return front.gromov.fused_unbalanced_gromov_wasserstein2(Cx, Cy, a, b, M=M, max_iter=1000, **options)

    value(*inputs).backward()
    rng, step = np.random.default_rng(0), 1e-3
    for k, given in enumerate(inputs):
        direction = rng.normal(size=given.shape) * (1.0 if k in (0, 1, 4) else 0.1)
        numbers = [x.detach().numpy() for x in inputs]
        up, down = (
            float(value(*(x + s * direction if j == k else x for j, x in enumerate(numbers)))) for s in (step, -step)
        )
        slope = float((given.grad.numpy() * direction).sum())
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-2, abs=1e-4)
    with pytest.raises(NotImplementedError, match="no derivatives"):
        front.gromov.fused_unbalanced_gromov_wasserstein(*inputs[:4])


def test_refusals_name_what_is_wrong():
    Cx, Cy, a, b, _ = spaces()
    call = front.gromov.fused_unbalanced_gromov_wasserstein
    for options, words in (
        ({"divergence": "tv"}, "divergence is 'tv'"),
        ({"unbalanced_solver": "simplex"}, "unbalanced_solver is 'simplex'"),
        ({"divergence": "l2", "epsilon": 0.1}, "squared penalty"),
        ({"init_pi": np.ones((2, 2))}, r"init_pi of rows has shape \(2, 2\)"),
        ({"reg_marginals": (1.0, 2.0, 3.0)}, "reg_marginals has 3 entries"),
        ({"M": 1e6 + np.zeros((8, 6)), "alpha": 1.0, "reg_marginals": 0.01, "epsilon": 0.01}, "no mass"),
    ):
        with pytest.raises(ValueError, match=words):
            call(Cx, Cy, a, b, **options)
    with pytest.raises(NotImplementedError, match="reg_type is 'both'"):
        front.gromov.fused_unbalanced_across_spaces_divergence(Cx, Cy, reg_type="both")
    with pytest.warns(UserWarning, match="divergence is 'kl'"):
        call(Cx, Cy, a, b, divergence="l2", epsilon=0.1, unbalanced_solver="sinkhorn", max_iter=500)
    with pytest.warns(eot.ConvergenceWarning, match="raise max_iter"):
        call(Cx, Cy, a, b, epsilon=0.01, max_iter=1)
