"""Tiny data sets in the layouts in which the great ones are published, as fixtures."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import check as checks
from noisyrun.data import load

# The tests of this folder share what they make up, and the table of traps in the docs with them.
sys.path[:0] = [str(Path(__file__).parent)]

layout_fakes = import_module("layout_fakes")


@pytest.fixture
def rewrite():
    """Changes the lines of a text file: a function of their list to another."""
    return layout_fakes.rewrite


@pytest.fixture
def change():
    """Changes what a JSON file holds."""
    return layout_fakes.change_json


@pytest.fixture
def read():
    """Reads a data set as a run does."""

    def read(path: Path, /, **data):
        return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))

    return read


@pytest.fixture
def check():
    """Checks a data set: its problems and warnings in one text each."""

    def check(root: Path, depth: str = "sample", **data):
        return checks.check(RunSettings(dataset=str(root), data=DataSettings(**data)), depth)

    return check


@pytest.fixture
def clothing1m(tmp_path):
    return lambda below="": layout_fakes.clothing1m(tmp_path, below)


@pytest.fixture
def food(tmp_path):
    return layout_fakes.food101n(tmp_path)


@pytest.fixture
def webvision(tmp_path):
    return layout_fakes.webvision(tmp_path)


@pytest.fixture
def webvision2(tmp_path):
    return lambda packed=True: layout_fakes.webvision2(tmp_path, packed)


@pytest.fixture
def save_human():
    return layout_fakes.save_human


@pytest.fixture
def cifar(tmp_path):
    return lambda kind=10, form="zip": layout_fakes.cifar(tmp_path, kind, form)


@pytest.fixture
def coco(tmp_path):
    return layout_fakes.coco(tmp_path)


@pytest.fixture
def products(tmp_path):
    return layout_fakes.aliproducts(tmp_path)


@pytest.fixture
def openimages(tmp_path):
    return layout_fakes.openimages(tmp_path)
