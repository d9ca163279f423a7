"""Near pairs of rows, found by products in low precision whose errors are bounded, so that none is missed.

A pair that the bound leaves undecided is decided by its difference in float64: results are those of float64 throughout.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lit_gen.precision import fast_bfloat16

BLOCK = 512  # rows by rows of one block of products, which bounds the memory
FROM_PAIRS = 2**20  # below, float64 alone takes no longer
FROM_DIM = 64  # below, products cost so little that float32 serves better than bfloat16
CHUNK = 2**17  # numbers of the differences that are held at once
TINY = 1e-30  # of products of numbers about 1: what is lost where they fall below float32's range
ROUNDING = 2**-20  # of comparisons in float32


class Found(NamedTuple):
    """Pairs (row of x, row of y), and bounds of their squared distances in float64."""

    x: Tensor
    y: Tensor
    lower: Tensor
    upper: Tensor

    def where(self, keep: Tensor) -> "Found":
        """Those at places ``keep``, or where it is true."""
        return Found(*(field[keep] for field in self))

    @staticmethod
    def joined(parts: "list[Found]") -> "Found":
        """One after the other."""
        return Found(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


class Screen:
    """Rows about a centre in low precision, and how far that is from them.

    Args:
        rows: ``(N, D)``.
        centre: ``(D,)`` in float64.
        scale: by which rows are divided, so that their norms are about 1 at most.
        dtype: bfloat16 or float32.
    """

    def __init__(self, rows: Tensor, centre: Tensor, scale: float, dtype: torch.dtype) -> None:
        self.rows = rows
        self.low = torch.empty(rows.shape, dtype=dtype)
        self.half = torch.empty(len(rows), dtype=torch.float64)  # |u|² / 2 of the rows u
        self.error = 0.0  # the largest |low − u| / |u|
        for part in parts(len(rows)):
            exact = (rows[part].double() - centre).div_(scale)
            self.low[part] = exact
            self.half[part] = exact.square().sum(1) / 2
            lost = exact.sub_(self.low[part]).norm(dim=1) / (2 * self.half[part]).sqrt().clamp(min=TINY)
            self.error = max(self.error, float(lost.max()))


class Screening:
    """Two sets of rows, or one set twice, and which of their pairs are near.

    With u, v rows about the centre and p their product in low precision, |p − u·v| ≤ η |u| |v| + ρ |p| and
    |u| |v| ≤ (|u|² + |v|²) / 2, so |u − v|² lies within (1 ± η) (|u|² + |v|²) − 2 (p ± ρ |p|). η is the rounding of
    rows, which is measured, and of sums in float32, at most D ε; ρ that of their results.

    Args:
        x: ``(N, D)``.
        y: ``(M, D)``, or x itself: then each pair of different rows is looked at once.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.within, dim = x is y, x.shape[1]
        low = low_precision(dim)
        centre = sum((part.double().sum(0) for part in y.split(BLOCK)), torch.zeros(dim, dtype=torch.float64)) / len(y)
        scale = max(abs(float(end)) for rows in (x, y) for end in rows.aminmax()) * 2 * dim**0.5 or 1.0
        self.x = Screen(x, centre, scale, low)
        self.y = self.x if self.within else Screen(y, centre, scale, low)
        self.centre, self.unit = centre, 2 * scale**2  # of half squared distances in units of the scale
        rows = (1 + self.x.error) * (1 + self.y.error)
        self.eta = rows * (1 + dim * torch.finfo(torch.float32).eps) - 1 + ROUNDING
        self.rho = 0.51 * torch.finfo(low).eps

    @property
    def trusted(self) -> bool:
        """Whether some of the products are as exact as they should be, which a processor's kernel might not be."""
        x, y, some = self.x, self.y, slice(0, BLOCK)
        true = x.low[:8].double() @ y.low[some].double().T
        found = self.products(some, some)[:8].double()
        norms = 2 * (x.half[:8, None] * y.half[some]).sqrt()
        return bool(((found - true).abs() <= self.eta * norms + self.rho * found.abs() + TINY).all())

    def products(self, a: slice, b: slice) -> Tensor:
        """Of the rows ``a`` of x and ``b`` of y, in low precision."""
        return self.x.low[a] @ self.y.low[b].T

    def norms(self, sign: int) -> tuple[Tensor, Tensor]:
        """Of all rows of x and of y: half their squared norms, as a bound below (−1) or above (1) needs them."""
        x, y = ((1 + sign * self.eta) * side.half + sign * TINY for side in (self.x, self.y))
        return x, y

    def rounded(self, products: Tensor, sign: int) -> Tensor:
        """The most (1) or the least (−1) that products can be before they were rounded."""
        more, less = products * (1 + self.rho), products * (1 - self.rho)
        return torch.maximum(more, less) if sign > 0 else torch.minimum(more, less)

    def near(self, reach_x: Tensor, reach_y: Tensor, known: dict[tuple[int, int], Tensor]) -> Iterator[Found]:
        """Block by block all pairs that may be no farther apart than one of the two rows reaches.

        Args:
            reach_x: squared distances ``(N,)``; a consumer may make them smaller between two blocks.
            reach_y: squared distances ``(M,)``.
            known: products of blocks that have been computed before; each is taken out when it is used.
        """
        (low_x, low_y), (up_x, up_y) = self.norms(-1), self.norms(1)
        for i, a in enumerate(parts(len(low_x))):
            for j, b in enumerate(parts(len(low_y))):
                if self.within and j < i:
                    continue
                reach, others = ((r / self.unit * (1 + ROUNDING)).float() for r in (reach_x[a, None], reach_y[b]))
                products = known.pop((i, j), None)
                products = self.products(a, b) if products is None else products
                margin = self.rounded(products.float(), 1).sub_(low_y[b].float()).add_(torch.maximum(reach, others))
                hits = margin >= low_x[a, None].float()
                place = (hits.triu_(1) if self.within and i == j else hits).view(-1).nonzero()[:, 0]
                p = products.view(-1)[place].double()
                x, y = place // products.shape[1] + a.start, place % products.shape[1] + b.start
                lower = low_x[x] + low_y[y] - self.rounded(p, 1)
                upper = up_x[x] + up_y[y] - self.rounded(p, -1)
                yield Found(x, y, lower * self.unit, upper * self.unit)

    def squared_differences(self, pairs: Found) -> Tensor:
        """|x − y|² of pairs of rows in float64, from the rows as they are."""
        chunk = max(1, CHUNK // len(self.centre))
        squares = [torch.zeros(0, dtype=torch.float64)]
        for i, j in zip(pairs.x.split(chunk), pairs.y.split(chunk), strict=True):
            difference = self.x.rows.index_select(0, i).double().sub_(self.y.rows.index_select(0, j).double())
            squares.append(difference.square_().sum(1))
        return torch.cat(squares)


def worth_it(x: Tensor, y: Tensor) -> bool:
    """Whether the rows lie on a CPU and are many."""
    return x.device.type == y.device.type == "cpu" and len(x) * len(y) >= FROM_PAIRS


def low_precision(dim: int) -> torch.dtype:
    """What products of rows of so many numbers are best taken in: bfloat16 where the processor has it."""
    return torch.bfloat16 if dim >= FROM_DIM and fast_bfloat16(False) else torch.float32


def parts(count: int) -> list[slice]:
    """Blocks of rows; the last may be up to twice as long as the others."""
    starts = list(range(0, count - count % BLOCK, BLOCK)) or [0]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]
