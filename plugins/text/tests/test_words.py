from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from noisyrun.api import Text, TextEncoder
from noisyrun_text.words import EncodedRows, class_texts, readable, sample_texts


class Counting(TextEncoder):
    """One column, the length of a text; remembers what it was asked."""

    dim = 1

    def __init__(self) -> None:
        self.asked: list[str] = []

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.asked += texts
        return torch.tensor([[[float(len(text))]] for text in texts]), torch.ones(len(texts), 1, dtype=torch.bool)


def test_underscores_of_folder_names_become_spaces() -> None:
    assert readable("golden__retriever_dog") == "golden retriever dog"


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("name", ["a b", "c"]),
        ("description", ["first", "c"]),
        ("name+description", ["a b. first", "c"]),
    ],
)
def test_a_class_without_description_is_its_name(which: str, expected: list[str]) -> None:
    assert class_texts(Text(names=("a_b", "c"), descriptions=(" first ", "")), which) == expected


def test_sample_texts_join_what_the_data_has_and_skip_what_is_empty(text: Text) -> None:
    found = sample_texts(text, ("titles", "descriptions", "tags"))
    assert found is not None
    rows, read = found
    assert rows == 4
    assert read([1, 2, 3]) == ["red car. engine doors", "", "long ears"]


def test_data_without_the_chosen_texts_gives_none(text: Text) -> None:
    assert sample_texts(text, ("descriptions",)) is None


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["in memory", "in a file"])
def test_rows_are_encoded_once_when_first_read(memory: int) -> None:
    encoder = Counting()
    rows = EncodedRows(encoder, lambda some: ["x" * r for r in some], 6, memory)
    first = rows.take(torch.tensor([4, 2, 4]))
    again = rows.take(torch.tensor([2, 5]))
    assert first.tolist() == [[4.0], [2.0], [4.0]]
    assert again.tolist() == [[2.0], [5.0]]
    assert sorted(encoder.asked) == ["xx", "xxxx", "xxxxx"]
