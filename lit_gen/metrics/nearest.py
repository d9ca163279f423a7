"""The nearest rows of each row by screening: one pass over products in low precision, then the few that are left."""

import torch
from torch import Tensor

from lit_gen.metrics.screening import BLOCK, Found, Screening, parts, worth_it
from lit_gen.precision import full_float32

FIRST = 3  # blocks beside each other that say how far the nearest are at most
HELD = 128  # pairs held for each row

Nearest = tuple[Tensor, Tensor]


@full_float32()
def screened_nearest(x: Tensor, y: Tensor, of_x: int, of_y: int = 0) -> tuple[Nearest, Nearest] | None:
    """Distances and positions of each row's nearest in the other set, for both sets from one pass.

    Args:
        x: ``(N, D)``.
        y: ``(M, D)``, or x itself, where no row is its own neighbour.
        of_x: neighbours in y of rows of x.
        of_y: neighbours in x of rows of y; of_x where y is x.

    Returns:
        ``(N, of_x)`` twice and ``(M, of_y)`` twice; None where float64 serves better, as where so many pairs are
        equally near that low precision leaves too much undecided.
    """
    if not worth_it(x, y) or max(of_x, of_y) >= BLOCK:
        return None
    screening = Screening(x, y)
    return Search(screening, of_x, of_x if screening.within else of_y).run() if screening.trusted else None


class Search:
    """A pass over all pairs that keeps those which may be among the nearest."""

    def __init__(self, screening: Screening, of_x: int, of_y: int) -> None:
        self.screening, self.ks = screening, (of_x, of_y)
        self.sizes = len(screening.x.half), len(screening.y.half)
        self.known: dict[tuple[int, int], Tensor] = {}
        self.reach = self.first()

    def run(self) -> tuple[Nearest, Nearest] | None:
        """None where more pairs than can be held are undecided."""
        held: list[Found] = []
        count, most = 0, HELD * sum(self.sizes)
        for found in self.screening.near(*self.reach, self.known):
            held.append(found)
            count += len(found.x)
            if count > most:
                held = [self.tightened(Found.joined(held))]
                count = len(held[0].x)
                if 2 * count > most:
                    return None
        found = self.tightened(Found.joined(held))
        distances = self.screening.squared_differences(found).sqrt()
        of_x, of_y = self.sides(found, distances)
        results = []
        for (rows, others, values), size, k in zip((of_x, of_y), self.sizes, self.ks, strict=True):
            order, starts, _ = by_row(rows, size, values, others)
            nearest = order[starts[:, None] + torch.arange(k)]
            results.append((values[nearest], others[nearest]))
        return results[0], results[1]

    def first(self) -> tuple[Tensor, Tensor]:
        """Squared distances within which each row has enough neighbours, from a few blocks; keeps their products."""
        screening, blocks = self.screening, [parts(size) for size in self.sizes]
        best = [torch.full((size, k), torch.inf) for size, k in zip(self.sizes, self.ks, strict=True)]
        norms = [half.float() for half in screening.norms(1)]
        for n in range(max(map(len, blocks))):
            for step in range(FIRST):
                i, j = n % len(blocks[0]), (n + step) % len(blocks[1])
                i, j = (min(i, j), max(i, j)) if screening.within else (i, j)
                if (i, j) in self.known:
                    continue
                a, b = blocks[0][i], blocks[1][j]
                self.known[i, j] = screening.products(a, b)
                half = norms[0][a, None] + norms[1][b] - screening.rounded(self.known[i, j].float(), -1)
                if screening.within and i == j:
                    half.fill_diagonal_(torch.inf)
                keep_smallest(best[0][a], half)
                if not (screening.within and i == j):
                    keep_smallest(best[0 if screening.within else 1][b], half.T)
        if screening.within:
            best[1] = best[0]
        of_x, of_y = (b[:, -1].double() * screening.unit if b.shape[1] else torch.full((len(b),), -1.0) for b in best)
        return of_x, of_y

    def tightened(self, found: Found) -> Found:
        """Those that may be among the nearest by what is known now, which also says what is looked for from now on."""
        for (rows, _, upper), reach, k in zip(self.sides(found, found.upper), self.reach, self.ks, strict=True):
            if k == 0:
                continue
            order, starts, counts = by_row(rows, len(reach), upper)
            enough = counts >= k
            reach[enough] = upper[order[starts[enough] + k - 1]].minimum(reach[enough])
        return found.where((found.lower <= self.reach[0][found.x]) | (found.lower <= self.reach[1][found.y]))

    def sides(self, found: Found, values: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """Rows of x, others and values, and the same from y's side; within one set each side has both directions."""
        of_x, of_y = (found.x, found.y, values), (found.y, found.x, values)
        if self.screening.within:
            of_x = of_y = torch.cat([found.x, found.y]), torch.cat([found.y, found.x]), values.repeat(2)
        return of_x, of_y


def keep_smallest(best: Tensor, values: Tensor) -> None:
    """Puts the smallest of each row of ``best`` ``(n, k)`` and ``values`` ``(n, m)`` into ``best``."""
    k = best.shape[1]
    if k:
        smallest = values.contiguous().topk(min(k, values.shape[1]), largest=False).values
        best.copy_(torch.cat([best, smallest], 1).topk(k, largest=False).values)


def by_row(rows: Tensor, count: int, *keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Order by row and within it by the keys, the first one first; where each row begins; its length."""
    order = torch.arange(len(rows))
    for key in (*reversed(keys), rows):
        order = order[key[order].argsort(stable=True)]
    counts = rows.bincount(minlength=count)
    return order, counts.cumsum(0) - counts, counts
