"""What a command prints of a result: a table for people, or one JSON object for programs."""

from __future__ import annotations

import json
import math
from typing import Any, TextIO

import numpy as np

Report = dict[str, Any]
"""The scalars of a result by the names they have in Python."""

TABLE = {  # what the table shows of a report, in this order, and how
    "status": "",
    "method": "",
    "problem": "",
    "epsilon": ".6g",
    "n_iter": "d",
    "moves": "d",
    "pairs": "d",
    "entries": "d",
    "cost": ".10g",
    "transport_cost": ".10g",
    "value": ".10g",
    "price": ".10g",
    "gap": ".3g",
    "marginal_error": ".3g",
    "residual": ".3g",
    "seconds": ".3f",
    "message": "",
}
LABELS = {"n_iter": "iterations"}


def report_text(report: Report, *, as_json: bool) -> str:
    """Return the table, a name and a value a line, or the object, on one line."""
    return json.dumps(_strict(report), allow_nan=False) if as_json else _table(report)


def print_report(report: Report, *, as_json: bool, file: TextIO | None = None) -> None:
    """Print a report, to standard output where no file is given."""
    print(report_text(report, as_json=as_json), file=file, flush=True)


def _table(report: Report) -> str:
    shown = {"problem": _problem(report), **report}
    if report.get("converged", True):
        shown["message"] = None
    if "marginal_error" in report:
        shown["residual"] = None
    lines = ((name, form, shown.get(name)) for name, form in TABLE.items())
    return "\n".join(
        f"{LABELS.get(name, name.replace('_', ' ')):<16}{value:{form if not isinstance(value, str) else ''}}"
        for name, form, value in lines
        if value is not None
    )


def _problem(report: Report) -> str:
    sides = (f"{name} {report[key]}" for name, key in (("rows", "rows"), ("columns", "cols")) if key in report)
    size = " x ".join(map(str, report["shape"]))
    if "measures" in report:
        size = f"{report['measures']} measures on {report['shape'][0]} points"
    return ", ".join([size, *sides])


def _strict(value: Any) -> Any:
    """Return what JSON has a word for: a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {name: _strict(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
