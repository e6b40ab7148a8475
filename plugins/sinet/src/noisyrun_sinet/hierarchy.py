"""Similarity of classes in a hierarchy (WordNet, a product tree), read by rows.

Two classes meet in their common ancestors, so one row of the matrix needs the ancestors of one class and the classes
below each of those: no pair of classes is ever visited one by one, and 50,000 classes cost memory for their ancestors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from noisyrun.api import Rows, UserError

Similarity = Literal["path", "lch", "wup"]

#: (row, class) meetings held at once while rows are computed: bounds the memory of `HierarchyRows.take`.
_MEETINGS = 1 << 22


class Hierarchy:
    """The ancestors of each class, with the edges between, and the depth of every ancestor.

    Parameters
    ----------
    classes
        The node of each class. Two classes may share one.
    parents
        The nodes right above a node; none for a root.

    Attributes
    ----------
    nodes
        All classes' nodes and their ancestors, sorted by name.
    starts, ancestors, edges
        int64 [C + 1], [L], [L]: class c has the ancestors (itself included) ``ancestors[starts[c]:starts[c + 1]]``,
        so many edges away.
    low, high
        int64 [nodes]: edges to the root along the shortest and along the longest way.

    Raises
    ------
    UserError
        When the parents form a cycle.
    """

    def __init__(self, classes: Sequence[str], parents: Callable[[str], Iterable[str]]) -> None:
        above: dict[str, tuple[str, ...]] = {}
        distances = [_ancestors(node, parents, above) for node in classes]
        self.nodes = sorted(above)
        number = {node: i for i, node in enumerate(self.nodes)}
        self.starts = torch.tensor([0, *(len(found) for found in distances)]).cumsum(0)
        self.ancestors = torch.tensor([number[node] for found in distances for node in found], dtype=torch.int64)
        self.edges = torch.tensor([edge for found in distances for edge in found.values()], dtype=torch.int64)
        self.classes = torch.tensor([number[node] for node in classes], dtype=torch.int64)
        self._above = above
        depths = _depths(above)
        self.low = torch.tensor([depths[node][0] for node in self.nodes])
        self.high = torch.tensor([depths[node][1] for node in self.nodes])

    def around(self) -> Tensor:
        """int64 [L]: as `edges`, along the shortest way of any kind: also up beyond the ancestor and down again."""
        over = [_ancestors(node, self._above.__getitem__, self._above) for node in self.nodes]
        starts, names = self.starts.tolist(), self.nodes
        found = []
        for start, stop in pairwise(starts):
            up = {
                names[node]: edge
                for node, edge in zip(self.ancestors[start:stop].tolist(), self.edges[start:stop].tolist())
            }
            found += [
                min(up[top] + edge for top, edge in over[node].items()) for node in self.ancestors[start:stop].tolist()
            ]
        return torch.tensor(found, dtype=torch.int64)

    @classmethod
    def of_tree(cls, classes: Sequence[str], parents: Mapping[str, str]) -> Hierarchy:
        """From a table child → parent.

        Raises
        ------
        UserError
            When a class is not in the tree, or the table has a cycle.
        """
        known = set(parents) | set(parents.values())
        lost = [name for name in classes if name not in known]
        if lost:
            raise UserError(
                f"tree: {len(lost)} of {len(classes)} classes are not in it ({', '.join(map(repr, lost[:5]))}); "
                "its children must be class names (or wnids, where the classes have some)"
            )
        return cls(classes, lambda node: (parents[node],) if node in parents else ())


class HierarchyRows(Rows):
    """S_w: similarity of the classes in a hierarchy, in [0, 1]; 0 for classes without a common ancestor.

    Source: section 3.1. The paper takes the distance of the shortest path; a similarity is what can be added to a
    cosine, so that ``path`` is 1 / (1 + edges). ``lch`` is −log((1 + edges) / 2d) over its largest value, with d the
    depth of the hierarchy in nodes, and ``wup`` 2·depth / (edges + 2·depth) with the depth in nodes of the deepest
    common ancestor.

    Parameters
    ----------
    depth
        lch: d; the deepest of the classes by default.
    """

    def __init__(self, hierarchy: Hierarchy, similarity: Similarity = "path", depth: int | None = None) -> None:
        self.similarity = similarity
        self.tree = hierarchy
        count = len(hierarchy.classes)
        self.shape = (count, count)
        self.depth = int(hierarchy.high.max()) + 1 if depth is None else depth
        # Wu-Palmer counts the shortest way to the chosen ancestor, which may lead over a higher one.
        self._edges = hierarchy.around() if similarity == "wup" else hierarchy.edges
        lengths = hierarchy.starts.diff()
        # The same table the other way: the classes below each node, with their edges.
        order = hierarchy.ancestors.argsort(stable=True)
        self._below = torch.repeat_interleave(torch.arange(count), lengths)[order]
        self._below_edges = self._edges[order]
        self._sizes = torch.bincount(hierarchy.ancestors, minlength=len(hierarchy.nodes))
        self._below_starts = torch.cat([self._sizes.new_zeros(1), self._sizes.cumsum(0)])
        ends = self._sizes[hierarchy.ancestors].cumsum(0)[hierarchy.starts[1:] - 1]
        self._meetings = ends.diff(prepend=ends.new_zeros(1))

    def take(self, rows: Tensor) -> Tensor:
        wanted = rows.cpu()
        parts = [self._similar(part) for part in self._chunks(wanted)]
        return torch.cat(parts).to(rows.device) if parts else torch.zeros(0, self.shape[1], device=rows.device)

    def _chunks(self, rows: Tensor) -> Iterable[Tensor]:
        if len(rows) == 0:
            return ()
        most = int(self._meetings[rows].max())
        return rows.split(max(1, _MEETINGS // max(most, self.shape[1])))

    def _similar(self, rows: Tensor) -> Tensor:
        """float32 [r, C] of a few rows."""
        cells, edges, node = self._meet(rows)
        size = len(rows) * self.shape[1]
        far = torch.iinfo(torch.int64).max
        if self.similarity == "wup":
            found = self._wu_palmer(rows, cells, edges, node, size)
        else:
            shortest = torch.full((size,), far).scatter_reduce_(0, cells, edges, "amin")
            met = shortest < far
            steps = 1.0 + shortest.where(met, torch.zeros(())).float()
            if self.similarity == "path":
                found = met / steps
            else:
                longest = torch.tensor(2.0 * self.depth).log()
                found = met * (1 - steps.log() / longest).clamp(min=0)
        return found.float().reshape(len(rows), self.shape[1])

    def _meet(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every meeting of a row's class with a class, by way of a common ancestor.

        Returns
        -------
        cells, edges, node
            int64 [L]: row position · C + class; edges of the way through the ancestor; the ancestor.
        """
        tree = self.tree
        entry, of_row = _ranges(tree.starts[rows], tree.starts[rows + 1])
        node = tree.ancestors[entry]
        below, of_entry = _ranges(self._below_starts[node], self._below_starts[node + 1])
        cells = of_row[of_entry] * self.shape[1] + self._below[below]
        return cells, self._edges[entry][of_entry] + self._below_edges[below], node[of_entry]

    def _wu_palmer(self, rows: Tensor, cells: Tensor, edges: Tensor, node: Tensor, size: int) -> Tensor:
        """Wu-Palmer by the deepest common ancestor: the deepest along shortest ways, then by name, as in NLTK."""
        tree, names = self.tree, len(self.tree.nodes)
        own = (node == tree.classes[rows][cells // self.shape[1]]) | (node == tree.classes[cells % self.shape[1]])
        rank = (tree.low[node] * 2 + own) * names + (names - 1 - node)
        best = torch.full((size,), -1).scatter_reduce_(0, cells, rank, "amax")
        chosen = rank == best[cells]
        depth = 2.0 * (tree.high[node[chosen]] + 1)
        found = torch.zeros(size)
        found[cells[chosen]] = depth / (edges[chosen] + depth)
        return found


def _ranges(starts: Tensor, stops: Tensor) -> tuple[Tensor, Tensor]:
    """All positions of several ranges, one after the other, and the number of the range each is in."""
    lengths = stops - starts
    which = torch.repeat_interleave(torch.arange(len(starts)), lengths)
    first = lengths.cumsum(0) - lengths
    return torch.arange(len(which)) - first[which] + starts[which], which


def _ancestors(node: str, parents: Callable[[str], Iterable[str]], above: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """A node and all nodes above it, with the edges of the shortest way there; fills `above` with their parents."""
    found, layer, edges = {node: 0}, [node], 0
    while layer:
        edges += 1
        upper: list[str] = []
        for one in layer:
            if one not in above:
                above[one] = tuple(parents(one))
            for parent in above[one]:
                if parent not in found:
                    found[parent] = edges
                    upper.append(parent)
        layer = upper
    return found


def _depths(above: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[int, int]]:
    """Edges from each node to a root, along the shortest and the longest way."""
    depths: dict[str, tuple[int, int]] = {}
    for start in above:
        stack, open_nodes = [start], set()
        while stack:
            node = stack[-1]
            todo = [parent for parent in above[node] if parent not in depths]
            if node in depths or not todo:
                if node not in depths:
                    over = [depths[parent] for parent in above[node]]
                    depths[node] = (
                        1 + min(low for low, _ in over) if over else 0,
                        1 + max(high for _, high in over) if over else 0,
                    )
                open_nodes.discard(node)
                stack.pop()
                continue
            if node in open_nodes:
                raise UserError(f"tree: {node!r} is its own ancestor; a tree has no cycles")
            open_nodes.add(node)
            stack.extend(todo)
    return depths
