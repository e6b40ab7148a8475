from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from noisyrun.config.fields import default_text, find, leaves, parse, type_name


class Inner(BaseModel):
    learning_rate: float = 0.1


class Model(BaseModel):
    inner: Inner = Field(default_factory=Inner)
    maybe: Inner | None = None
    free: dict[str, Any] = Field(default_factory=dict)
    on: bool = False


def test_a_path_is_found_with_dashes_and_underscores_as_one():
    assert find(Model, ("inner", "learning-rate")).path == ("inner", "learning_rate")
    assert find(Model, ("maybe", "learning_rate")).path == ("maybe", "learning_rate")


@pytest.mark.parametrize("path", [("nothing",), ("inner", "lr"), ("on", "deeper")])
def test_a_path_that_leads_nowhere_is_none(path):
    assert find(Model, path) is None


def test_a_free_dictionary_takes_any_key_as_it_stands():
    assert find(Model, ("free", "drop-path", "x")).path == ("free", "drop-path", "x")


def test_leaves_are_all_fields_that_are_no_groups():
    assert [path for path, _ in leaves(Model)] == [
        ("inner", "learning_rate"),
        ("maybe", "learning_rate"),
        ("free",),
        ("on",),
    ]


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (bool, True, True),
        (bool, "no", False),
        (bool | None, "ON", True),
        (int | None, "none", None),
        (int | None, "3", "3"),
        (str | None, "none", "none"),
        (str | None, "null", None),
        (Path | None, "none", "none"),
        (Literal["none", "a"] | None, "none", "none"),
        (Literal[1, 2], "2", 2),
        (tuple[int, ...], "1, 2", ["1", "2"]),
        (tuple[int, ...], "[1, 2]", [1, 2]),
        (tuple[int, ...], "", []),
        (Annotated[list[str], "x"], "a,b", ["a", "b"]),
        (frozenset[str], "a", ["a"]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Inner, '{"learning_rate": 1}', {"learning_rate": 1}),
        (Any, "1.5", 1.5),
        (Any, "word", "word"),
        (float, "1e-3", "1e-3"),
    ],
)
def test_a_word_means_what_the_field_says(annotation, text, value):
    assert parse(annotation, text) == value


@pytest.mark.parametrize(
    ("annotation", "text", "problem"),
    [
        (float, True, "needs a value"),
        (float, False, "--no-"),
        (dict[str, int], "a=1", "JSON"),
        (list[int], "[1", "JSON"),
    ],
)
def test_a_word_that_means_nothing_to_the_field_is_refused(annotation, text, problem):
    with pytest.raises(ValueError, match=problem):
        parse(annotation, text)


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (float, "number"),
        (int | None, "int"),
        (Literal["a", "b"], "a|b"),
        (tuple[int, ...], "list of int"),
        (int | str, "int or text"),
        (dict[str, int], "JSON"),
    ],
)
def test_types_have_names_people_read(annotation, name):
    assert type_name(annotation) == name


def test_defaults_read_as_one_would_type_them():
    class Defaults(BaseModel):
        a: float = 5e-4
        b: bool = True
        c: tuple[int, ...] = (1, 2)
        d: int | None = None

    assert [default_text(info) for info in Defaults.model_fields.values()] == ["0.0005", "yes", "1,2", ""]
