"""The schema of ``summary.json``: its keys, what each holds, and what stands there where nothing was measured."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: A share in [0, 1], or null where it was not measured.
Share = float | None


class Part(BaseModel):
    """Base of all parts of a summary."""

    model_config = ConfigDict(extra="forbid")


class Accuracy(Part):
    """A measure on the test set of one training; null where there is no test set (or no validation set).

    Of several labels a sample, mAP stands for accuracy.
    """

    last: Share = Field(None, description="After the last epoch.")
    best_noisy_val: Share = Field(None, description="At the epoch of the highest accuracy on noisy validation.")
    oracle: Share = Field(
        None, description="At the epoch that is best on the test set itself: an upper bound, no honest selection."
    )


class LabelAccuracy(Part):
    """Share of training samples whose label is right; null where clean labels are not known.

    Of several labels a sample: of the (sample, class) pairs of which it is known whether they hold.
    """

    before: Share = Field(None, description="Of the observed labels.")
    after: Share = Field(None, description="Of the labels after the last correction; null without a corrector.")
    f1_before: Share = Field(
        None, description="Several labels a sample: F1 of the observed (sample, class) pairs; null with one label."
    )
    f1_after: Share = Field(None, description="The same after the last correction.")


class Calibration(Part):
    """How well stated probabilities fit on the test set: lower is better, after the same epochs as `accuracy`.

    Softmax of a cross entropy; with several labels a sample the sigmoid of a binary cross entropy, pair by pair; null
    with any other loss.
    """

    ece: Accuracy = Field(
        default_factory=Accuracy,
        description="Expected calibration error (Guo et al. 2017): how far accuracy and mean confidence (probability "
        "of the most probable class) are apart in each of 15 bins of equal width, mean over samples. Several labels a "
        "sample: share that holds and mean probability, over known (sample, class) pairs.",
    )
    nll: Accuracy = Field(
        default_factory=Accuracy,
        description="Negative log-likelihood of the true class, in nats, mean over samples. Several labels a sample: "
        "binary cross entropy, mean over known pairs.",
    )
    brier: Accuracy = Field(
        default_factory=Accuracy,
        description="Brier score: squared distance of the probabilities to the one-hot truth, summed over classes, "
        "mean over samples, in [0, 2]. Several labels a sample: squared error, mean over known pairs, in [0, 1].",
    )


class Detection(Part):
    """Which labels were held wrong, and how well that fits (a wrong label is a positive) where clean ones are known."""

    auroc: Share = Field(None, description="Area under the ROC curve of 1 − quality score.")
    average_precision: Share = Field(None, description="Average precision of 1 − quality score.")
    f1: Share = Field(None, description="F1 of the methods' own decision; null where none of them decides.")
    precision: Share = Field(None, description="Of the labels called wrong, the share that is.")
    recall: Share = Field(None, description="Of the wrong labels, the share that was called wrong.")
    class_error: Share = Field(
        None,
        description="Average error over classes: the share of mistaken decisions about the labels of an observed "
        "class, mean over classes; null where nothing decides.",
    )
    noise_rate: Share = Field(None, description="Share of the labels that are wrong.")
    precision_at_noise_rate: Share = Field(
        None,
        description="Share of wrong ones among the most suspicious labels, as many as truly are wrong; of equal scores "
        "the earlier label is taken first.",
    )
    best_f1: Share = Field(
        None,
        description="Oracle: F1 at the threshold of the score that is best on the clean labels themselves: an upper "
        "bound for thresholds of the score, none of them honest; a decision that rests on more may be above it.",
    )
    called_wrong: Share = Field(
        None, description="Share of the samples called wrong, clean labels known or not; null where nothing decides."
    )
    changed: Share = Field(None, description="Share of the samples whose label was changed; null without a corrector.")


class ClassPart(Part):
    """One class: how well it is recognised, and what is wrong with its labels."""

    name: str = Field("", description="Name of the class.")
    test: int | None = Field(None, description="Test samples of the class.")
    accuracy: Share = Field(
        None,
        description="Share of them recognised (recall) after the last epoch; of several labels a sample, the class's "
        "average precision.",
    )
    observed: int | None = Field(None, description="Training labels that name the class.")
    called_wrong: Share = Field(
        None, description="Estimated noise rate: share of those labels that were called wrong; null without a decision."
    )
    wrong: Share = Field(None, description="True noise rate: share of those labels that are wrong, where known.")


class Energy(Part):
    """Joules from the first epoch to the last, all that goes on then included, of whole devices and all they did."""

    gpu: float | None = Field(None, description="Joules of the GPU, where its driver (NVML) counts them.")
    cpu: float | None = Field(
        None, description="Joules of all CPU packages, where the kernel (RAPL) lets them be read."
    )


class DataPart(Part):
    """What was trained on."""

    name: str = Field("", description="Name of the data set.")
    classes: int = Field(0, description="Number of classes.")
    labels: Literal["single", "multi"] = Field("single", description="One label a sample, or any number.")
    train: int = Field(0, description="Training samples.")
    val: int | None = Field(None, description="Samples of noisy validation.")
    test: int | None = Field(None, description="Test samples.")
    digests: dict[str, str] = Field(default_factory=dict, description="SHA-256 of labels, images or features, noise.")
    lineage: dict[str, Any] = Field(default_factory=dict, description="Where it came from and what was injected.")
    notes: list[str] = Field(default_factory=list, description="What was injected, skipped or assumed, in words.")
    decode_errors: dict[str, int] = Field(
        default_factory=dict,
        description="Images that could not be decoded as they were needed, by split; empty where there was none.",
    )


class Baseline(Part):
    """The same run with plain cross entropy."""

    accuracy: Accuracy = Field(default_factory=Accuracy, description="As `accuracy` of the run.")
    ap_all: Accuracy | None = Field(None, description="As `ap_all` of the run.")
    top5: Accuracy | None = Field(None, description="As `top5` of the run.")
    calibration: Calibration = Field(default_factory=Calibration, description="As `calibration` of the run.")
    seconds: dict[str, float] = Field(default_factory=dict, description="As `seconds` of the run.")
    history: list[dict[str, Any]] = Field(default_factory=list, description="As `history` of the run.")


class Evaluation(Part):
    """The network after the last epoch on the test set once more, averaged over views and networks."""

    shown: str = Field("", description="What was averaged over, in words.")
    views: int = Field(1, description="Views of each image: crops, mirror images and sizes.")
    ensemble: list[str] = Field(default_factory=list, description="Folders of the runs whose networks took part.")
    plain: dict[str, float] = Field(
        default_factory=dict,
        description="Measures on the test set, by name, of this run's network on images as they are.",
    )
    test: dict[str, float] = Field(default_factory=dict, description="The same, averaged.")
    val: dict[str, float] = Field(
        default_factory=dict,
        description="On noisy validation, averaged; empty where a network of the ensemble may have been trained on it.",
    )
    baseline: dict[str, float] = Field(
        default_factory=dict,
        description="On the test set, of plain cross entropy in the same views; empty for ensembles.",
    )
    seconds: float = Field(0.0, description="Wall seconds of it, without the baseline's.")


class Summary(Part):
    """What a run leaves in ``summary.json``. A measure that was not taken is null."""

    format: Literal["noisyrun-summary/1"] = Field("noisyrun-summary/1", description="Name and version of this schema.")
    run_id: str | None = Field(None, description="Unique to the run; the same after a resume.")
    out: str | None = Field(None, description="Folder of the run, as seen from where it was started.")
    finished: str = Field("", description="When it ended, ISO 8601, UTC.")
    accuracy: Accuracy = Field(default_factory=Accuracy, description="Test accuracy.")
    ap_all: Accuracy | None = Field(
        None,
        description="Several labels a sample: average precision over all (sample, class) pairs of the test set "
        "together, after the same epochs; null with one label.",
    )
    top5: Accuracy | None = Field(
        None,
        description="Share of test samples whose class is among the five most probable, after the same epochs; null "
        "with several labels a sample, or five classes or fewer.",
    )
    calibration: Calibration = Field(
        default_factory=Calibration, description="How well the stated probabilities fit, on the test set."
    )
    label_accuracy: LabelAccuracy = Field(default_factory=LabelAccuracy, description="Accuracy of training labels.")
    detection: Detection = Field(
        default_factory=Detection,
        description="Detection of wrong labels; measures against clean labels are null where these are not known.",
    )
    detection_unverified: Detection | None = Field(
        None,
        description="The measures of `detection` against clean labels, over the labels that nobody checked (neither "
        "verified nor of the clean subset): the fair figure for methods that learn from checked ones; null where none "
        "were, or clean labels are not known.",
    )
    per_class: list[ClassPart] = Field(
        default_factory=list, description="One record a class, in the order of their indices; empty without data."
    )
    baseline: Baseline | None = Field(None, description="Plain cross entropy; null unless --baseline was given.")
    evaluation: Evaluation | None = Field(
        None, description="With crops, sizes, mirror images or an ensemble; null unless --eval asks for them."
    )
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall seconds by phase, and in total.")
    samples_per_second: float | None = Field(
        None, description="Training samples seen, each as often as it was, by the seconds of `seconds.train`."
    )
    peak_memory: dict[str, int] = Field(
        default_factory=dict,
        description="Bytes: `process`, most resident memory of the process since the run began; `gpu`, most allocated.",
    )
    energy: Energy = Field(default_factory=Energy, description="Energy used, where a driver gives it.")
    data: DataPart | None = Field(None, description="What was trained on.")
    config: dict[str, Any] = Field(default_factory=dict, description="The resolved configuration.")
    versions: dict[str, str] = Field(default_factory=dict, description="Python, libraries, contract and plugins.")
    history: list[dict[str, Any]] = Field(default_factory=list, description="One record an epoch.")
    rounds: list[dict[str, Any]] = Field(default_factory=list, description="One record a label phase.")
    warnings: list[str] = Field(default_factory=list, description="What the run warned about.")
    files: dict[str, str] = Field(default_factory=dict, description="Files in the run's folder, by what they are.")
    tracking: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="By tracker: where the run is recorded, and how to open it."
    )
