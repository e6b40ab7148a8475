import json

import pytest
from PIL import Image

from noisyrun.api import UserError


@pytest.fixture
def change():
    """Changes what a JSON file holds."""

    def change(file, of):
        held = json.loads(file.read_text())
        of(held)
        file.write_text(json.dumps(held))

    return change


@pytest.fixture
def coco(tmp_path):
    """Three categories with ids 1, 3 and 90; four training images, one of them without an object; two of validation."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in ((90, "toothbrush"), (1, "person"), (3, "car"))]
    for part, held in (("train2014", {7: [1, 1, 90], 9: [3], 25: [], 30: [90]}), ("val2014", {42: [1], 73: [3, 90]})):
        images = [{"id": number, "file_name": f"COCO_{part}_{number:012d}.jpg"} for number in held]
        objects = [{"image_id": number, "category_id": one} for number, ones in held.items() for one in ones]
        table = {"images": images, "annotations": objects, "categories": categories}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(table))
        (root / part).mkdir()
        for image in images:
            Image.effect_noise((12, 10), 90).convert("RGB").save(root / part / image["file_name"])
    return root


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


@pytest.fixture
def products(tmp_path):
    """Three products with ids 0, 4 and 5, two training images each, one a palette PNG with transparency."""
    root = tmp_path / "aliproducts"
    train = [{"image_id": f"{c}_{n}.jpg", "class_id": c} for c in (0, 4, 5) for n in range(2)]
    val = [{"image_id": "v0.jpg", "class_id": "00004"}, {"image_id": "v1.jpg", "class_id": "5"}]
    for row in train:
        (root / "train" / f"{row['class_id']:05d}").mkdir(parents=True, exist_ok=True)
        Image.effect_noise((12, 10), 90).convert("RGB").save(
            root / "train" / f"{row['class_id']:05d}" / row["image_id"]
        )
    palette = Image.new("P", (12, 10), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(root / "train" / "00000" / "0_0.jpg", "PNG", transparency=0)
    (root / "val").mkdir()
    for row in val:
        Image.effect_noise((12, 10), 90).convert("RGB").save(root / "val" / row["image_id"])
    (root / "train.json").write_text(json.dumps({"images": train}))
    (root / "val.json").write_text(json.dumps({"images": val}))
    (root / "product_tree.json").write_text("{}")
    return root


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
        ("train.json", lambda held: held["images"][0].update(class_id="shoe"), "class_id 'shoe' is no whole number"),
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
