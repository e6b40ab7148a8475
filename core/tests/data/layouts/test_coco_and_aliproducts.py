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
