import pytest

ALL = "train_filelist_all.txt"


def test_lists_synsets_queries_and_words_are_read(webvision, read):
    data = read(webvision)
    assert data.task.num_classes == 1000
    assert data.task.classes[60] == "thing 61"
    assert data.train.text.wnids[60] == "n00000061"
    assert data.train.labels.single.tolist() == [0, 0, 1, 1, 60, 60] * 2
    assert [data.train.source_names[source] for source in data.train.source] == ["google"] * 6 + ["flickr"] * 6
    assert data.train.rank.tolist() == [1, 2] * 6
    assert data.train.text.titles[:3] == ["title 1.1", "title 1.2", "title 2.1"]
    assert data.train.text.sample_descriptions[-1] == "about 3"
    assert data.train.text.tags[0] == ()
    assert data.train.text.tags[-1] == ("tag", "q3")
    assert data.test.labels.single.tolist() == [0, 60]


def test_mini_is_googles_images_of_the_first_fifty_classes(webvision, read):
    data = read(webvision, format="mini-webvision")
    assert data.task.num_classes == 50
    assert data.train.labels.single.tolist() == [0, 0, 1, 1]
    assert data.train.source_names == ("google",)
    assert data.test.labels.single.tolist() == [0]


def test_lists_of_the_two_engines_do_without_that_of_all(webvision, read):
    whole = read(webvision)
    for name in (ALL, "train_meta_list_all.txt"):
        (webvision / "info" / name).unlink()
    assert read(webvision).digests["labels"] == whole.digests["labels"]


def test_words_may_be_absent(webvision, read, check):
    (webvision / "google" / "q0002.json").unlink()
    data = read(webvision)
    assert data.train.text.titles[2] == ""
    assert data.train.text.titles[4] == "title 3.1"
    assert any("1 of 6 JSON files" in note and "google/q0002.json" in note for note in data.notes)
    (webvision / "info" / "train_meta_list_all.txt").unlink()
    report = check(webvision)
    assert report.problems == []
    assert any("no titles, descriptions and tags" in line for line in report.warnings)


def test_a_sound_set_has_no_problems(webvision, check):
    report = check(webvision)
    assert report.problems == []
    assert dict(report.facts)["train: tags"] == "6 samples"
    assert dict(report.facts)["train: source"] == "2: google, flickr"


def _labels(change):
    def rows(lines):
        for line in lines:
            path, _, label = line.rpartition(" ")
            yield f"{path} {change(int(label))}"

    return rows


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (ALL, _labels(lambda label: label + 1), "labels are off by one"),
        (ALL, _labels(lambda label: label or 3), "4 labels are not those of their query"),
        (ALL, _labels(lambda label: 4999 if label == 60 else label), "names the 1,000 classes of WebVision 1.0"),
        (
            "synsets.txt",
            lambda rows: [f"n{n:08d} a {n}" for n in range(5000)],
            "names the 5,000 classes of WebVision 2.0",
        ),
        ("train_meta_list_all.txt", _labels(lambda place: place - 1), "off by one, entries are counted from 1"),
        (
            "train_meta_list_all.txt",
            _labels(lambda place: place + 5),
            "12 entries of the meta list are not in their JSON",
        ),
        ("train_meta_list_all.txt", lambda rows: rows[1:], "the lists are not parallel"),
        ("train_meta_list_all.txt", lambda rows: ["../x.json 1", *rows[1:]], "'../x.json' leads outside"),
        (ALL, lambda rows: ["/etc/passwd 0", *rows[1:]], "leads outside the root"),
        ("val_filelist.txt", _labels(lambda label: label + 1000), "names the 1,000 classes of WebVision 1.0"),
        ("val_filelist.txt", _labels(lambda label: label - 61), "label -61 (line 1) is out of range"),
        ("val_filelist.txt", lambda rows: [*rows, "val\0.jpg 1"], "val_filelist.txt is no text: it holds zero bytes"),
        ("train_meta_list_all.txt", lambda rows: ["x.json " + "9" * 5000, *rows[1:]], "is no path and label"),
        ("val_filelist.txt", lambda rows: [*rows, "val3.jpg 1"], "1 of 3 images are missing: val3.jpg"),
        (ALL, lambda rows: ["google/q0001/x.jpg,0", *rows[1:]], "is no path and label"),
    ],
)
def test_what_is_wrong_is_named_in_a_line(webvision, check, rewrite, file, change, message):
    rewrite(webvision / "info" / file, change)
    problems = check(webvision).problems
    assert any(message in line for line in problems), problems


def test_a_json_file_that_is_none_is_named(webvision, check):
    (webvision / "google" / "q0001.json").write_text("{")
    assert any(
        "1 JSON files cannot be read (without one, its images have no words): google/q0001.json" in line
        for line in check(webvision).problems
    )


def test_validation_labels_of_the_first_version_under_the_synsets_of_the_second_are_named(webvision, check, rewrite):
    rewrite(webvision / "info" / "synsets.txt", lambda rows: [f"n{n:08d} a {n}" for n in range(5000)])
    rewrite(webvision / "info" / "queries_synsets_map.txt", lambda rows: ["1 1", "2 2", "3 5000"])
    for file in (ALL, "train_filelist_google.txt"):
        rewrite(webvision / "info" / file, _labels(lambda label: 4999 if label == 60 else label))
    report = check(webvision)
    assert [line for line in report.problems if "val_filelist.txt: labels run to 60" in line] == report.problems
    for format in ("webvision", "mini-webvision"):
        problems = check(webvision, format=format).problems
        assert any("names the 5,000 classes of WebVision 2.0, and this is read as" in line for line in problems), (
            problems
        )


def test_words_that_are_no_text_are_read_as_far_as_they_are(webvision, read):
    (webvision / "google" / "q0001.json").write_text('[{"title": "a\\ud800", "tags": ["\\ud800", 3]}, {"title": 5}]')
    text = read(webvision).train.text
    assert text.titles[:2] == ["a?", ""]
    assert text.tags[0] == ("?", "3")
