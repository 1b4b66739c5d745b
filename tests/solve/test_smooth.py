"""`Penalty.smooth`: the slope of the demand between kinks, against differences of the demand itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.oracle import PENALTIES, make, spec_id

EPSILON = 0.1
SPECS = [*PENALTIES, ("KL", 1e-3), ("TV", 5.0), ("L2", 0.1), ("Between", 0.5, np.inf), ("Between", 1.0, 1.0)]
EACH_PENALTY = pytest.mark.parametrize("penalty", [make(spec).at(EPSILON) for spec in SPECS], ids=map(spec_id, SPECS))


def one(penalty, f, a):
    """(curvature, low, high) at one potential."""
    return tuple(float(x[0]) for x in penalty.smooth(np.array([f]), np.array([a])))


def demand(penalty, f, a):
    return tuple(float(x[0]) for x in penalty.demand(np.array([f]), np.array([a])))


def scale(penalty):
    """The unit of potentials: further out than a few times that exponentials leave the range of floats."""
    return getattr(penalty, "rho", 1.0)


def kinks(penalty):
    """Finite ends of intervals of smoothness, as `smooth` itself gives them from both sides."""
    ends = [end for f in (-0.01, 0.01) for end in one(penalty, f, 0.7)[1:]]
    return sorted({end for end in ends if np.isfinite(end)})


@EACH_PENALTY
@given(f=st.floats(-5.0, 5.0), a=st.floats(0.05, 2.0))
def test_the_curvature_is_the_slope_of_the_demand(penalty, f, a):
    f, step = scale(penalty) * f, 1e-6 * scale(penalty)
    curvature, low, high = one(penalty, f, a)
    assert curvature >= 0.0
    if not low + step < f < high - step or np.isinf(demand(penalty, f, a)[0]):  # on a kink, or outside the domain
        return
    bend = penalty.rho * a if "L2" in repr(penalty) else np.inf  # where its demand reaches 0
    if abs(f - bend) <= step:
        return
    before, after = demand(penalty, f - step, a), demand(penalty, f + step, a)
    assert before[0] == before[1]  # one marginal is best inside the interval
    assert after[0] == after[1]
    slope = (before[0] - after[0]) / (2.0 * step)
    # Rounding of the demand over the step, and a third derivative of demand / rho^3 times the square of the step.
    size = max(before[0], a) / step
    assert slope == pytest.approx(curvature, rel=1e-9, abs=1e-13 * size + 1e-15)


@EACH_PENALTY
@given(a=st.floats(0.05, 2.0))
def test_the_ends_of_the_interval_are_kinks(penalty, a):
    for kink in kinks(penalty):
        low, high = demand(penalty, kink, a)
        # An interval of marginals is best at a kink, unless the bounds on both sides of it are the same.
        assert low < high or (hasattr(penalty, "lo") and penalty.lo == penalty.hi)
        left, right = one(penalty, kink - 1e-3, a), one(penalty, kink + 1e-3, a)
        assert left[2] == kink or right[1] == kink


@EACH_PENALTY
@given(f=st.floats(-5.0, 5.0, allow_subnormal=False), a=st.floats(0.05, 2.0))
def test_there_is_no_kink_inside_the_interval(penalty, f, a):
    f = scale(penalty) * f
    _, low, high = one(penalty, f, a)
    if not low < f < high:
        return
    for share in (0.25, 0.5, 0.75):
        for end in (max(low, f - 3.0 * scale(penalty)), min(high, f + 3.0 * scale(penalty))):
            point = f + share * (end - f)
            least, most = demand(penalty, point, a)
            assert least == most
            assert one(penalty, point, a)[1:] == (low, high)


def test_the_kinks_are_where_the_formulas_have_them():
    assert kinks(make(("TV", 0.3))) == [-0.3, 0.3]
    assert kinks(make(("Between", 0.6, 1.4))) == [0.0]
    assert kinks(make(("AtMost",))) == [0.0]
    assert kinks(make(("Free",))) == [0.0]
    assert kinks(make(("KL", 0.7))) == kinks(make(("L2", 2.0))) == kinks(make(("Fixed",))) == []


def test_elastic_needs_its_epsilon():
    with pytest.raises(TypeError, match="epsilon"):
        make(("Elastic", 0.5)).smooth(np.zeros(1), np.ones(1))
    np.testing.assert_array_equal(
        make(("Elastic", 0.5)).at(EPSILON).smooth(np.ones(3), np.ones(3)),
        make(("KL", EPSILON)).smooth(np.ones(3), np.ones(3)),
    )
