"""Rows over ranks, which are threads here: the answer of one process, in as many iterations, the same on every rank."""

import numpy as np
import ot
import pytest

import elastic_ot as eot
from helpers.optimality import PAIRS
from helpers.oracle import Case, random_case
from helpers.ranks import all_well, assert_agree, assert_alike, gathered, on_ranks, parts, solve_case

METHODS = ["log", "scaling", "stabilized", "epsilon_scaling", "newton"]
SIZES = [1, 2, 3, 4]


def with_zeros(case):
    """The same, with a row and a column without weight."""
    a, b = case.a.copy(), case.b.copy()
    a[2] = b[5] = 0.0
    return case.but(a=a, b=b * (a.sum() / b.sum()))


def cloud(epsilon, n=40, m=31, **fields):
    rng = np.random.default_rng(5)
    x, y = rng.random((n, 2)), rng.random((m, 2))
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    cost = ((x[:, None] - y) ** 2).sum(axis=-1)
    return with_zeros(Case(cost, a / a.sum(), b / b.sum(), epsilon, **fields))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_answer_and_the_iterations_are_those_of_one_process(method, size):
    case = cloud(0.05)
    one, found = case.solve(method=method, tol=1e-9), solve_case(case, size, method=method, tol=1e-9)
    assert_alike(found)
    assert_agree(found, one)
    assert found[0].n_iter == one.n_iter
    assert found[0].converged
    assert found[0].value == pytest.approx(one.value, rel=1e-12)
    assert found[0].transport_cost == pytest.approx(one.transport_cost, rel=1e-12)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
def test_every_pair_of_penalties_is_optimal(rows, cols, reference):
    case = with_zeros(random_case(3, n=23, rows=rows, cols=cols, reference=reference))
    tol = 1e-8
    found = solve_case(case, 3, tol=tol)
    assert_alike(found)
    f, g, plan = gathered(found, "f"), found[0].g, gathered(found, "plan")
    rounding, mass = case.rounding(f, g), case.unit_of_mass(f, g)
    slack = (rounding + 1e-14) * case.size_of_terms(f, g)
    assert found[0].converged
    assert case.residual(f, g) <= (tol + rounding) * mass
    assert case.relaxed_gap(f, g) <= tol * case.unit_of_gap(f, g) + slack
    assert np.abs(plan - case.plan(f, g)).sum() <= 1e-13 * plan.sum()
    np.testing.assert_allclose(gathered(found, "row_marginal"), plan.sum(axis=1), rtol=0, atol=1e-13 * mass)
    np.testing.assert_allclose(found[0].col_marginal, plan.sum(axis=0), rtol=0, atol=1e-13 * mass)
    assert found[0].dual_value == pytest.approx(case.dual(f, g), abs=slack)
    assert found[0].transport_cost == pytest.approx(case.transport_cost(plan), rel=1e-13)


@pytest.mark.parametrize("size", [2, 4])
def test_the_certificate_is_that_of_one_process(size):
    for case in (cloud(0.05), cloud(0.05, cols=("KL", 0.3)), cloud(0.02, rows=("AtMost",), cols=("Between", 0.5, 1.5))):
        one, found = case.solve(method="log", tol=1e-6), solve_case(case, size, method="log", tol=1e-6)
        assert found[0].gap == pytest.approx(one.gap, rel=1e-6, abs=1e-13)
        assert found[0].residual == pytest.approx(one.residual, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("method", ["log", "newton"])
def test_masks_are_of_the_rows(method):
    case = cloud(0.05)
    mask = np.random.default_rng(0).random(case.cost.shape) < 0.7
    mask[:, 3] = mask[4] = True
    case = case.but(mask=mask)
    one, found = case.solve(method=method, tol=1e-9), solve_case(case, 3, method=method, tol=1e-9)
    assert_alike(found)
    assert_agree(found, one)
    assert found[0].gap <= 1e-9 * abs(one.value) + 1e-12


def test_costs_may_be_infinite_on_one_rank_only():
    case = cloud(0.05, rows=("KL", 1.0))
    cost = case.cost.copy()
    cost[-1, :20] = np.inf
    case = case.but(cost=cost)
    assert_agree(solve_case(case, 3, method="log"), case.solve(method="log"))


@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize("count", [1, 6])
def test_a_budget_runs_as_many_iterations(count, end):
    case = cloud(0.05, cols=("KL", 0.5))
    one = case.solve(tol=0, max_iter=count, end=end)
    found = solve_case(case, 3, tol=0, max_iter=count, end=end)
    assert_alike(found)
    assert_agree(found, one)
    assert found[0].status is eot.Status.BUDGET
    assert found[0].n_iter == count


@pytest.mark.parametrize("options", [{"relaxation": 1.5}, {"relaxation": 0.6}, {"relaxation": "auto"}], ids=repr)
def test_relaxation(options):
    case = cloud(0.02)
    one, found = case.solve(method="stabilized", **options), solve_case(case, 3, method="stabilized", **options)
    assert_agree(found, one)
    assert found[0].n_iter == one.n_iter


def test_single_precision_is_solved_as_on_one_process():
    case = cloud(0.05).but(dtype=np.float32)
    one, found = case.solve(method="log"), solve_case(case, 3, method="log")
    assert_agree(found, one, rtol=1e-6)  # four rows at a time are added in float32, and these are other ones here
    assert found[0].plan.dtype == np.float32


def test_columns_that_underflow_on_all_ranks_are_summed_relative_to_their_largest_entry():
    """At a cold start and a small epsilon whole columns of exp(-C / epsilon) vanish."""
    case = cloud(1e-4)
    one, found = (
        case.solve(method="log", max_iter=40, on_failure="ignore"),
        solve_case(case, 3, method="log", max_iter=40, on_failure="ignore"),
    )
    assert_agree(found, one)
    assert np.isfinite(found[0].residual)


def test_a_common_offset_is_taken_off():
    case = cloud(0.05)
    far = case.but(cost=case.cost + 1e7)
    found = solve_case(far, 3, method="log")
    assert found[0].problem.offset == pytest.approx(1e7, rel=1e-6)
    assert_agree(found, far.solve(method="log"))


def test_light_rows_are_set_aside():
    case = cloud(0.05, rows=("KL", 0.2))
    a = case.a.copy()
    a[5] = 1e-40
    case = case.but(a=a)
    assert_agree(solve_case(case, 3, method="log"), case.solve(method="log"))


def test_weights_are_one_over_all_rows_by_default():
    case = cloud(0.05)
    rows = parts(40, 3)
    found = all_well(
        on_ranks(3, lambda comm: eot.solve(case.cost[rows[comm.rank]], epsilon=0.05, method="log", comm=comm))
    )
    assert_agree(found, eot.solve(case.cost, epsilon=0.05, method="log"))


def test_a_rank_without_rows_may_bring_no_cost():
    case = cloud(0.05)

    def work(comm):
        first = comm.rank == 0
        rows = (case.cost, case.a) if first else (None, None)
        return eot.solve(*rows, case.b, epsilon=0.05, method="newton", comm=comm)

    found = all_well(on_ranks(3, work))
    assert_agree(found, case.solve(method="newton"))
    assert [solution.plan.shape for solution in found] == [(40, 31), (0, 31), (0, 31)]


def test_a_warm_start_is_of_the_rows():
    case = cloud(0.01)
    one, rows = case.solve(method="log"), parts(40, 3)

    def work(comm):
        own = rows[comm.rank]
        start = one.f[own], one.g
        again = eot.solve(case.cost[own], case.a[own], case.b, epsilon=0.01, init=start, method="log", comm=comm)
        return again, eot.solve(case.cost[own], case.a[own], case.b, epsilon=0.01, init=again, method="log", comm=comm)

    for again, twice in all_well(on_ranks(3, work)):
        assert again.n_iter <= 3
        assert twice.n_iter <= 3


def test_products_are_of_the_rows_or_of_all():
    case = cloud(0.05)
    one, rows = case.solve(), parts(40, 3)
    x, y = np.random.default_rng(1).random((2, 40))[:, :, None], np.random.default_rng(2).random((31, 2))

    def work(comm):
        own = rows[comm.rank]
        found = eot.solve(case.cost[own], case.a[own], case.b, epsilon=0.05, comm=comm)
        return found.apply(y), found.apply(x[0][own], axis=0), found.barycentric_map(y), found.log_plan, found

    found = all_well(on_ranks(3, work))
    np.testing.assert_allclose(np.concatenate([x[0] for x in found]), one.apply(y), rtol=1e-6)
    for _, product, *_ in found:
        np.testing.assert_array_equal(product, found[0][1])
        np.testing.assert_allclose(product, one.apply(x[0], axis=0), rtol=1e-6)
    used = case.a > 0
    np.testing.assert_allclose(np.concatenate([x[2] for x in found])[used], one.barycentric_map(y)[used], rtol=1e-6)
    np.testing.assert_allclose(np.exp(np.concatenate([x[3] for x in found])), one.plan, rtol=1e-5, atol=1e-12)


def test_new_rows_are_carried_by_any_rank_and_new_columns_by_none():
    rng = np.random.default_rng(0)
    x, y, new = rng.random((20, 2)), rng.random((15, 2)), rng.random((7, 2))
    one, rows = eot.solve(eot.PointCloud(x, y), epsilon=0.1, tol=1e-10), parts(20, 3)

    def work(comm):
        own = x[rows[comm.rank]]
        return eot.solve(eot.PointCloud(own, y) if len(own) else None, epsilon=0.1, tol=1e-10, comm=comm)

    cost = eot.PointCloud(new, y)
    for found in all_well(on_ranks(3, work)):
        np.testing.assert_allclose(found.map_new(cost, y), one.map_new(new), atol=1e-8)
        with pytest.raises(ValueError, match="axis=0 reads all rows"):
            found.map_new(cost, y, axis=0)


@pytest.mark.parametrize("method", ["log", "scaling", "stabilized"])
def test_an_iteration_takes_one_sum_of_the_columns(method):
    """Two budgets of messages that differ by nothing but 40 iterations, looks between them apart."""
    case = cloud(0.02)
    rows, m = parts(40, 3), 31

    def messages(count):
        def work(comm):
            own = rows[comm.rank]
            options = {"method": method, "max_iter": count, "tol": 1e-14, "on_failure": "ignore"}
            eot.solve(case.cost[own], case.a[own], case.b, epsilon=0.02, comm=comm, **options)
            return sum(size >= m for size in comm.messages), len(comm.messages)

        return all_well(on_ranks(3, work))

    few, many = messages(60), messages(100)
    assert few[0] == few[1] == few[2]
    assert many[0][0] - few[0][0] == 40
    assert many[0][1] - few[0][1] < 40 + 25  # looks take a few numbers each, and are far apart


def test_a_product_of_conjugate_gradients_takes_one_sum_of_the_columns():
    case = cloud(0.02)
    rows, m = parts(40, 3), 31

    def work(comm):
        own = rows[comm.rank]
        found = eot.solve(case.cost[own], case.a[own], case.b, epsilon=0.02, method="newton", tol=1e-12, comm=comm)
        return found, sum(m <= size < m * m for size in comm.messages), sum(size >= m * m for size in comm.messages)

    found, sums, matrices = all_well(on_ranks(3, work))[0]
    products = int(found.history.products[-1])
    steps = int((np.diff(found.history.products) > 0).sum())
    assert products > 20
    assert matrices <= steps  # where Newton's matrix was factorised
    # a sweep for every iteration and the one that leads to it, the diagonal of a step, and the certificate
    assert sums <= products + 2 * found.n_iter + 2 * steps + 10


def test_the_number_of_ranks_changes_rounding_only():
    case = cloud(0.01)
    answers = [solve_case(case, size, uneven, method="newton", tol=1e-9) for size in (2, 3) for uneven in (True, False)]
    for found in answers[1:]:
        np.testing.assert_allclose(found[0].g, answers[0][0].g, rtol=0, atol=1e-12)
        assert found[0].n_iter == answers[0][0].n_iter


def test_repeated_solves_are_the_same_bit_for_bit():
    case = cloud(0.01)
    first, second = (solve_case(case, 3, method="newton", tol=1e-9) for _ in range(2))
    for x, y in zip(first, second, strict=True):
        assert x.g.tobytes() == y.g.tobytes()
        assert x.f.tobytes() == y.f.tobytes()


def test_against_pot():
    case = cloud(0.05)
    a, b = case.a[case.a > 0], case.b[case.b > 0]
    cost = case.cost[case.a > 0][:, case.b > 0]
    expected = ot.sinkhorn(a, b, cost, 0.05, method="sinkhorn_log", stopThr=1e-13, numItermax=20_000)
    plan = gathered(solve_case(Case(cost, a, b, 0.05), 3, tol=1e-10), "plan")
    np.testing.assert_allclose(plan, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_relative_epsilon_is_of_the_costs_of_all_rows(size):
    case, rows = cloud(0.05), parts(40, size)

    def work(comm):
        own = rows[comm.rank]
        return eot.solve(case.cost[own], case.a[own], case.b, epsilon="0.05x", comm=comm)

    found = all_well(on_ranks(size, work))
    assert {solution.epsilon for solution in found} == {0.05 * (case.cost.max() - case.cost.min())}
    assert_alike(found)


@pytest.mark.parametrize(("odd", "message"), [(0.05, "epsilon"), ("0.05", "such as '0.05x'"), ("0.1x", "epsilon")])
def test_a_relative_epsilon_of_one_rank_alone_is_refused_by_all(odd, message):
    case, rows = cloud(0.05), parts(40, 3, uneven=False)

    def work(comm):
        own = rows[comm.rank]
        return eot.solve(case.cost[own], case.a[own], case.b, epsilon=odd if comm.rank == 1 else "0.05x", comm=comm)

    for answer in on_ranks(3, work):
        assert isinstance(answer, ValueError | eot.RankError)
        assert message in str(answer)
