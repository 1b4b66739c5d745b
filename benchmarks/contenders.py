"""Who enters the comparison on hard problems; the first of each list leads."""

from functools import partial

from peers import geomloss, ott, pot_balanced, pot_unbalanced, regot
from solvers import elastic, offered
from workers import Contender

AUTO = Contender("elastic_ot auto", partial(elastic, method="auto"))
LOG = Contender("elastic_ot log", partial(elastic, method="log"))
SINGLE_METHODS = ("scaling", "stabilized", "log", "epsilon_scaling", "newton")

# Memory 5 and ridge 1e-6 were the fastest of memories 2 to 20 and ridges 1e-2 (the default) to 1e-8 on uniform
# costs and clouds at n = 300. Its momentum, constant or adaptive, halves the iterations at best: left out.
ANDERSON = (5, 1e-6)

BALANCED_PEERS = [
    Contender("POT sinkhorn", partial(pot_balanced, method="sinkhorn")),
    Contender("POT sinkhorn_log", partial(pot_balanced, method="sinkhorn_log")),
    Contender("POT sinkhorn_stabilized", partial(pot_balanced, method="sinkhorn_stabilized")),
    Contender("OTT", ott),
    Contender("OTT, Anderson", partial(ott, anderson=ANDERSON)),
    Contender("GeomLoss", geomloss, stride=2.0),
    Contender("RegOT bcd", partial(regot, method="bcd")),
    Contender("RegOT lbfgs", partial(regot, method="lbfgs_dual")),
    Contender("RegOT splr", partial(regot, method="splr")),
    Contender("RegOT ssns", partial(regot, method="ssns")),
]
# Left out: POT's lbfgsb_unbalanced, which optimises n * m variables, and its sinkhorn_stabilized_unbalanced, which
# stops too early at any threshold.
ELASTIC_PEERS = [
    Contender("POT sinkhorn_unbalanced", partial(pot_unbalanced, method="sinkhorn")),
    Contender("POT translation invariant", partial(pot_unbalanced, method="sinkhorn_translation_invariant")),
    Contender("OTT", ott),
    Contender("OTT, recentred", partial(ott, recenter=True)),
    Contender("OTT, Anderson", partial(ott, anderson=ANDERSON)),
    Contender("GeomLoss", geomloss, stride=2.0),
]


def own_methods() -> list[Contender]:
    """``auto``, then every single method that this version of the package has."""
    singles = [Contender(f"elastic_ot {m}", partial(elastic, method=m)) for m in offered(SINGLE_METHODS)]
    return [AUTO, *singles]
