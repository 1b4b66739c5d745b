"""Wrong arguments of public calls: what was meant, said in one place for all of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

import numpy as np

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

MEANT: dict[str, tuple[str, ...]] = {
    "epsilon": ("reg", "eps", "regularization", "regularisation", "reg_e", "gamma", "temperature", "entropy_reg"),
    "max_iter": (
        *("numItermax", "numIterMax", "maxiter", "max_iters", "max_iterations", "n_iter", "n_iters", "num_iters"),
        *("niter", "iterations"),
    ),
    "tol": ("stopThr", "stop_thr", "threshold", "tolerance", "tol_abs", "atol", "rtol"),
    "rows=KL(reg_m), cols=KL(reg_m)": ("reg_m",),
    "rows=KL(rho), cols=KL(rho)": ("rho", "unbalanced"),
    "rows=KL(reach**2), cols=KL(reach**2)": ("reach",),
    "rows=Elastic(tau_a)": ("tau_a",),
    "cols=Elastic(tau_b)": ("tau_b",),
    "cost": ("M", "C", "cost_matrix"),
    "costs": ("M", "C", "cost_matrix"),
    "cost_xy": ("M", "C", "cost_matrix"),
    "a": ("mu", "weights_a"),
    "b": ("nu", "weights_b"),
    "init": ("warmstart", "G0", "initial"),
    "progress": ("verbose", "pbar"),
    "on_failure": ("warn",),
    "maximize": ("maximise",),
    "mass": ("m",),
    "metric": ("dist", "distance", "cost_fn", "ground_metric"),
}
"""The arguments that names of other libraries stand for; a text with = is written out."""


def public(call: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Return the call, with refusals that say what its arguments were meant to be; a right call is handed on."""

    @wraps(call)
    def checked(*args: Parameters.args, **given: Parameters.kwargs) -> Returned:
        try:
            return call(*args, **given)
        except (TypeError, ValueError) as error:
            unbound = error.__traceback__ is not None and error.__traceback__.tb_next is None
            better = _explained(call, args, given, unbound) if unbound or "PointCloud" not in str(error) else None
            if better is None:
                raise
            raise better from None

    return checked


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what an unknown argument may have been meant to be, as the end of a message; "" if nothing is alike."""
    known = list(known)
    for meant, names in MEANT.items():
        if name in names and meant.partition("=")[0] in known:
            return f"; did you mean {meant if '=' in meant else meant + '='}?"
    theirs = [alias for alias in MEANT.get(name, ()) if alias in known]  # our name, in a call that has another's
    if theirs:
        return f"; did you mean {theirs[0]}=?"
    if name == "log":
        return "; nothing is switched on: the result has potentials, history and certificate"
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), folded, 1, 0.7)
    return f"; did you mean {folded[near[0]]}=?" if near else ""


def _explained(
    call: Callable[..., object], args: tuple[object, ...], given: Mapping[str, object], unbound: bool
) -> Exception | None:
    """Return the error to raise in place of one; None if there is no more to say."""
    parameters = signature(call).parameters
    names = [name for name in parameters if name not in ("self", "options")]
    title = call.__qualname__.removesuffix(".__init__")
    if title != call.__qualname__:
        args = args[1:]
    if unbound:
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in given:
            hint = "" if name in names else suggestion(name, names)
            if name not in names and (hint or not open_ended):
                hint = hint or f"; its arguments are {', '.join(names)}"
                return TypeError(f"{title}() has no argument {name!r}{hint}")
    if names[0] in ("cost", "cost_xy"):
        values = dict(zip(names, args, strict=False)) | dict(given)
        text = misread(title, names, values, args[3:])
        if text:
            return TypeError(text) if unbound else ValueError(text)
    needed = "epsilon" in parameters and parameters["epsilon"].default is parameters["epsilon"].empty
    if unbound and needed and "epsilon" not in given and len(args) <= names.index("epsilon"):
        return TypeError(
            f"{title}() needs epsilon, the strength of the entropy: a number in the units of the cost, or "
            f"epsilon='0.05x' for a fraction of the range of the costs"
        )
    return None


def misread(title: str, names: list[str], values: Mapping[str, object], more: tuple[object, ...]) -> str:
    """Return what is wrong with arguments in the order of POT, or with points in place of a cost; "" for others."""
    first, second, third = (_shape(values.get(name)) for name in (*names, "", "")[:3])
    entropy = ", epsilon=..." if "epsilon" in names else ""
    if first is not None and second is not None and len(first) == len(second) == 1:
        third = _shape(more[0]) if more and third is None else third
        if third == (*first, *second):
            weights = "a=a, b=b" if names[0] == "cost_xy" else "a, b"
            weights = "" if "a" not in names else f", {weights}"
            return f"the order (a, b, cost) is that of POT; here the cost comes first: {title}(cost{weights}{entropy})"
    if first is not None and second is not None and len(first) == len(second) == 2 and first[1] == second[1]:
        square = first[0] == first[1] and (names[0] != "cost_xy" or second == first)
        if not (square or values.get("cost_yy") is not None):
            return (
                f"{names[0]} has shape {first} and {names[1]} {second}; points are passed as PointCloud(x, y): "
                f"{title}(elastic_ot.PointCloud(x, y){entropy})"
            )
    return ""


def _shape(values: object) -> tuple[int, ...] | None:
    """Return the shape of an array or of nested lists; None for anything else."""
    shape = getattr(values, "shape", None)
    if shape is None and isinstance(values, list | tuple):
        try:
            shape = np.shape(values)
        except ValueError:  # ragged
            return None
    try:
        return None if shape is None or isinstance(values, np.generic) else tuple(int(size) for size in shape)
    except TypeError:  # symbolic
        return None
