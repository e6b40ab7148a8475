"""What is published in a layout of its own is the same when it is read from a pack."""

import pytest

FORMS = pytest.mark.parametrize("form", ["shards", "parquet"])


@FORMS
def test_verification_and_both_labels_of_clothing1m_are_kept(clothing1m, round_trip, form):
    round_trip(clothing1m(), form)


@FORMS
def test_verification_of_food_is_kept(food, round_trip, form):
    round_trip(food, form)


@FORMS
def test_words_synsets_and_queries_of_webvision_are_kept(webvision, round_trip, form):
    round_trip(webvision, form)


@FORMS
def test_pixels_of_cifar_are_kept(cifar, round_trip, form):
    round_trip(cifar(), form)
