"""Random small problems with ugly ranges: refused by us, or answered in time, and true where the answer says converged.

What is true is recomputed in extended precision (`helpers.ugly_problems`). A fault is reported with its seed;
``python tests/helpers/ugly_problems.py SEED`` looks at it alone.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.ugly_problems import check, run

SEED, MANY = 1_000_000, 20_000


@settings(max_examples=150)
@given(st.integers(0, SEED - 1))
def test_problems_that_nobody_would_choose(seed):
    fault, _ = check(seed)
    assert fault is None, fault


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_twenty_thousand_of_them(part, capsys):
    first = SEED + part * (MANY // 20)
    with capsys.disabled():
        print(f"seeds {first} to {first + MANY // 20 - 1}", end=" ")
    faults, refused = run(range(first, first + MANY // 20))
    assert not faults, "\n".join(faults)
    assert refused < MANY // 20 // 3  # most are problems with an answer
