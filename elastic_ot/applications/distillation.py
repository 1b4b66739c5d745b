"""Losses that pull a student's predictions towards a teacher's: by transport over a batch, and sample by sample."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..calls import public
from ..frameworks.options import Grad
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from ..typing import ArrayT
from .frameworks import cityblock, detached, log_softmax, namespace, plan, probabilities, working


@public
def sinkd_loss(
    student_logits: ArrayT,
    teacher_logits: ArrayT,
    *,
    temperature: float = 2.0,
    epsilon: float = 0.1,
    iterations: int | None = 20,
    cols: Penalty = Fixed(),  # noqa: B008 - frozen
    grad: Grad = "unroll",
    tol: float = 1e-9,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> ArrayT:
    """Cost of moving the student's predictions of a batch to the teacher's: the sum of P * W.

    W_ij is the L1 distance of p_i = softmax(student_i / temperature) and q_j = softmax(teacher_j / temperature), and P
    is exp(-W / epsilon) scaled to rows and columns of sum 1, rows first, ending on the columns. The mass is the size
    of the batch, so that the loss is a sum over samples, not a mean.

    Parameters
    ----------
    student_logits, teacher_logits : array, shape (..., b, d)
        Of b samples and d classes; each leading index is a batch of its own. Detach the teacher's if nothing is to be
        learned there. Memory is O(b b + b d) in NumPy, torch and JAX, O(b b d) in other libraries.
    temperature : float
        > 0.
    epsilon : float
        Strength of the entropy, in units of the distance, which lies between 0 and 2.
    iterations : int, optional
        Of both sides. None goes on until the marginals are met to `tol`.
    cols : Penalty
        What the teacher's side is asked to be: `Fixed` (the published loss), or for instance ``Elastic(lam)``.
    grad : {"unroll", "implicit", "detach"}
        "unroll", which the published loss does, differentiates the iterations, and needs their number; "implicit" the
        plan they tend to, with ``iterations=None``; "detach" holds the plan and differentiates W alone.
    tol, on_failure
        As in `elastic_ot.solve`; used where `iterations` is None.

    Returns
    -------
    array
        Shape (...), in the library of the logits, in float32 at least.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its value.

    References
    ----------
    Cui et al., *SinKD: Sinkhorn distance minimization for knowledge distillation*, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.distillation import sinkd_loss
    >>> student, teacher = np.random.default_rng(0).normal(size=(2, 8, 3))
    >>> float(sinkd_loss(student, teacher)) > float(sinkd_loss(student, student))
    True
    """
    student, teacher = _pair(student_logits, teacher_logits, temperature)
    if not 0 < epsilon < np.inf:
        raise ValueError(f"epsilon is {epsilon}; it must be > 0 and finite")
    xp = namespace(student, teacher)
    p, q = probabilities(student / temperature), probabilities(teacher / temperature)
    cost = cityblock(p, q)
    ones = xp.ones_like(cost[..., 0])
    options: dict[str, Any] = {"cols": cols, "reference": "counting", "end": "cols", "grad": grad}
    options |= _budget(iterations, grad, tol, on_failure)
    moved = plan(detached(cost) if grad == "detach" else cost, ones, ones, epsilon=epsilon, **options)
    return xp.sum(moved * cost, axis=(-2, -1))


@public
def kl_loss(student_logits: ArrayT, teacher_logits: ArrayT, *, temperature: float = 2.0) -> ArrayT:
    """temperature^2 KL(q | p), the mean over samples: the student p covers what the teacher q predicts.

    Parameters
    ----------
    student_logits, teacher_logits : array, shape (..., d)
        Finite. p and q are the softmax of logits / temperature; the square keeps the size of gradients.
    temperature : float
        > 0.

    Returns
    -------
    array
        A scalar, in the library of the logits.

    References
    ----------
    Hinton, Vinyals, Dean, *Distilling the knowledge in a neural network*, 2015.

    Examples
    --------
    >>> from elastic_ot.applications.distillation import kl_loss
    >>> round(float(kl_loss([[0.0, 0.0]], [[2.0, 0.0]])), 4)
    0.4438
    """
    student, teacher = _pair(student_logits, teacher_logits, temperature)
    return temperature**2 * _kl(log_softmax(teacher / temperature), log_softmax(student / temperature))


@public
def reverse_kl_loss(student_logits: ArrayT, teacher_logits: ArrayT, *, temperature: float = 2.0) -> ArrayT:
    """temperature^2 KL(p | q), the mean over samples: the student p avoids what the teacher q rules out.

    Parameters and result as those of `kl_loss`.

    Examples
    --------
    >>> from elastic_ot.applications.distillation import reverse_kl_loss
    >>> round(float(reverse_kl_loss([[0.0, 0.0]], [[2.0, 0.0]])), 4)
    0.4805
    """
    student, teacher = _pair(student_logits, teacher_logits, temperature)
    return temperature**2 * _kl(log_softmax(student / temperature), log_softmax(teacher / temperature))


@public
def js_loss(student_logits: ArrayT, teacher_logits: ArrayT, *, temperature: float = 2.0) -> ArrayT:
    """temperature^2 (KL(p | r) + KL(q | r)) / 2 with r = (p + q) / 2, the mean over samples; symmetric.

    Parameters and result as those of `kl_loss`.

    Examples
    --------
    >>> from elastic_ot.applications.distillation import js_loss
    >>> round(float(js_loss([[0.0, 0.0]], [[2.0, 0.0]])), 4)
    0.1141
    """
    student, teacher = _pair(student_logits, teacher_logits, temperature)
    p, q = log_softmax(student / temperature), log_softmax(teacher / temperature)
    middle = namespace(p, q).logaddexp(p, q) - float(np.log(2.0))
    return temperature**2 * (_kl(p, middle) + _kl(q, middle)) / 2


def _pair(student: Any, teacher: Any, temperature: float) -> tuple[Any, Any]:
    student, teacher = working("student_logits", student), working("teacher_logits", teacher)
    if student.ndim < 2 or 0 in student.shape:
        raise ValueError(
            f"student_logits has shape {tuple(student.shape)}; it must be (..., b, d), and none of these may be 0"
        )
    if student.shape != teacher.shape:
        raise ValueError(
            f"student_logits has shape {tuple(student.shape)} and teacher_logits {tuple(teacher.shape)}; "
            f"they must be equal"
        )
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; it must be > 0 and finite")
    return student, teacher


def _budget(iterations: Any, grad: str, tol: float, on_failure: str) -> dict[str, Any]:
    """Options of the solve."""
    if iterations is None:
        if grad == "unroll":
            raise ValueError("grad is 'unroll' and iterations None; give their number, or grad='implicit'")
        return {"tol": tol, "on_failure": on_failure}
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations is {iterations!r}; it must be an integer >= 1, or None")
    if grad == "implicit":
        raise ValueError(f"grad is 'implicit' and iterations {iterations}; give iterations=None, or grad='unroll'")
    return {"tol": 0, "max_iter": iterations}


def _kl(log_p: Any, log_q: Any) -> Any:
    """KL(p | q), the mean over samples."""
    xp = namespace(log_p, log_q)
    return xp.mean(xp.sum(xp.exp(log_p) * (log_p - log_q), axis=-1))
