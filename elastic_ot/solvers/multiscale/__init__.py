"""Clouds of points solved from coarse to fine: fewer points at larger epsilon first, and only what carries mass."""

from .method import Multiscale as Multiscale
from .ordered import solve_ordered as solve_ordered
from .state import LEFT_SHARE as LEFT_SHARE
