"""Rows of one problem over many processes: what these say to each other, and through whose engine.

`communicator` is what a solve asks of an engine, `adapters` those of MPI and PyTorch, `ranks` the sums over rows that
solvers ask for, alone or together, `agreement` what all processes must have given alike.
"""

from .communicator import Communicator, SelfComm

__all__ = ["Communicator", "SelfComm"]


def __dir__() -> list[str]:
    return sorted(__all__)


for _name in __all__:
    globals()[_name].__module__ = __name__  # their public home
