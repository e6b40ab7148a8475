from importlib import import_module
from typing import get_args

from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts import LAYOUTS, detect


def test_every_layout_can_be_named_and_has_a_reader():
    formats = get_args(DataSettings.model_fields["format"].annotation)
    assert set(LAYOUTS) <= set(formats)
    for layout in LAYOUTS.values():
        assert callable(import_module(f"noisyrun.data.layouts.{layout.module}").scan)


def test_each_layout_is_told_by_its_files(clothing1m, food, webvision, cifar, coco, products, tmp_path):
    roots = (clothing1m("annotations"), food, webvision, cifar(10), cifar(100), coco, products, tmp_path)
    names = ["clothing1m", "food-101n", "webvision", "cifar-10n", "cifar-100n", "coco", "aliproducts", None]
    assert [detect(root) for root in roots] == names
