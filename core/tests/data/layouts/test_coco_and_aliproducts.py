import json

import layout_fakes
import pytest

from noisyrun.api import UserError


def test_categories_with_gaps_become_classes_in_their_order(coco, read):
    data = read(coco)
    assert data.task.multi
    assert data.task.classes == ("person", "car", "toothbrush")
    assert data.train.labels.multi_hot(3).int().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data.test.labels.multi_hot(3).int().tolist() == [[1, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("part", "of", "message"),
    [
        ("train2014", lambda held: held["annotations"].append({"image_id": 7, "category_id": 2}), "not listed: 2"),
        ("train2014", lambda held: held["annotations"].append({"image_id": 8, "category_id": 1}), "not listed: 8"),
        ("train2014", lambda held: held["images"].append(dict(held["images"][0])), "the id of another one"),
        ("train2014", lambda held: held["images"][0].update(file_name="../x.jpg"), "leads outside the root"),
        ("train2014", lambda held: held["images"][0].update(file_name="x.jpg"), "1 of 4 images are missing: x.jpg"),
        ("train2014", lambda held: held["annotations"][0].pop("category_id"), "entry 0 of 'annotations'"),
        ("train2014", lambda held: held.pop("images"), "holds no list 'images'"),
        ("train2014", lambda held: held["images"][0].update(file_name="x\0.jpg"), "has 'file_name' that is no text"),
        ("train2014", lambda held: held["categories"][0].update(name="\ud800"), "has 'name' that is no text"),
        ("val2014", lambda held: held["categories"][0].update(name="comb"), "not those of instances_train2014.json"),
    ],
)
def test_what_is_wrong_with_coco_is_named_in_a_line(coco, check, change, part, of, message):
    assert check(coco).problems == []
    change(coco / "annotations" / f"instances_{part}.json", of)
    problems = check(coco).problems
    assert any(message in line for line in problems), problems


def test_a_file_that_is_no_json_is_a_line(coco, read):
    (coco / "annotations" / "instances_train2014.json").write_text('{"images": [')
    with pytest.raises(UserError, match="is no JSON file"):
        read(coco)


@pytest.mark.parametrize("nested", [False, True])
def test_products_are_read_from_the_folders_of_their_ids(products, read, nested):
    if nested:
        for name, folder in (("v0.jpg", "00004"), ("v1.jpg", "00005")):
            (products / "val" / folder).mkdir()
            (products / "val" / name).rename(products / "val" / folder / name)
    data = read(products)
    assert data.task.classes == ("00000", "00004", "00005")
    assert data.train.labels.single.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test.labels.single.tolist() == [1, 2]
    # What is transparent is white, not the colour in the palette.
    assert (data.train.images.load(data.train.index[:1]) == 255).all()


@pytest.mark.parametrize(
    ("file", "of", "message"),
    [
        ("train.json", lambda held: [row.update(class_id=row["class_id"] + 1) for row in held["images"]], "off by one"),
        ("train.json", lambda held: held["images"][0].update(image_id="../../../x.jpg"), "leads outside the root"),
        ("train.json", lambda held: held["images"][0].update(image_id="x.jpg"), "1 of 6 images are missing"),
        ("train.json", lambda held: held["images"][0].update(class_id="shoe"), "no whole number (got 'shoe')"),
        ("train.json", lambda held: held["images"][0].update(class_id="9" * 5000), "is no whole number"),
        ("train.json", lambda held: held["images"][0].update(image_id="\ud800"), "has 'image_id' that is no text"),
        ("val.json", lambda held: held["images"][0].update(class_id=6), "1 classes that train.json lacks: 6"),
    ],
)
def test_what_is_wrong_with_products_is_named_in_a_line(products, check, change, file, of, message):
    assert check(products).problems == []
    change(products / file, of)
    problems = check(products).problems
    assert any(message in line for line in problems), problems


@pytest.fixture
def noisy(tmp_path):
    return layout_fakes.coco(tmp_path, noisy=True)


NOISY = "annotations/noisy_labels_train2014.csv"


def test_a_models_labels_are_observed_beside_cocos_own(noisy, read):
    data = read(noisy)
    # The model knows persons and toothbrushes: the image of a car is left out, and that without an object.
    assert data.task.classes == ("person", "toothbrush")
    assert data.train.labels.multi_hot(2).int().tolist() == [[1, 0], [1, 1]]
    assert data.train.truth.multi_hot(2).int().tolist() == [[1, 1], [0, 1]]
    assert data.test.labels.multi_hot(2).int().tolist() == [[1, 0], [0, 1]]
    assert any("observed labels: noisy_labels_train2014.csv" in note for note in data.notes)
    own = read(noisy, label="category_id")
    assert own.task.classes == ("person", "car", "toothbrush")
    assert len(own.train) == 4
    assert own.train.truth is None


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda rows: rows[1:], "the header must name image_id and category_id"),
        (lambda rows: [*rows, "7,"], "must give an image_id and a category_id in each row"),
        (lambda rows: rows[:1], "must give an image_id and a category_id in each row"),
        (lambda rows: [*rows, "7,person"], "is no such table"),
        (
            lambda rows: [*rows, "7,2"],
            "labels of 1 categories that instances_train2014.json does not list: 2 (category",
        ),
        (lambda rows: [*rows, "8,1"], "labels of 1 images that instances_train2014.json does not list: 8"),
    ],
)
def test_what_is_wrong_with_noisy_labels_is_named_in_a_line(noisy, check, rewrite, of, message):
    assert check(noisy).problems == []
    rewrite(noisy / NOISY, of)
    problems = check(noisy).problems
    assert any(message in line for line in problems), problems


TREE = {
    "00000": "products/sweets/chocolate",
    "00004": "products/drinks/cola",
    "00005": "products/drinks/cola",
    "products/drinks/cola": "products/drinks",
    "products/drinks": "products",
    "products/sweets/chocolate": "products/sweets",
    "products/sweets": "products",
}


@pytest.mark.parametrize(
    "tree",
    [
        {"drinks": {"cola": ["00004", 5]}, "sweets": {"chocolate": [0], "gum": [77]}},
        {"drinks": {"cola": {"4": {}, "5": None}}, "sweets": {"chocolate": {"0": []}}},
        [
            {"name": "drinks", "children": [{"name": "cola", "children": [{"id": 4}, {"id": "5", "name": "x"}]}]},
            {"id": "sweets", "children": [{"id": "chocolate", "children": ["0"]}]},
        ],
    ],
)
def test_the_product_tree_is_the_tree_over_classes(products, read, tree):
    (products / "product_tree.json").write_text(json.dumps(tree))
    assert read(products).train.text.parents == TREE


def test_a_tree_may_be_pairs_of_child_and_parent(products, read):
    pairs = {"0": "c1", "4": "c2", "5": "c2", "c1": "food", "c2": "food", "food": None}
    (products / "product_tree.json").write_text(json.dumps(pairs))
    parents = read(products).train.text.parents
    assert parents["00004"] == parents["00005"] == "products/c2"
    assert parents["products/c1"] == parents["products/c2"] == "products/food"


def test_another_tree_takes_the_place_of_the_published_one(products, read, tmp_path):
    (tmp_path / "tree.tsv").write_text("00004\tdrinks\n")
    assert read(products, tree=tmp_path / "tree.tsv").train.text.parents == {"00004": "drinks"}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ('{"0": "a", "a": "b", "b": "a"}', "a circle, or more than 32 levels, above class 00000"),
        ('{"x": ' * 40 + "[0]" + "}" * 40, "more than 32 levels"),
        ("[" * 100_000, "is no JSON tree of products"),
        ("{", "is no JSON tree of products"),
    ],
)
def test_what_is_no_tree_is_a_line(products, check, tree, message):
    (products / "product_tree.json").write_text(tree)
    problems = check(products).problems
    assert len(problems) == 1
    assert message in problems[0]
