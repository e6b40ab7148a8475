"""Stages of a recipe or a file, and the epochs that are asked for."""

from __future__ import annotations

import pytest

from noisyrun.api import UserError
from noisyrun.api.stage import Schedule, Stage
from noisyrun.config.lengths import scaled
from noisyrun.config.resolve import resolve

FILE = """\
[train.schedule]
name = "step"
milestones = [20, 30]
by = "epoch"

[[stages]]
name = "base"
epochs = 30

[[stages]]
name = "rounds"
epochs = 10
label_phase = "every:4"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(FILE)
    return path


def lengths(config):
    return {stage.name: stage.epochs for stage in config.settings.stages}


def test_without_a_word_the_run_takes_the_epochs_of_its_stages(file):
    config = resolve(config=file)
    assert lengths(config) == {"base": 30, "rounds": 10}
    assert config.settings.epochs == 40
    assert not any("scaled" in note for note in config.notes)


def test_epochs_scale_stages_milestones_and_label_phases(file):
    config = resolve(config=file, args=["--epochs", "20"])
    assert lengths(config) == {"base": 15, "rounds": 5}
    assert config.settings.epochs == 20
    assert config.settings.stages[1].label_phase == "every:2"
    assert config.settings.train.schedule.milestones == (10, 15)
    assert "40 epochs of the stages scaled to 20: base 15, rounds 5" in config.notes


def test_milestones_said_beside_the_epochs_are_taken_as_they_are(file):
    config = resolve(config=file, args=["--epochs", "20", "--train.schedule.milestones", "3,4"])
    assert config.settings.train.schedule.milestones == (3, 4)


def test_epochs_of_a_recipe_do_not_bind_the_stages_of_a_file(file):
    config = resolve({"recipe": "smp-small"}, config=file)
    assert lengths(config) == {"base": 30, "rounds": 10}


def test_a_resolved_configuration_stays_as_it_is(file, tmp_path):
    import json

    config = resolve(config=file, args=["--epochs", "20"])
    (tmp_path / "config.json").write_text(json.dumps(config.as_dict()))
    again = resolve(config=tmp_path / "config.json")
    assert again.settings == config.settings


def test_fewer_epochs_than_stages_are_refused(file):
    with pytest.raises(UserError, match=r"^--epochs: must be at least 2, an epoch for each stage \(base, rounds\)"):
        resolve(config=file, args=["--epochs", "1"])


@pytest.mark.parametrize("flag", ["--train.warmup-epochs", "--train.finetune_epochs", "--train.label_phase_every"])
def test_settings_of_the_default_stages_are_refused_where_there_are_others(file, flag):
    with pytest.raises(UserError, match=f"^{flag}: is for the default stages"):
        resolve(config=file, args=[flag, "2"])


def test_epochs_are_shared_out_to_the_last_and_none_goes_empty():
    stages = [Stage(name=str(n), epochs=epochs) for n, epochs in enumerate((97, 1, 1, 50))]
    for total in (4, 5, 30, 149, 400):
        made = scaled(stages, total)
        assert sum(stage.epochs for stage in made) == total
        assert min(stage.epochs for stage in made) >= 1
    assert [stage.epochs for stage in scaled(stages, 298)] == [194, 2, 2, 100]


def test_steps_and_schedules_of_stages_scale_and_every_epoch_stays_every_epoch():
    own = Schedule(name="step", milestones=(6, 8), warmup=2)
    stages = [Stage(name="a", epochs=10, schedule=own, label_phase="every:1"), Stage(name="b", steps=100)]
    first, second = scaled(stages, 5)
    assert (first.schedule.milestones, first.schedule.warmup, first.label_phase) == ((3, 4), 1, "every:1")
    assert second.steps == 50


def test_stages_that_all_count_steps_have_no_epochs_to_scale():
    with pytest.raises(UserError, match=r"^--epochs: the stages of this run count steps"):
        scaled([Stage(name="a", steps=5)], 3)


def test_warm_up_and_milestones_without_stages_scale_with_the_epochs_they_were_said_for(tmp_path):
    (tmp_path / "run.toml").write_text(
        'epochs = 15\n[train]\nwarmup_epochs = 5\n[train.schedule]\nname = "step"\nmilestones = [5, 10]\n'
    )
    config = resolve(config=tmp_path / "run.toml", args=["--epochs", "30"])
    assert config.settings.train.warmup_epochs == 10
    assert config.settings.train.schedule.milestones == (10, 20)
    assert "15 epochs scaled to 30, warmup epochs and schedule with them" in config.notes
    own = resolve(config=tmp_path / "run.toml", args=["--epochs", "30", "--train.warmup-epochs", "5"])
    assert own.settings.train.warmup_epochs == 5
    assert resolve(config=tmp_path / "run.toml").settings.train.warmup_epochs == 5
