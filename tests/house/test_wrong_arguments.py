"""Refusals say what was meant: names and orders of other libraries, points in place of a cost, masses that differ."""

import inspect
import re
import warnings

import numpy as np
import pytest

import elastic_ot as eot
import elastic_ot.compat.pot as front
from elastic_ot.calls import MEANT

RNG = np.random.default_rng(0)
COST, A, B = RNG.random((5, 4)), np.full(5, 0.2), np.full(4, 0.25)
X, Y = RNG.random((5, 2)), RNG.random((4, 2))
MODULES = (eot, eot.applications)
CALLS = [value for module in MODULES for name in module.__all__ if inspect.isfunction(value := getattr(module, name))]
POTS = (front, front.bregman, front.gromov, front.lp, front.partial, front.solvers, front.unbalanced, front.utils)
FRONTS = {value for module in POTS for name in module.__all__ if inspect.isfunction(value := getattr(module, name))}


def parameters(call, kind):
    return [p for p in inspect.signature(call).parameters.values() if p.kind is kind]


CLOSED = [call for call in CALLS if not parameters(call, inspect.Parameter.VAR_KEYWORD)]


@pytest.mark.parametrize("call", [call for call in CLOSED if not call.__name__.endswith("num_threads")])
def test_every_public_call_names_an_unknown_argument(call):
    first = [None] * sum(p.default is p.empty for p in parameters(call, inspect.Parameter.POSITIONAL_OR_KEYWORD))
    with pytest.raises(TypeError, match="has no argument 'nothing_like_it'"):
        call(*first, nothing_like_it=1)


@pytest.mark.parametrize("call", sorted(FRONTS, key=lambda call: call.__name__), ids=lambda call: call.__name__)
def test_every_front_end_names_an_unknown_argument(call):
    first = {p.name: None for p in parameters(call, inspect.Parameter.POSITIONAL_OR_KEYWORD) if p.default is p.empty}
    given = {name: np.eye(2) if name in MATRICES else 1.0 if name == "reg" else value for name, value in first.items()}
    with pytest.raises(TypeError, match=rf"{call.__name__}\(\) has no argument 'nothing_like_it'"):
        call(**given, nothing_like_it=1)


MATRICES = ("M", "A", "C1", "C2", "Ca", "Cb", "X_s", "X_t", "X_a", "X_b", "x1")


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: front.sinkhorn(A, B, COST, epsilon=0.1, reg=0.1), "reg="),
        (lambda: front.sinkhorn(A, B, COST, epsilon=0.1), "reg="),
        (lambda: front.sinkhorn(A, B, COST, 0.1, max_iter=7), "numItermax="),
        (lambda: front.bregman.greenkhorn(A, B, COST, 0.1, tol=0.1), "stopThr="),
        (lambda: front.sinkhorn(A, B, COST, 0.1, stopthr=0.1), "stopThr="),
        (lambda: front.emd(A, B, COST, maximum=3), "its arguments are a, b, M"),
    ],
)
def test_front_ends_have_the_names_of_their_library(call, meant):
    with pytest.raises(TypeError, match=rf"has no argument .*{meant}"):
        call()


def test_estimators_and_losses_name_an_unknown_argument():
    sklearn = pytest.importorskip("elastic_ot.sklearn")
    with pytest.raises(TypeError, match=r"SinkhornTransport\(\) has no argument 'reg'; did you mean epsilon=\?"):
        sklearn.SinkhornTransport(reg=0.1)
    with pytest.raises(TypeError, match=r"fit\(\) has no argument 'xt'; did you mean Xt=\?"):
        sklearn.SinkhornTransport().fit(X, xt=Y)
    pytest.importorskip("torch")
    from elastic_ot.compat.geomloss import SamplesLoss

    with pytest.raises(TypeError, match=r"SamplesLoss\(\) has no argument 'epsilon'"):
        SamplesLoss(epsilon=0.1)


@pytest.mark.parametrize("call", [eot.applications.balance, eot.applications.gumbel_sinkhorn])
def test_options_that_are_handed_on_are_named_as_well(call):
    with pytest.raises(TypeError, match="has no argument 'nothing_like_it'"):
        call(COST[:4], nothing_like_it=1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[(name, "epsilon=") for name in ("reg", "eps", "regularization", "epsilom")],
        *[(name, "max_iter=") for name in ("numItermax", "maxiter", "max_iterations", "n_iter")],
        *[(name, "tol=") for name in ("stopThr", "threshold", "tolerance")],
        *[("reg_m", "rows=KL(reg_m), cols=KL(reg_m)"), ("tau_a", "rows=Elastic(tau_a)"), ("M", "cost=")],
        *[("verbose", "progress="), ("warmstart", "init="), ("row", "rows=")],
    ],
)
def test_names_of_other_libraries_are_translated(name, meant):
    with pytest.raises(TypeError, match=rf"solve\(\) has no argument '{name}'; did you mean {re.escape(meant)}\?$"):
        eot.solve(COST, **({"epsilon": 0.1} if meant != "epsilon=" else {}), **{name: 0.1})


def test_translations_lead_to_arguments_that_there_are():
    known = {name for call in CALLS for name in inspect.signature(call).parameters}
    assert {meant.partition("=")[0] for meant in MEANT} <= known


def test_a_log_is_not_switched_on():
    with pytest.raises(TypeError, match="the result has potentials, history and certificate"):
        eot.solve(COST, epsilon=0.1, log=True)


def test_elastic_has_the_meaning_of_tau():
    """tau = rho / (rho + epsilon), the exponent of a relaxed update, as in OTT."""
    by_tau = eot.solve(COST, epsilon=0.1, cols=eot.Elastic(0.75))
    assert np.allclose(by_tau.plan, eot.solve(COST, epsilon=0.1, cols=eot.KL(0.3)).plan, atol=1e-6)


def test_an_unknown_name_without_a_translation_lists_the_arguments():
    with pytest.raises(TypeError, match=r"assign\(\) has no argument 'zzz'; its arguments are cost, maximize, mask"):
        eot.assign(COST, zzz=1)


def test_a_missing_epsilon_is_asked_for():
    with pytest.raises(TypeError, match=r"solve\(\) needs epsilon.*epsilon='0.05x'"):
        eot.solve(COST)


POINTS = {
    "solve": lambda: eot.solve(X, Y),
    "solve with epsilon": lambda: eot.solve(X, Y, epsilon=0.1),
    "solve lists": lambda: eot.solve(X.tolist(), Y.tolist(), epsilon=0.1),
    "exact": lambda: eot.exact(X, Y),
    "assign": lambda: eot.assign(X, Y),
    "divergence": lambda: eot.divergence(X, Y, epsilon=0.1),
}


@pytest.mark.parametrize("name", POINTS)
def test_two_arrays_of_points_are_told_from_a_cost(name):
    with pytest.raises((ValueError, TypeError), match="PointCloud"):
        POINTS[name]()


def test_the_line_for_points_is_written_out():
    line = re.escape("solve(elastic_ot.PointCloud(x, y), epsilon=...)")
    with pytest.raises(TypeError, match=rf"cost has shape \(5, 2\) and a \(4, 2\); points are passed .*{line}"):
        eot.solve(X, Y)


ORDERS = {
    "solve": lambda: eot.solve(A, B, COST),
    "solve with reg": lambda: eot.solve(A, B, COST, 0.1),
    "solve with epsilon": lambda: eot.solve(A, B, COST, epsilon=0.1),
    "exact": lambda: eot.exact(A, B, COST),
    "assign": lambda: eot.assign(A, B, COST),
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_pot_is_recognised(name):
    line = rf"the order \(a, b, cost\) is that of POT; here the cost comes first: {name.split()[0]}\(cost"
    with pytest.raises((ValueError, TypeError), match=line):
        ORDERS[name]()


def test_other_mistakes_keep_their_own_words():
    with pytest.raises(ValueError, match=r"a\[2\] is -0\.2"):
        eot.solve(COST, np.array([0.4, 0.6, -0.2, 0.1, 0.1]), B, epsilon=0.1)
    with pytest.raises(ValueError, match="last dimension must agree"):
        eot.solve(COST, np.ones((3, 7)), epsilon=0.1)
    with pytest.raises(ValueError, match=r"b\[1, 0\] is -1"):  # many weights of a square cost are no points
        eot.solve(COST[:4], b=[[1.0] * 4, [-1.0] * 4], epsilon=0.1)


def test_an_error_inside_of_a_call_is_not_taken_for_a_wrong_call():
    def broken(iteration, residual):
        raise TypeError("broken() got an unexpected keyword argument 'reg'")

    with pytest.raises(TypeError, match=r"^broken"):
        eot.solve(COST, epsilon=0.01, callback=broken)


@pytest.mark.parametrize("call", [lambda *x, **k: eot.solve(*x, epsilon=0.1, **k), eot.exact])
def test_masses_that_differ_come_with_the_lines_that_repair_them(call):
    lines = re.escape("let b change: cols=KL(rho), without entropy cols=TV(rho); to give b the mass of a: b = b *")
    with pytest.raises(eot.InfeasibleError, match=lines):
        call(COST, A, 2 * B)
    with pytest.raises(eot.InfeasibleError, match=re.escape("to let b change: cols=KL(rho)")):
        call(COST, A, 2 * B, rows=eot.Between(0.9, 1.1))
    assert eot.solve(COST, A, 2 * B * (A.sum() / (2 * B).sum()), epsilon=0.1).converged
    assert eot.solve(COST, A, 2 * B, epsilon=0.1, cols=eot.KL(1.0)).converged
    assert eot.exact(COST, A, 2 * B, cols=eot.TV(1.0)).gap < 1e-12


TINY = {
    **{
        f"{method} {side}": lambda method=method, side=side: eot.solve(COST, epsilon=1e-30, method=method, cols=side)
        for method in ("auto", "scaling", "stabilized", "log", "epsilon_scaling", "newton")
        for side in (eot.Fixed(), eot.KL(1.0), eot.TV(0.5))
    },
    "batch": lambda: eot.solve(RNG.random((3, 5, 4)), epsilon=1e-30),
    "cloud": lambda: eot.solve(eot.PointCloud(X, Y), epsilon=1e-30),
    "grid": lambda: eot.solve(eot.Grid((3, 3)), epsilon=1e-30),
    "divergence": lambda: eot.divergence(eot.PointCloud(X, Y), epsilon=1e-30),
    "barycenter": lambda: eot.barycenter(COST, [A, A], epsilon=1e-30),
}


@pytest.mark.parametrize("name", TINY)
def test_an_epsilon_that_float64_cannot_hold_gives_one_warning_and_no_advice_that_was_followed(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = TINY[name]()
        for value in ("plan", "log_plan", "value", "gap", "transport_cost"):
            getattr(found, value, None)
        repr(found)
    assert {warning.category for warning in caught} <= {eot.ConvergenceWarning}
    for warning in caught:
        assert "use method=" not in str(warning.message)
        assert warning.filename == __file__


def test_a_kernel_that_breaks_down_is_told_what_holds():
    with pytest.warns(eot.ConvergenceWarning, match="use method='stabilized', 'log' or 'auto'"):
        eot.solve(COST, epsilon=1e-4, method="scaling")
    assert eot.solve(COST, epsilon=1e-4).converged
