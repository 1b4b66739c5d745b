"""(Fused) Gromov-Wasserstein: plans that carry distances of one space to those of another."""

from .descent import Descent as Descent
from .descent import Found as Found
from .descent import descend as descend
from .structures import Clouds as Clouds
from .structures import Matrices as Matrices
from .structures import Structure as Structure
