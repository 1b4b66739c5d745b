"""What is claimed of the results of ladders."""

import math
from collections.abc import Callable, Iterable

from goals import Claim, Goal
from ladder import Ladder
from problems import Spec
from timing import Solve

OURS = "elastic_ot"


def beats_peers(statement: str, limit: float, ladder: Ladder, chosen: Callable[[Spec], bool]) -> Claim:
    """The fastest correct peer over our time; where none is faster than its time-out, that is what is proven."""
    return Claim(statement, limit, True, [_fastest_peer(x, s, limit) for x, s in ladder.items() if chosen(x)])


def _fastest_peer(spec: Spec, solves: list[Solve], limit: float) -> Goal:
    ours, peers = solves[0], [solve for solve in solves if not solve.name.startswith(OURS)]
    answered = {solve.name: solve.seconds for solve in peers if solve.failure is None}
    timed_out = {solve.name: solve.at_least for solve in peers if math.isfinite(solve.at_least)}
    fastest = min(answered.values(), default=math.inf)
    proven = min(timed_out.values(), default=math.inf)
    name = min(answered | timed_out, key=(answered | timed_out).__getitem__, default="no peer answered")
    if ours.failure is not None:
        return Goal(f"{case(spec)}: {ours.failure}", 0.0, limit, True)
    return Goal(f"{case(spec)}: {name}", min(fastest, proven) / ours.seconds, limit, True, proven < fastest)


def auto_is_the_best_method(limit: float, ladder: Ladder) -> Claim:
    cases = []
    for spec, (auto, *others) in ladder.items():
        methods = {s.name: s.seconds for s in others if s.name.startswith(OURS) and s.failure is None}
        if methods:
            best = min(methods, key=methods.__getitem__)
            cases.append(Goal(f"{case(spec)}: {best}", ratio_of(auto.seconds, methods[best]), limit, False))
    return Claim("auto / the fastest single method, time", limit, False, cases)


def never_slower_than_balanced(limit: float, pairs: Iterable[tuple[Spec, Solve, Solve]]) -> Claim:
    cases = [Goal(case(spec), ratio_of(ours.seconds, hard.seconds), limit, False) for spec, ours, hard in pairs]
    return Claim("elastic / balanced at the same epsilon, time", limit, False, cases)


def iterations_do_not_grow(limit: float, ladder: Ladder, weak: float, strong: float) -> Claim:
    """Iterations at a strong penalty over those at a weak one, same epsilon."""
    counts = {(spec.kind, spec.epsilon, spec.rho_rows): _iterations(solves[0]) for spec, solves in ladder.items()}
    cases = [
        Goal(f"{kind}, epsilon {epsilon:g}", ratio_of(count, counts[kind, epsilon, weak]), limit, False)
        for (kind, epsilon, rho), count in counts.items()
        if rho == strong
    ]
    return Claim(f"iterations at rho = {strong:g} epsilon / at {weak:g} epsilon", limit, False, cases)


def _iterations(solve: Solve) -> float:
    return solve.outcome.iterations if solve.outcome and solve.failure is None else math.inf


def case(spec: Spec) -> str:
    rho = "" if math.isinf(spec.rho_rows) else f", rho {spec.rho_rows:g} epsilon"
    return f"{spec.kind}, epsilon {spec.epsilon:g}{rho}"


def ratio_of(ours: float, other: float) -> float:
    """Infinite where there is no time or count of ours."""
    ratio = ours / other
    return math.inf if math.isnan(ratio) else ratio
