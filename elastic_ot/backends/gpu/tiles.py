"""Which tile of K a thread of the kernel `batch_tiles` has, for problems of any size that fits."""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """Lanes that share rows, such sets of lanes a warp, warps; rows and columns a thread, rows in shared memory.

    `resident` blocks fit a multiprocessor, where a problem has a block of its own.
    """

    lanes: int
    sets: int
    warps: int
    rows: int
    cols: int
    stored: int
    resident: int = 0

    def fits(self, n: int, m: int) -> bool:
        return n <= self.sets * self.warps * self.rows and m <= self.lanes * self.cols

    @property
    def threads(self) -> int:
        return 32 * self.warps if self.warps > 1 else 128

    @property
    def problems(self) -> int:
        """Number of problems of a block."""
        return 1 if self.warps > 1 else self.threads // (self.lanes * self.sets)

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        parts, width = self.sets * self.warps, self.lanes * self.cols
        sums = 0 if parts * self.lanes == 1 else parts * (width + (4 * self.lanes if self.lanes < 8 else 0)) + width
        return 4 * (self.problems * sums + self.stored * self.cols * self.threads)

    @property
    def arguments(self) -> str:
        return ", ".join(str(x) for x in self[:6])


# Budgets of problems with fixed sides and float32 costs need little more than K, so that more of it fits registers.
LEAN = (
    *(Tile(1, 1, 1, 4, 4, 0), Tile(1, 1, 1, 8, 8, 0), Tile(2, 2, 1, 8, 8, 0), Tile(4, 4, 1, 8, 8, 0)),
    *(Tile(8, 4, 2, 8, 8, 0, resident=5), Tile(8, 4, 4, 8, 16, 0, resident=2), Tile(16, 2, 8, 16, 16, 8, resident=1)),
)
GENERAL = (
    *(Tile(1, 1, 1, 4, 4, 0), Tile(2, 2, 1, 8, 8, 0), Tile(4, 4, 1, 8, 8, 0)),
    *(Tile(8, 4, 2, 8, 8, 0, resident=5), Tile(8, 4, 4, 8, 16, 4, resident=2), Tile(16, 2, 8, 16, 16, 12, resident=1)),
)


def tiles_of(lean: bool, single: bool) -> tuple[Tile, ...]:
    """Smallest first; `single`: of costs in float32."""
    return LEAN if lean and single else GENERAL


def kinds(single: bool) -> tuple[str, ...]:
    """The arguments of `batch_tiles` behind the type of the cost."""
    ways = ((True, "true"), (False, "false"))
    return tuple(f"{tile.arguments}, {word}" for lean, word in ways for tile in tiles_of(lean, single))


def tile_for(n: int, m: int, lean: bool, single: bool, shared: int) -> Tile | None:
    """The first one that fits problems of n x m and so many bytes of shared memory."""
    return next((tile for tile in tiles_of(lean, single) if tile.fits(n, m) and tile.shared <= shared), None)
