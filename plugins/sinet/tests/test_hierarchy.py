"""Similarity in a hierarchy: a tree small enough to check by hand, a slow search, and NLTK on the real WordNet."""

from __future__ import annotations

import math
import random
from collections import deque

import pytest
import torch

from noisyrun.api import UserError
from noisyrun_sinet import wordnet
from noisyrun_sinet.hierarchy import Hierarchy, HierarchyRows

TREE = {"drink": "product", "snack": "product", "cola": "drink", "tea": "drink", "chips": "snack"}
LEAVES = ["cola", "tea", "chips"]


def test_path_similarity_of_a_small_tree_by_hand() -> None:
    made = HierarchyRows(Hierarchy.of_tree(LEAVES, TREE)).dense()
    # cola–tea: up to drink and down, 2 edges; cola–chips: by way of product, 4 edges.
    assert torch.allclose(made, torch.tensor([[1, 1 / 3, 1 / 5], [1 / 3, 1, 1 / 5], [1 / 5, 1 / 5, 1]]))


def test_wu_palmer_of_a_small_tree_by_hand() -> None:
    made = HierarchyRows(Hierarchy.of_tree(LEAVES, TREE), "wup").dense()
    # Depth in nodes of drink is 2 and of product 1: 2·2/(2 + 2·2), and 2·1/(4 + 2·1).
    assert torch.allclose(made, torch.tensor([[1, 2 / 3, 1 / 3], [2 / 3, 1, 1 / 3], [1 / 3, 1 / 3, 1]]))


def test_leacock_chodorow_of_a_small_tree_by_hand() -> None:
    made = HierarchyRows(Hierarchy.of_tree(LEAVES, TREE), "lch").dense()
    assert made[0].tolist() == pytest.approx([1.0, 1 - math.log(3) / math.log(6), 1 - math.log(5) / math.log(6)])


def test_classes_without_a_common_ancestor_are_not_alike() -> None:
    for similarity in ("path", "lch", "wup"):
        made = HierarchyRows(Hierarchy.of_tree(["a", "b"], {"a": "x", "b": "y"}), similarity).dense()  # type: ignore[arg-type]
        assert made.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_class_above_another_is_one_edge_away() -> None:
    made = HierarchyRows(Hierarchy.of_tree(["drink", "cola"], TREE)).dense()
    assert made.tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_path_similarity_of_a_random_graph_agrees_with_breadth_first_search() -> None:
    draw = random.Random(0)
    above = {str(i): [str(j) for j in draw.sample(range(i), min(i, draw.choice([1, 1, 2, 3])))] for i in range(60)}
    classes = [str(i) for i in draw.sample(range(60), 25)]
    made = HierarchyRows(Hierarchy(classes, above.__getitem__)).dense()

    def up(node: str) -> dict[str, int]:
        found, queue = {node: 0}, deque([node])
        while queue:
            one = queue.popleft()
            for parent in above[one]:
                if parent not in found:
                    found[parent] = found[one] + 1
                    queue.append(parent)
        return found

    for i, a in enumerate(classes):
        for j, b in enumerate(classes):
            shortest = min(up(a)[node] + up(b)[node] for node in up(a).keys() & up(b).keys())
            assert made[i, j].item() == pytest.approx(1 / (1 + shortest))


@pytest.mark.parametrize("similarity", ["path", "lch", "wup"])
def test_rows_are_those_of_the_whole_matrix_whatever_is_asked_for(
    similarity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = HierarchyRows(Hierarchy.of_tree(LEAVES, TREE), similarity)  # type: ignore[arg-type]
    whole = rows.dense()
    monkeypatch.setattr("noisyrun_sinet.hierarchy._MEETINGS", 1)
    assert torch.equal(rows.take(torch.tensor([2, 0, 2])), whole[[2, 0, 2]])
    assert rows.take(torch.tensor([], dtype=torch.int64)).shape == (0, 3)


def test_reordering_the_classes_reorders_the_matrix() -> None:
    whole = HierarchyRows(Hierarchy.of_tree(LEAVES, TREE), "wup").dense()
    order = [2, 0, 1]
    made = HierarchyRows(Hierarchy.of_tree([LEAVES[i] for i in order], TREE), "wup").dense()
    assert torch.equal(made, whole[order][:, order])


def test_a_cycle_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="own ancestor"):
        Hierarchy.of_tree(["a"], {"a": "b", "b": "c", "c": "b"})


def test_a_class_that_is_not_in_the_tree_is_named() -> None:
    with pytest.raises(UserError, match="'juice'"):
        Hierarchy.of_tree(["cola", "juice"], TREE)


@pytest.mark.parametrize("similarity", ["path", "lch", "wup"])
def test_wordnet_similarity_agrees_with_nltk(similarity: str, wordnet_data: None) -> None:
    reader = wordnet.reader()
    names = [
        "dog.n.01",
        "cat.n.01",
        "person.n.01",
        "car.n.01",
        "truck.n.01",
        "entity.n.01",
        "einstein.n.01",
        "pledgee.n.01",
        "ottumwa.n.01",
        "merlin.n.01",
        "chloroform.n.01",
        "koala.n.01",
        "cliff.n.01",
        "espresso.n.01",
        "run.n.01",
        "german.n.01",
        "heteroptera.n.01",
    ]
    made = HierarchyRows(Hierarchy(names, wordnet.parents), similarity, wordnet.NOUN_DEPTH).dense()  # type: ignore[arg-type]
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            one, other = reader.synset(a), reader.synset(b)
            if similarity == "lch":  # by its formula: NLTK's own walks all of WordNet for the depth, 19
                edges = one.shortest_path_distance(other)
                want = max(0.0, -math.log((edges + 1) / (2 * 19)) / math.log(2 * 19))
            else:
                want = getattr(one, f"{similarity}_similarity")(other)
            assert made[i, j].item() == pytest.approx(want, abs=1e-6), (a, b)


def test_five_thousand_classes_are_read_row_by_row() -> None:
    nouns = [f"c{i}" for i in range(5000)]
    parents = {name: f"g{i % 70}" for i, name in enumerate(nouns)} | {f"g{i}": f"h{i % 7}" for i in range(70)}
    parents |= {f"h{i}": "root" for i in range(7)}
    rows = HierarchyRows(Hierarchy.of_tree(nouns, parents))
    made = rows.take(torch.tensor([0, 4999]))
    assert made.shape == (2, 5000)
    assert made[0, 70].item() == pytest.approx(1 / 3)  # the same group
    assert made[0, 1].item() == pytest.approx(1 / 7)  # groups 0 and 1 meet at the root
