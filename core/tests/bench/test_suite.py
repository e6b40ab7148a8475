from __future__ import annotations

from pathlib import Path

import pytest

from noisyrun.api.errors import UserError
from noisyrun.bench.suite import CROSS_ENTROPY, Suite, contradictions, load

HEAD = """
title = "A suite"
[[data]]
name = "digits"
noise = ["symmetric:0.2", "symmetric:0.4"]
[[method]]
name = "SINet"
weighter = "sinet"
[[method]]
name = "SMP"
corrector = "smp"
sweep = { "prototypes.p" = [4, 8] }
"""


def read(folder: Path, text: str, **more: str) -> Suite:
    """A suite of some text, with other files beside it."""
    for name, content in {"s": text, **more}.items():
        (folder / f"{name}.toml").write_text(content, encoding="utf-8")
    return load(folder / "s.toml")


def refusal(folder: Path, text: str, **more: str) -> list[str]:
    """The lines with which a suite is refused."""
    with pytest.raises(UserError) as error:
        read(folder, text, **more)
    return str(error.value).splitlines()


def test_keys_that_are_not_its_own_are_settings_of_a_method(tmp_path: Path) -> None:
    suite = read(tmp_path, HEAD)
    assert suite.method[0].settings == {"weighter": "sinet"}
    assert suite.data[0].settings == {}


def test_defaults_are_three_seeds_the_rules_and_an_honest_headline(tmp_path: Path) -> None:
    suite = read(tmp_path, HEAD)
    assert suite.seeds == (0, 1, 2)
    assert (suite.fairness.cap, suite.fairness.one_setting) == (10.0, True)
    assert suite.headline == "accuracy.best_noisy_val"


def test_a_number_of_seeds_counts_from_0(tmp_path: Path) -> None:
    assert read(tmp_path, "seeds = 2\n" + HEAD).seeds == (0, 1)


@pytest.mark.parametrize("seeds", ["0", "[1, 1]", "[-1]", "[]"])
def test_seeds_must_be_some_and_each_once(tmp_path: Path, seeds: str) -> None:
    assert any("seeds" in line for line in refusal(tmp_path, f"seeds = {seeds}\n" + HEAD))


def test_no_cap_is_inf_and_survives_the_results_folder(tmp_path: Path) -> None:
    suite = read(tmp_path, HEAD + "[fairness]\ncap = inf\n")
    again = Suite.model_validate_json(suite.model_dump_json())
    assert not (again.fairness.cap or float("inf")) < 1e9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "[fairness]\ncapp = 3\n", "s.toml: fairness.capp: is no setting; did you mean cap?"),
        ("method = []\n" + HEAD.split("[[method]]")[0], "s.toml: suite: [[method]]: needs one at least"),
        ("titel = 'x'\n" + HEAD, "s.toml: titel: is no setting; did you mean title?"),
        (HEAD.replace('title = "A suite"', ""), "s.toml: title: must be given"),
        (HEAD.replace('name = "digits"', ""), "s.toml: data[0].name: must be given"),
        (HEAD + "[fairness]\ncap = 0\n", "s.toml: fairness.cap: must be greater than 0 (got 0)"),
        (HEAD.replace('"SMP"', '"SINet"'), "s.toml: suite: [[method]]: two are called 'SINet'"),
        (
            HEAD.replace('"SMP"', '"cross\\u0000entropy"'),
            "s.toml: method[1].name: must be a name of printable characters",
        ),
        (HEAD + '[[method]]\nname = "B"\nsweep = { "p" = [] }\n', "method[2]: sweep: p needs one value at least"),
        (
            HEAD + '[[method]]\nname = "B"\nsweep = { "p" = [1, 2, 1] }\n',
            "sweep: p needs one value at least, each once",
        ),
        (HEAD + '[[data]]\nname = "d"\nnoise = ["none", "none"]\n', "data[1]: noise: needs one at least, each once"),
        (HEAD + '[[data]]\nname = "d"\nnoise = []\n', "data[1]: noise: needs one at least, each once"),
        (HEAD + '[[claim]]\ntext = "x"\nbetter = "SINet"\n', "relation better is about better and worse, two methods"),
        (HEAD + '[[claim]]\ntext = "x"\nrelation = "best"\nsweep = "SMP"\n', "needs at, the values said to be best"),
    ],
)
def test_what_does_not_fit_the_format_is_one_line_that_says_where(tmp_path: Path, text: str, said: str) -> None:
    lines = refusal(tmp_path, text)
    assert len(lines) == 1
    assert said in lines[0]


CLAIM = '[[claim]]\ntext = "x"\nbetter = "SINet"\nworse = "SMP (p=4)"\n'
SWEEP = '[[claim]]\ntext = "x"\nrelation = "best"\nsweep = "SMP"\nat = [8]\n'
PUBLISHED = '[[published]]\nsource = "T"\ndata = "D"\nmeasure = "M"\nfigures = { "SINet" = 90 }\n'


def test_what_names_something_of_the_suite_is_taken(tmp_path: Path) -> None:
    suite = read(tmp_path, HEAD + CLAIM + SWEEP + PUBLISHED + 'others = { "Forward" = 80 }\n')
    assert list(contradictions(suite)) == []
    assert suite.published[0].others == {"Forward": 80.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLAIM.replace('"SINet"', '"SInet+"'), "claim[0].better: no method 'SInet+' (did you mean SINet?)"),
        (CLAIM.replace("p=4", "p=5"), "claim[0].worse: no method 'SMP (p=5)' (did you mean SMP (p="),
        (
            CLAIM + 'measure = "acuracy.last"\n',
            "claim[0].measure: no measure 'acuracy.last' (did you mean accuracy.last?)",
        ),
        (CLAIM + 'data = "digit"\n', "claim[0]: no data set 'digit' (did you mean digits?)"),
        (CLAIM + 'noise = "pair*"\n', "claim[0]: no noise 'pair*'"),
        (SWEEP.replace('"SMP"', '"SINet"'), "claim[0].sweep: no method 'SINet' with a sweep"),
        (SWEEP + 'setting = "p"\n', "claim[0].setting: must be one of prototypes.p"),
        (SWEEP.replace("[8]", "[9]"), "claim[0].at: prototypes.p takes 4, 8 (got 9)"),
        (SWEEP.replace("[8]", "[4, 8]"), "claim[0].at: names all values"),
        (SWEEP.replace('"best"', '"plateau"'), "claim[0].at: a plateau has two values or more"),
        (PUBLISHED.replace("SINet", "SMP"), "published[0].figures: no method 'SMP'; of other methods say others"),
        (PUBLISHED + 'ours = "top1"\n', "published[0].ours: no measure 'top1'"),
        (PUBLISHED + 'on = "cifar"\n', "published[0]: no data set 'cifar'"),
        ('[[method]]\nname = "cross entropy"\nweighter = "sinet"\n', "method: two are called 'cross entropy'"),
        ('[[method]]\nname = "SMP (p=4)"\n', "method: two are called 'SMP (p=4)'"),
        (
            '[[method]]\nname = "T"\non = [{ data = "dgits" }]\n',
            "method T: on: no data set 'dgits' (did you mean",
        ),
        ('[settings]\nweighter = "sinet"\n', "settings: weighter judges labels"),
        ('[settings]\n"corrector.smp.k" = 3\n', "settings: corrector.smp.k judges labels"),
        ('[[data]]\nname = "e"\nrecipe = "smp"\n', "data e: recipe judges labels"),
    ],
)
def test_what_names_nothing_of_the_suite_is_refused_with_what_may_be_meant(
    tmp_path: Path, text: str, said: str
) -> None:
    lines = refusal(tmp_path, HEAD + text)
    assert len(lines) == 1
    assert lines[0].startswith(f"s.toml: {said}")


def test_a_headline_that_no_summary_has_is_refused(tmp_path: Path) -> None:
    assert "no measure" in refusal(tmp_path, 'measure = "accuracy"\n' + HEAD)[0]


def test_nothing_rises_with_a_setting_without_an_order(tmp_path: Path) -> None:
    text = HEAD.replace("[4, 8]", '["a", "b"]') + SWEEP.replace('"best"', '"rises"').replace("at = [8]", "")
    assert "has no order" in refusal(tmp_path, text)[0]


def test_a_sweep_of_two_settings_must_say_which_is_meant(tmp_path: Path) -> None:
    text = HEAD.replace("= [4, 8] }", '= [4, 8], "corrector.k" = [1, 2] }')
    assert "must be one of prototypes.p, corrector.k" in refusal(tmp_path, text + SWEEP)[0]
    assert read(tmp_path, text + SWEEP + 'setting = "prototypes.p"\n').claim[0].at == (8,)


def test_every_line_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    wrong = CLAIM.replace('"SINet"', '"X"').replace("SMP (p=4)", "Y") + PUBLISHED.replace("SINet", "Z")
    assert len(refusal(tmp_path, HEAD + wrong)) == 3


def test_no_file_and_no_toml_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no suite .*nothing\.toml"):
        load(tmp_path / "nothing.toml")
    assert "cannot be read as TOML" in refusal(tmp_path, "title = ")[0]


def test_extends_replaces_but_for_settings_and_rules(tmp_path: Path) -> None:
    base = HEAD.replace('title = "A suite"', 'title = "Base"\nseeds = 5\n[settings]\nepochs = 9\ntrain.amp = "off"')
    suite = read(
        tmp_path,
        'extends = "base.toml"\ntitle = "Small"\n[settings]\ntrain.dropout = 0.5\n[fairness]\ncap = 3\n',
        base=base + "[fairness]\nverification = false\n",
    )
    assert (suite.title, suite.seeds, len(suite.method)) == ("Small", (0, 1, 2, 3, 4), 2)
    assert suite.settings == {"epochs": 9, "train": {"amp": "off", "dropout": 0.5}}
    assert (suite.fairness.cap, suite.fairness.verification) == (3.0, False)


def test_a_suite_that_extends_itself_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, 'extends = "other.toml"\n', other='extends = "s.toml"\n')
    assert said[0].endswith("extends itself")


def test_paths_are_relative_to_the_data_folder_or_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "base.toml").write_text(
        HEAD.replace('name = "digits"', 'name = "digits"\ndataset = "{data}/x"\ndata.classes = "{suite}/c.tsv"'),
        encoding="utf-8",
    )
    (tmp_path / "s.toml").write_text('extends = "{suite}/below/base.toml"\n', encoding="utf-8")
    suite = load(tmp_path / "s.toml", data=Path("/sets"))
    assert suite.data[0].settings == {"dataset": "/sets/x", "data": {"classes": f"{tmp_path}/below/c.tsv"}}


def test_without_a_data_folder_its_paths_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOISYRUN_DATA", raising=False)
    said = refusal(tmp_path, HEAD.replace('name = "digits"', 'name = "digits"\ndataset = "{data}/x"'))
    assert said == ["s.toml: '{data}/x' needs the folder of the data sets: --data DIR, or NOISYRUN_DATA"]


@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ({"name": "plain"}, "plain"),
        ({"name": "cross entropy", "epochs": 3}, "cross entropy"),
        ({"name": "big", "backbone": "timm"}, CROSS_ENTROPY),
        ({"name": "smooth", "train.label_smoothing": 0.1}, CROSS_ENTROPY),
        ({"name": "swept", "sweep": {"train.dropout": [0.1, 0.2]}}, CROSS_ENTROPY),
        ({"name": "by data", "on": [{"weighter": "sinet"}]}, CROSS_ENTROPY),
    ],
)
def test_plain_cross_entropy_is_always_a_row(method: dict[str, object], reference: str) -> None:
    suite = Suite.model_validate({"title": "t", "data": [{"name": "d"}], "method": [method]})
    assert suite.reference == reference
    assert reference in [entry.name for entry, _ in suite.methods]


def test_a_detection_has_no_row_that_judges_nothing() -> None:
    values = {"title": "t", "task": "detect", "data": [{"name": "d"}], "method": [{"name": "A", "weighter": "a"}]}
    suite = Suite.model_validate(values)
    assert suite.reference is None
    assert [entry.name for entry, _ in suite.methods] == ["A"]
    assert suite.headline == "detection.auroc"
