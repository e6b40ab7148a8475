"""What methods want looked at: from the label phase to a picture, and through a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from report_fakes import make_samples

from noisyrun.api import PAD, Exhibit, LabelCorrector, Labels, PluginConfig
from noisyrun.config.settings import RunSettings
from noisyrun.engine.label_phase import run_label_phase
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.persist import state_from, state_tree
from noisyrun.methods import Methods
from noisyrun.report.exhibits import BELOW, MARGIN, write_exhibit
from noisyrun.report.pictures import FRAME, SIDE
from noisyrun.testing import make_bank, make_phase


def exhibit(rows: list[list[int]]) -> Exhibit:
    made = torch.tensor(rows)
    return Exhibit("attention", "Most to least", tuple(f"class {g}" for g in range(len(rows))), made, made.float())


class Shows(LabelCorrector[PluginConfig]):
    """Changes nothing, and shows two rows."""

    key = "corrector.shows"

    def fit(self, bank, prototypes, side, phase):  # type: ignore[no-untyped-def]
        phase.show(exhibit([[0, 1]]))


def test_what_a_method_shows_stays_with_the_label_state_and_survives_a_checkpoint() -> None:
    from noisyrun.api import SideInfo

    bank = make_bank(torch.eye(4), [0, 1, 0, 1], 2)
    methods = Methods(correctors=(Shows(PluginConfig()),))
    state = run_label_phase(bank, methods, SideInfo(), make_phase(), RunSettings())
    restored = state_from(state_tree(state), methods, torch.device("cpu"))
    assert restored.exhibits["attention"].rows.tolist() == [[0, 1]]
    assert restored.exhibits["attention"].titles == ("class 0",)


def test_images_of_an_exhibit_stand_in_rows_by_group_with_gaps_left_white(tmp_path: Path) -> None:
    path = tmp_path / "attention.png"
    assert write_exhibit(make_samples(), exhibit([[5, 2], [PAD, 1]]), path)
    sheet = Image.open(path)
    cell, tall = SIDE + 2 * FRAME, SIDE + 2 * FRAME + BELOW
    middle = FRAME + SIDE // 2
    assert sheet.size == (MARGIN + 2 * cell, BELOW + 2 * tall)
    assert sheet.getpixel((MARGIN + middle, BELOW + middle)) == (5, 5, 5)
    assert sheet.getpixel((MARGIN + cell + middle, BELOW + middle)) == (2, 2, 2)
    assert sheet.getpixel((MARGIN + middle, BELOW + tall + middle)) == (255, 255, 255)


def test_nothing_is_drawn_without_images_or_without_rows(tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "attention.png"
    assert not write_exhibit(replace(make_samples(), images=None), exhibit([[0]]), path)
    assert not write_exhibit(make_samples(), exhibit([[PAD]]), path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../up"}, "name: must be lower-case"),
        ({"titles": ()}, "rows and values: must both have shape"),
        ({"rows": torch.tensor([[-2]])}, "rows: must be int64"),
    ],
)
def test_an_exhibit_that_does_not_fit_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Exhibit(**{**vars(exhibit([[0]])), **change})


def test_a_state_without_exhibits_has_none() -> None:
    assert LabelState.initial(Labels.of(torch.tensor([0]))).exhibits == {}
