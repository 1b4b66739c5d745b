"""What hard.py measures, in full and in a quick run."""

from dataclasses import dataclass

from ladder import Patience
from problems import Spec
from timing import Effort

ACCURACY = 1e-6
KINDS = {
    "uniform": "Uniform random costs",
    "cloud2": "Normal clouds of the plane, squared distances",
    "cloud3": "Normal clouds of space, squared distances",
    "line": "Random points of a line, distances",
    "digits_l1": "Two digits, L1 distances of pixels",
    "digits_l2": "Two digits, squared distances of pixels",
    "colours": "Pixels of two photographs, squared RGB distances",
}


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    n: int
    pixels: int
    epsilons: tuple[float, ...]
    elastic_kinds: tuple[str, ...]
    elastic_epsilons: tuple[float, ...]
    growth_sizes: tuple[int, ...]
    growth_epsilons: tuple[float, ...]
    drawn_epsilon: float
    large: Spec
    memory_sizes: tuple[int, ...]
    duels: tuple[tuple[str, int, float], ...]
    effort: Effort
    patience: Patience

    def size(self, kind: str) -> int:
        return self.pixels if kind.startswith("digits") else self.n


DUELS = (
    ("cloud", 1000, 1e-2),
    ("cloud", 1000, 1e-3),
    ("cloud", 1000, 1e-4),
    ("uniform", 1000, 1e-3),
    ("uniform", 1000, 1e-4),
    ("cloud", 3000, 1e-3),
    ("cloud", 3000, 1e-4),
)
FULL = Scale(
    n=1000,
    pixels=784,
    epsilons=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    elastic_kinds=("cloud2", "uniform", "digits_l2"),
    elastic_epsilons=(1e-2, 1e-3, 1e-4),
    growth_sizes=(500, 1000, 2000, 5000),
    growth_epsilons=(1e-2, 1e-3, 1e-4),
    drawn_epsilon=1e-3,
    large=Spec("cloud2", 10_000, 1e-4, dtype="float32"),
    memory_sizes=(2000, 4000),
    duels=DUELS,
    effort=Effort(ACCURACY, 100_000, 5, 6.0),
    patience=Patience(),
)
QUICK = Scale(
    n=200,
    pixels=196,
    epsilons=(1e-1, 1e-2, 1e-3),
    elastic_kinds=("cloud2",),
    elastic_epsilons=(1e-2, 1e-3),
    growth_sizes=(100, 200),
    growth_epsilons=(1e-2,),
    drawn_epsilon=1e-2,
    large=Spec("cloud2", 1000, 1e-3, dtype="float32"),
    memory_sizes=(500,),
    duels=(("cloud", 300, 1e-2), ("uniform", 300, 1e-3)),
    effort=Effort(ACCURACY, 100_000, 1, 2.0),
    patience=Patience(shortest=0.5, longest=1.0),
)
