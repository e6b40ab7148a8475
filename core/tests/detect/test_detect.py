"""Finding wrong labels on given features, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import noisyrun
from noisyrun.api import (
    Block,
    Judgement,
    LabelCorrector,
    Labels,
    Needs,
    OnlinePart,
    PluginConfig,
    PrototypeBuilder,
    Prototypes,
    SampleWeighter,
    Targets,
    Task,
    UserError,
    ops,
)
from noisyrun.bank.linear_head import fit_linear_head
from noisyrun.cli import main
from noisyrun.report import summary as summaries

SHARED = Path(__file__).parents[4] / "shared/data/features/cifar10n-worse.npz"


class Means(PrototypeBuilder[PluginConfig]):
    def build_class(self, c: int, bank: Any, rows: torch.Tensor, side: Any, phase: Any) -> Prototypes:
        return Prototypes.of(bank.take(rows).features.mean(0).unsqueeze(0))


class Cosine(SampleWeighter[PluginConfig]):
    @property
    def needs(self) -> Needs:
        return Needs(prototypes=True)

    def weigh(self, block: Block, labels: torch.Tensor, prototypes: Prototypes | None, side: Any) -> Judgement:
        assert prototypes is not None
        own = ops.cosine(block.features, prototypes.vectors[:, 0]).gather(1, labels.unsqueeze(1))[:, 0]
        return Judgement(own.clamp(min=0), own, own < 0.5)


class Nearest(LabelCorrector[PluginConfig]):
    @property
    def needs(self) -> Needs:
        return Needs(prototypes=True)

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: Any) -> Targets:
        assert prototypes is not None
        best = ops.cosine(block.features, prototypes.vectors[:, 0]).topk(2, dim=1)
        return Targets.hard(best.indices[:, 0], 0.5, best.values[:, 0] - best.values[:, 1])


class Classifier(LabelCorrector[PluginConfig]):
    """The classifier's own first choice."""

    def correct(self, block: Block, targets: Targets, prototypes: Any, side: Any) -> Targets:
        return Targets.hard(block.top_classes[:, 0], 1.0)


class NeedsVerified(Cosine):
    @property
    def needs(self) -> Needs:
        return Needs(verification=True)


class Online(Cosine, OnlinePart):
    """Would train a part of the network."""


def made(cls: Any) -> Any:
    return cls(PluginConfig())


@pytest.fixture
def data() -> dict[str, np.ndarray]:
    """Three separated classes, a fifth of the labels wrong."""
    draw = np.random.default_rng(0)
    truth = np.arange(150) % 3
    features = (np.eye(6)[truth] * 4 + draw.normal(size=(150, 6))).astype(np.float32)
    flip = draw.random(150) < 0.2
    return {"features": features, "noisy_label": np.where(flip, (truth + 1) % 3, truth), "clean_label": truth}


def found(data: dict[str, np.ndarray], **more: Any) -> noisyrun.detect.__class__:
    sockets = {"prototypes": made(Means), "weighter": made(Cosine), "corrector": made(Nearest)} | more
    return noisyrun.detect(
        data["features"], data["noisy_label"], clean_labels=data["clean_label"], device="cpu", **sockets
    )


def test_it_gives_a_row_a_sample_and_measures(data: dict[str, np.ndarray]) -> None:
    got = found(data)
    assert list(got.labels.columns) == ["index", "observed", "corrected", "weight", "quality", "wrong", "truth"]
    assert len(got.labels) == 150
    right = (got.labels["corrected"] == got.labels["truth"]).mean()
    assert got.metrics["label_accuracy_after"] == pytest.approx(right)
    assert right > 0.97 > got.metrics["label_accuracy_before"]
    assert got.metrics["auroc"] > 0.95
    assert {"linear_head", "bank", "weighter.cosine"} <= got.seconds.keys()


def test_without_logits_a_linear_head_is_fitted_and_that_is_said(data: dict[str, np.ndarray]) -> None:
    note = "no logits were given: a linear head was fitted on the observed labels"
    assert note in found(data).notes
    logits = np.eye(3)[data["clean_label"]] * 5
    given = found(data, logits=logits, corrector=made(Classifier))
    assert note not in given.notes
    assert given.metrics["label_accuracy_after"] == 1


def test_verdicts_and_trusted_labels_are_counted(data: dict[str, np.ndarray]) -> None:
    verdicts = np.full(150, -1)
    verdicts[:7] = [1, 1, 1, 0, 1, 1, 0]
    got = found(data, columns={"verified": verdicts, "clean": np.arange(150) < 4})
    lines = {"verification labels: 7 (5 right, 2 wrong)", "trusted clean subset: 4"}
    assert lines <= set(got.notes)
    assert lines <= set(got.summary["data"]["notes"])


def test_the_linear_head_is_not_fitted_where_no_method_asks_for_it(data: dict[str, np.ndarray]) -> None:
    got = noisyrun.detect(data["features"], data["noisy_label"], prototypes=made(Means), weighter=made(Cosine))
    assert "linear_head" not in got.seconds
    assert not any("linear head" in note for note in got.notes)


def test_the_linear_head_is_logistic_regression_on_standardised_features(data: dict[str, np.ndarray]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, labels = data["features"] * [1, 10, 100, 1, 1, 0.1], data["noisy_label"]
    head = fit_linear_head(
        torch.tensor(features, dtype=torch.float32),
        Labels.of(torch.tensor(labels)),
        Task(("a", "b", "c")),
        seed=0,
        device=torch.device("cpu"),
    )
    scaled = StandardScaler().fit_transform(features)
    want = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(scaled, labels).predict_proba(scaled)
    got = head(torch.tensor(features, dtype=torch.float32)).softmax(1).numpy()
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_the_linear_head_of_multi_label_data_counts_known_pairs_alone() -> None:
    features = torch.eye(4).repeat(20, 1)
    labels = Labels(torch.tensor([[0], [0], [1], [-1]]).repeat(20, 1), torch.tensor([[0], [0], [1], [0]]).repeat(20, 1))
    head = fit_linear_head(
        features,
        labels,
        Task(("a", "b"), "multi", "binary-cross-entropy"),
        seed=0,
        device=torch.device("cpu"),
    )
    # Nothing is known of class b but that it is there: no logit of it may fall below even odds.
    assert bool((head(features)[:, 1] > 0).all())


def test_samples_without_clean_labels_are_measured_nowhere(data: dict[str, np.ndarray]) -> None:
    got = noisyrun.detect(data["features"], data["noisy_label"], prototypes=made(Means), corrector=made(Nearest))
    assert "auroc" not in got.metrics
    assert "truth" not in got.labels
    assert got.summary["detection"]["called_wrong"] == pytest.approx(got.labels["wrong"].mean())
    assert set(got.summary["label_accuracy"].values()) == {None}


def test_the_same_seed_gives_the_same_table(data: dict[str, np.ndarray]) -> None:
    pd.testing.assert_frame_equal(found(data).labels, found(data).labels)


def test_labels_may_be_names_and_features_a_tensor(data: dict[str, np.ndarray]) -> None:
    names = np.array(["cat", "dog", "ox"])
    got = noisyrun.detect(
        torch.tensor(data["features"]),
        names[data["noisy_label"]].tolist(),
        clean_labels=names[data["clean_label"]],
        prototypes=made(Means),
        corrector=made(Nearest),
    )
    assert got.metrics["label_accuracy_after"] == found(data).metrics["label_accuracy_after"]


def test_several_labels_of_a_sample_are_judged_one_by_one() -> None:
    features = np.eye(4, dtype=np.float32).repeat(10, 0)
    clean = [[0]] * 10 + [[0, 1]] * 10 + [[1]] * 10 + [[2]] * 10
    labels = [[*row, 2] if row == [0] and at % 5 == 0 else row for at, row in enumerate(clean)]
    got = noisyrun.detect(features, labels, clean_labels=clean, prototypes=made(Means), weighter=made(Cosine))
    # Two labels of 120 pairs were never there; each is the least likely of its class, and of its sample.
    assert got.metrics["label_accuracy_before"] == pytest.approx(118 / 120)
    assert got.metrics["auroc"] == 1
    assert got.summary["label_accuracy"]["f1_before"] == pytest.approx(2 * 50 / (52 + 50))
    rows = got.labels
    assert len(rows) == 52
    assert rows[(rows["index"] == 5)][["class", "observed", "truth"]].to_numpy().tolist() == [
        [0, True, True],
        [2, True, False],
    ]
    hot = np.array([[c in row for c in range(3)] for row in labels])
    same = noisyrun.detect(features, hot, clean_labels=clean, prototypes=made(Means), weighter=made(Cosine))
    assert same.labels.equals(rows)


def test_settings_of_a_run_reach_the_label_phase(data: dict[str, np.ndarray]) -> None:
    plain, few = found(data), found(data, settings={"corrections.share": 0.5, "bank.space": "centred"})
    assert 0 < few.metrics["changed"] < plain.metrics["changed"]


def test_what_was_found_is_saved_in_the_documented_form(data: dict[str, np.ndarray], tmp_path: Path) -> None:
    got = found(data)
    got.save(tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["labels.parquet", "summary.json"]
    summary = summaries.read(tmp_path / "out" / "summary.json")
    assert summary["detection"]["auroc"] == pytest.approx(got.metrics["auroc"])
    assert summary["label_accuracy"]["after"] == pytest.approx(got.metrics["label_accuracy_after"])
    assert summary["files"] == {"summary": "summary.json", "labels": "labels.parquet"}
    assert len(pq.read_table(tmp_path / "out" / "labels.parquet")) == 150


def test_harmful_corrections_are_in_the_warnings(data: dict[str, np.ndarray]) -> None:
    class Rotates(LabelCorrector[PluginConfig]):
        def correct(self, block: Block, targets: Targets, prototypes: Any, side: Any) -> Targets:
            return Targets.hard((block.observed + 1) % 3, 1.0)

    got = found(data, corrector=made(Rotates))
    assert any("corrections may do harm" in line for line in got.warnings)
    assert list(got.warnings) == got.summary["warnings"]


def test_a_part_that_nothing_trains_is_said(data: dict[str, np.ndarray]) -> None:
    got = found(data, weighter=made(Online))
    assert any(note.startswith("weighter.online trains a part of the network") for note in got.notes)
    assert not any("trains a part" in note for note in found(data).notes)


def test_labels_that_somebody_verified_can_be_left_out_of_the_measures(data: dict[str, np.ndarray]) -> None:
    plain = found(data)
    assert plain.summary["detection_unverified"] is None
    wrong = data["noisy_label"] != data["clean_label"]
    verified = np.where(np.arange(len(wrong)) % 3 == 0, (~wrong).astype(np.int8), np.int8(-1))
    got = found(data, columns={"verified": verified})
    labels, open_ = got.labels, verified < 0
    part = got.summary["detection_unverified"]
    assert part["noise_rate"] == pytest.approx(wrong[open_].mean())
    hits = (labels["wrong"].to_numpy(dtype=bool) & wrong)[open_].sum()
    assert part["recall"] == pytest.approx(hits / wrong[open_].sum())
    assert part["noise_rate"] != got.summary["detection"]["noise_rate"]


def test_classes_are_told_apart(data: dict[str, np.ndarray]) -> None:
    got = found(data)
    for c, one in enumerate(got.summary["per_class"]):
        rows = got.labels[got.labels["observed"] == c]
        assert one["observed"] == len(rows)
        assert one["called_wrong"] == pytest.approx(rows["wrong"].mean())
        assert one["wrong"] == pytest.approx((rows["truth"] != c).mean())
        assert one["test"] is one["accuracy"] is None
    error = np.mean(
        [(rows["wrong"] != (rows["truth"] != rows["observed"])).mean() for _, rows in got.labels.groupby("observed")]
    )
    assert got.summary["detection"]["class_error"] == pytest.approx(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weighter": None, "corrector": None}, "choose what judges the labels"),
        ({"weighter": "no-such-thing"}, "no weighter 'no-such-thing' is installed"),
        ({"weighter": made(NeedsVerified)}, "weighter.needsverified needs verification labels"),
        ({"prototypes": None}, "needs prototypes"),
        ({"prototypes": made(Cosine)}, "prototypes: Cosine is no PrototypeBuilder"),
        ({"weighter": ["sinet", made(Cosine)]}, "weighter: give names or methods, not both"),
        ({"columns": {"colour": [0] * 150}}, "columns: 'colour' is none of"),
        ({"logits": np.zeros((149, 3))}, "logits: 149 rows, but there are 150 features"),
        ({"logits": np.zeros((150, 4))}, r"logits: .*3"),
        ({"settings": {"bank.space": "curved"}}, "bank.space"),
    ],
)
def test_what_does_not_fit_is_one_line(data: dict[str, np.ndarray], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        found(data, **change)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("noisy_label", np.zeros(149, dtype=int), "label: 149 rows, but there are 150 features"),
        ("noisy_label", np.full(150, 0.5), "label"),
        ("features", np.zeros(150), "features: must have two dimensions"),
        ("features", np.full((150, 2), np.nan), "not finite"),
        ("features", np.full((150, 2), "x"), "features: must be numbers"),
    ],
)
def test_bad_arrays_are_one_line(data: dict[str, np.ndarray], name: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        found({**data, name: values})
    assert "\n" not in str(caught.value)


@pytest.fixture
def npz(data: dict[str, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "features.npz"
    np.savez(path, **data)
    return path


def test_the_verb_writes_labels_and_summary(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("noisyrun_smp")
    monkeypatch.chdir(tmp_path)
    assert (
        main(["detect", "--features", "features.npz", "--prototypes", "smp", "--corrector", "smp", "--out", "o"]) == 0
    )
    shown = capsys.readouterr()
    assert "a linear head was fitted" in shown.out
    assert "right after correction" in shown.out
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["label_accuracy"]["after"] > 0.97
    assert len(pq.read_table(tmp_path / "o" / "labels.parquet")) == 150


def test_the_verb_tells_what_it_found_where_clean_labels_are_not_known(
    data: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("noisyrun_smp")
    monkeypatch.chdir(tmp_path)
    np.savez("features.npz", features=data["features"], noisy_label=data["noisy_label"])
    words = ["detect", "--features", "features.npz", "--prototypes", "smp", "--corrector", "smp", "--out", "o"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    labels = pq.read_table(tmp_path / "o" / "labels.parquet").to_pandas()
    assert f"{100 * labels['wrong'].mean():.1f} %" in next(row for row in shown.splitlines() if "called wrong" in row)
    assert json.loads(Path("o/summary.json").read_text())["detection"]["changed"] == pytest.approx(
        (labels["corrected"] != labels["observed"]).mean()
    )
    assert "test set" not in shown  # nothing is tested here


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--features FILE"),
        (["--features", "nowhere.npz", "--prototypes", "smp", "--corrector", "smp"], "--features: no file or folder"),
        (["--features", "features.npz"], "choose what judges the labels"),
        (["--features", "features.npz", "--wieghter", "smp"], "wieghter"),
    ],
)
def test_the_verb_ends_with_one_line_and_exit_code_2(
    npz: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("noisyrun_smp")
    monkeypatch.chdir(npz.parent)
    assert main(["detect", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (npz.parent / "runs").exists()


def test_the_verb_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "--help"]) == 0
    assert "--features FILE" in capsys.readouterr().out


@pytest.mark.shared
@pytest.mark.slow
def test_known_figures_on_cifar10n_worse() -> None:
    pytest.importorskip("noisyrun_smp")
    pytest.importorskip("noisyrun_sinet")
    if not SHARED.exists():
        pytest.skip("the shared features are not here")
    with np.load(SHARED, allow_pickle=False) as given:
        got = noisyrun.detect(
            given["features"],
            given["noisy_label"],
            logits=given["logits"],
            clean_labels=given["clean_label"],
            prototypes="smp",
            weighter="sinet",
            corrector="smp",
        )
    assert got.metrics["label_accuracy_before"] == pytest.approx(0.598, abs=1e-3)
    assert got.metrics["label_accuracy_after"] == pytest.approx(0.797, abs=0.012)
    assert got.metrics["auroc"] == pytest.approx(0.845, abs=0.02)
    assert got.warnings == ()
