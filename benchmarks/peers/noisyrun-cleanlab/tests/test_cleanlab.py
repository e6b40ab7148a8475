"""cleanlab's answers reach noisyrun as they are, and the plugin keeps the contract."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

if importlib.util.find_spec("cleanlab") is None or importlib.util.find_spec("noisyrun_cleanlab") is None:
    pytest.skip("needs cleanlab and this plugin installed", allow_module_level=True)

from cleanlab.count import estimate_cv_predicted_probabilities
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from noisyrun_cleanlab.config import CleanlabConfig
from noisyrun_cleanlab.probabilities import adjusted, out_of_sample, thresholds_of
from noisyrun_cleanlab.weighter import Cleanlab

import noisyrun
from noisyrun.api import SideInfo, UserError
from noisyrun.testing import make_bank, make_phase, parametrize_with_checks, subject

WHOLE = {"stays-within-memory": "cleanlab judges the probabilities [N, C] of the whole data set at once"}
SUBJECTS = (
    subject("weighter.cleanlab", expected_failures=WHOLE),
    subject("weighter.cleanlab", {"probabilities": "predictions", "adjust_pred_probs": True}, WHOLE),
    subject("weighter.cleanlab", {"probabilities": "knn", "k": 5, "weights": "quality"}, WHOLE),
    subject("weighter.cleanlab-outlier"),
    subject("weighter.cleanlab-outlier", {"source": "predictions"}, WHOLE),
)


@parametrize_with_checks(SUBJECTS)
def test_conformance(plugin, check):
    check(plugin)


@pytest.fixture(scope="module")
def data():
    """Four overlapping classes, three labels in ten wrong; features [400, 6], labels, truth, logits [400, 4]."""
    generator = np.random.default_rng(0)
    truth = np.arange(400) % 4
    features = (np.eye(4, 6)[truth] * 2 + generator.normal(size=(400, 6))).astype(np.float32)
    labels = np.where(generator.random(400) < 0.3, (truth + generator.integers(1, 4, 400)) % 4, truth)
    logits = (2 * features[:, :4]).astype(np.float32)
    return features, labels, truth, logits


@pytest.mark.parametrize("filter_by", ["prune_by_noise_rate", "confident_learning", "both"])
@pytest.mark.parametrize("method", ["self_confidence", "normalized_margin", "confidence_weighted_entropy"])
def test_given_probabilities_are_judged_as_cleanlab_judges_them(data, filter_by, method):
    features, labels, _, logits = data
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    settings = {"probabilities": "predictions", "filter_by": filter_by, "method": method}
    found = noisyrun.detect(features, labels, logits=logits, weighter={"cleanlab": settings}).labels
    scores = get_label_quality_scores(labels, probabilities, method=method)
    assert np.array_equal(found["wrong"], find_label_issues(labels, probabilities, filter_by=filter_by, n_jobs=1))
    order = np.argsort(found["quality"].to_numpy(), kind="stable")
    assert np.all(np.diff(scores[order]) >= -1e-6)


def test_cross_validation_is_cleanlab_s_own(data):
    features, labels, _, _ = data
    config, phase = CleanlabConfig(), make_phase()
    seed = int(torch.randint(2**31, (), generator=phase.generator("folds")))
    expected = estimate_cv_predicted_probabilities(features, labels, seed=seed)
    assert np.allclose(out_of_sample(features, labels, config, phase), expected, atol=1e-6)


def test_neighbours_are_what_datalab_takes_from_features_alone(data):
    datasets = pytest.importorskip("datasets")
    from cleanlab import Datalab

    features, labels, _, _ = data
    lab = Datalab(datasets.Dataset.from_dict({"y": labels}), label_name="y", verbosity=0)
    lab.find_issues(features=features, issue_types={"label": {"k": 7}})
    theirs = lab.get_issues("label")
    config = CleanlabConfig(probabilities="knn", k=7)
    ours = out_of_sample(features, labels, config, make_phase())
    assert np.allclose(get_label_quality_scores(labels, ours), theirs["label_score"], atol=1e-6)
    assert np.mean(find_label_issues(labels, ours, n_jobs=1) == theirs["is_label_issue"]) > 0.98


def test_adjusted_scores_are_cleanlab_s(data):
    _, labels, _, logits = data
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    expected = get_label_quality_scores(labels, probabilities, adjust_pred_probs=True)
    made = adjusted(probabilities, thresholds_of(probabilities, labels))
    assert np.allclose(get_label_quality_scores(labels, made), expected)


def test_entropy_cannot_be_adjusted(data):
    features, labels, _, _ = data
    settings = {"adjust_pred_probs": True, "method": "confidence_weighted_entropy"}
    with pytest.raises(UserError, match="adjust_pred_probs"):
        noisyrun.detect(features, labels, weighter={"cleanlab": settings})


def test_wrong_labels_are_found_out_of_sample(data):
    features, labels, truth, _ = data
    found = noisyrun.detect(features, labels, clean_labels=truth, weighter="cleanlab")
    assert found.metrics["auroc"] > 0.85
    assert found.metrics["f1"] > 0.7


def test_a_class_that_no_label_names_and_a_sample_without_label_are_left_out():
    features = torch.eye(3).repeat_interleave(20, 0) + 0.1 * torch.randn(60, 3, generator=torch.Generator())
    labels = [0] * 20 + [3] * 39 + [-1]
    bank = make_bank(features, labels, 5)
    weighter = Cleanlab(CleanlabConfig())
    weighter.fit(bank, None, SideInfo(), make_phase())
    block = bank.take(torch.arange(59))
    judged = weighter(block, bank.labels.single[:59], None, SideInfo())
    assert bool(torch.isfinite(judged.score).all())
    nobody = weighter(block, torch.full((59,), 4), None, SideInfo())
    assert float(nobody.score.max()) == 0.0
    assert bool(nobody.wrong.all())
