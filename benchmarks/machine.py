"""The machine and the versions that a result belongs to."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = {
    "elastic_ot": "elastic-ot",
    "POT": "POT",
    "OTT-JAX": "ott-jax",
    "JAX": "jax",
    "GeomLoss": "geomloss",
    "torch": "torch",
    "RegOT": "regot",
    "lapx": "lapx",
    "NumPy": "numpy",
    "SciPy": "scipy",
    "Numba": "numba",
}


BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def unset_blas_overrides() -> None:
    """Let the BLAS of the processes started from here choose its own kernels; a wrong choice slows the peers."""
    for name in BLAS_OVERRIDES:
        os.environ.pop(name, None)


def describe() -> dict[str, str]:
    import numba  # here, for processes that measure how long imports take load this module, too

    return {
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "Numba threads": str(numba.get_num_threads()),
        "load at the start": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: installed(package) for name, package in PACKAGES.items()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def processor() -> str:
    """On Linux the model name and the widest vector instructions, elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    vectors = next((f" ({name})" for name in ("avx512f", "avx2") if name in flags), "")
    return fields.get("model name", platform.machine()) + vectors


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source tree"
