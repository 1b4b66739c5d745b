"""relaxation="auto": over-relaxed sweeps whose omega is that of the fastest convergence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import elastic_ot as eot
from elastic_ot.solvers.acceleration import FASTEST, best_relaxation, settled_relaxation
from helpers.oracle import cloud_case, random_case, spec_id

SWEEPS = pytest.mark.parametrize("method", ["log", "scaling", "stabilized"])


@SWEEPS
@pytest.mark.parametrize("share", [0.1, 0.03, 0.01])
@pytest.mark.parametrize(
    "cols", [("Fixed",), ("KL", 0.5), ("TV", 0.3), ("L2", 2.0), ("Between", 0.6, 1.4)], ids=spec_id
)
def test_it_is_never_much_slower_than_plain_sweeps(cols, share, method):
    for case in (cloud_case(331, 60, share=share, cols=cols), random_case(332, 40, 50, epsilon=share, cols=cols)):
        plain = case.solve(method=method, max_iter=50_000, on_failure="raise")
        adapted = case.solve(method=method, relaxation="auto", max_iter=50_000, on_failure="raise")
        assert adapted.n_iter <= 1.1 * plain.n_iter + 1
        assert case.residual(adapted.f, adapted.g) <= 1e-6 * case.unit_of_mass(adapted.f, adapted.g) * (1 + 1e-6)


@SWEEPS
def test_it_halves_the_iterations_of_a_slow_problem_and_has_the_same_plan(method):
    case = cloud_case(333, 200, share=2e-3)
    options = {"method": method, "tol": 1e-8, "max_iter": 50_000, "on_failure": "raise"}
    plain, adapted = case.solve(**options), case.solve(relaxation="auto", **options)
    assert plain.n_iter > 500
    assert adapted.n_iter <= 0.5 * plain.n_iter
    # Each is at most residual / (1 - rate) from the answer in L1, and plain sweeps lose an e-fold in n_iter / 18.
    assert np.abs(adapted.plan - plain.plan).sum() <= 2e-8 * plain.n_iter / 18


@SWEEPS
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.7), ("TV", 0.3), ("AtMost",)], ids=spec_id)
def test_the_dual_value_never_falls_with_it(cols, method):
    case = cloud_case(334, 80, share=5e-3, cols=cols)
    if cols == ("AtMost",):
        case = case.but(b=1.3 * case.b)
    history = case.solve(
        method=method, relaxation="auto", tol=1e-9, max_iter=50_000, callback=lambda *call: None, on_failure="raise"
    ).history
    # Sums of order 1 round to 1e-15; the driver itself undoes what falls by more than 1e-12.
    assert (np.diff(history.dual) >= -1e-12).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("omega", [1.0, 1.2, 1.4])
def test_the_best_relaxation_has_the_least_spectral_radius(omega, seed):
    """On a linear problem of two blocks: the formula finds the minimiser from the rate seen at another omega."""
    rng = np.random.default_rng([335, seed])
    coupling = rng.random((6, 8))
    coupling /= 1.05 * np.linalg.norm(coupling, 2)  # the rate of plain sweeps is 1 / 1.05^2

    def radius(w):
        """Of block over-relaxation on x = K y, y = K^T x: y first, then x by the new y."""
        n, m = coupling.shape
        new_y = np.hstack([w * coupling.T, (1.0 - w) * np.eye(m)])
        new_x = np.hstack([(1.0 - w) * np.eye(n), np.zeros((n, m))]) + w * coupling @ new_y
        return np.abs(np.linalg.eigvals(np.vstack([new_x, new_y]))).max()

    best = best_relaxation(omega, radius(omega))
    grid = np.linspace(1.0, 1.99, 400)
    # The radius has a vertical tangent below its minimum: compare what it attains, on a grid of that fineness.
    assert radius(best) <= min(radius(w) for w in grid) + 1e-6
    # Past the minimum the radius is omega - 1.
    assert radius(best) == pytest.approx(best - 1.0, abs=1e-4)


@given(theta=st.floats(1e-3, 0.9999), position=st.floats(0.0, 0.99))
def test_the_best_relaxation_is_seen_from_every_smaller_one(theta, position):
    best = 2.0 / (1.0 + np.sqrt(1.0 - min(theta, FASTEST)))
    omega = 1.0 + position * (best - 1.0)
    # The larger root of (rate + omega - 1)^2 = theta omega^2 rate, a quadratic equation in rate.
    half = 0.5 * theta * omega**2 - (omega - 1.0)
    rate = half + np.sqrt(max(half**2 - (omega - 1.0) ** 2, 0.0))
    # theta is found to rounding, and enters the root as 1 - theta.
    assert best_relaxation(omega, rate) == pytest.approx(best, abs=1e-14 / np.sqrt(1.0 - theta))


def test_other_words_and_numbers_out_of_range_are_refused():
    case = random_case(336)
    for relaxation in ("adaptive", "Auto", ""):
        with pytest.raises(ValueError, match=rf"relaxation is '{relaxation}'.*auto"):
            case.solve(relaxation=relaxation)
    for relaxation in (0.0, 2.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="relaxation"):
            case.solve(relaxation=relaxation)


@pytest.mark.parametrize("method", ["auto", "newton", eot.Newton(), "epsilon_scaling"], ids=str)
def test_every_method_takes_it(method):
    case = cloud_case(337, 60, share=5e-3)
    solution = case.solve(method=method, relaxation="auto", tol=1e-8, on_failure="raise")
    assert case.residual(solution.f, solution.g) <= 1e-8 + case.rounding(solution.f, solution.g)


@pytest.mark.parametrize("residuals", [(1e300, 1e-20, 1e-320), (1.0, 0.5, np.nextafter(0.5, 0)), (1e300, 1e-5, 1e-310)])
def test_rates_that_no_float_holds_leave_the_relaxation_as_it_is(residuals):
    assert settled_relaxation(list(zip((1, 2, 3), residuals, strict=True)), 1.0, 1e-322) == 1.0
