"""Settings of a run that are no plugin's: data, label phase, training, evaluation. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from noisyrun.api.stage import Optimizer, Schedule, Stage


class Settings(BaseModel):
    """Base of all groups of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataSettings(Settings):
    """Where labels and texts stand in the data, and how it is split (``--data.FIELD``)."""

    format: Literal[
        "auto",
        "digits",
        "folder",
        "manifest",
        "parquet",
        "arrow",
        "webdataset",
        "features",
        "clothing1m",
        "food-101n",
        "webvision",
        "mini-webvision",
        "cifar-10n",
        "cifar-100n",
        "coco",
        "aliproducts",
        "webvision-2",
        "openimages",
    ] = Field("auto", description="What the data set is; told from the path by default.")
    label: str | None = Field(None, description="Column of the observed label; found by its usual names by default.")
    clean_label: str | None = Field(
        None,
        description="Column of the clean label, used for measures only; found by its usual names by default.",
    )
    test: str | None = Field(None, description="Path of the test set; found beside the training set by default.")
    val: float = Field(0.1, ge=0, lt=1, description="Share of the training samples held out as noisy validation.")
    root: Path | None = Field(
        None,
        description="Folder that a manifest's paths are relative to, the manifest's own by default; of Open Images, "
        "the one above the image folders train and validation.",
    )
    classes: Path | None = Field(None, description="TSV of the classes: label, wnid, words, description.")
    tree: Path | None = Field(None, description="Tree over the classes: a TSV of child, parent.")
    image_size: int | None = Field(None, ge=8, description="Side that images are brought to, in pixels.")
    subset: int | None = Field(
        None, ge=1, description="Use so many training samples, drawn by the seed; all by default."
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="An image that cannot be read: stop, or skip it."
    )
    decode: Literal["cpu", "gpu"] = Field(
        "cpu", description="Where JPEGs that do not fit in memory are decoded; pixels differ a little between the two."
    )
    bad_images: float = Field(
        0.01,
        ge=0,
        le=1,
        description="With --data.on-bad-image skip: share of the images of a split that do not fit in memory, and of "
        "which more than ten, that may fail to decode before the run stops.",
    )
    clean_pairs: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Several labels a sample: share of the (sample, class) pairs of the --clean subset that are known.",
    )
    noise_file: Path | None = Field(None, description="Noise manifest to use in place of drawing noise.")
    noise_matrix: Path | None = Field(
        None,
        description="CSV of C × C flip probabilities for --noise matrix; a table of from, to for asymmetric; a table "
        "of class, off, on for flip.",
    )
    workers: int | None = Field(
        None,
        ge=0,
        description="Threads that decode images which do not fit in memory; one a core, at most 16, by default.",
    )


class BankSettings(Settings):
    """The feature bank (``--bank.FIELD``)."""

    space: Literal["raw", "centred", "whitened"] = Field(
        "raw", description="Space that label phases see; heads and online parts always see raw features."
    )
    residence: Literal["auto", "gpu", "memory", "disk"] = Field(
        "auto", description="Where features live; what fits by default."
    )
    memory: str = Field(
        "2GB",
        pattern=r"^\d+(\.\d+)?\s*([KMGT]i?)?B$",
        description="Memory a label phase may take on a machine, e.g. 2GB; its processes share it.",
    )
    top: int = Field(10, ge=1, description="Predicted classes kept for each sample.")


class AugmentSettings(Settings):
    """Augmentation of training images (``--augment.FIELD``); drawn from (seed, epoch, sample)."""

    crop: int | None = Field(
        None, ge=0, description="Pad by so many pixels and crop at random; an eighth of the side by default."
    )
    resize: int | None = Field(
        None,
        ge=8,
        description="Bring training images to this shorter side first, and crop their size out of that at random.",
    )
    flip: bool | None = Field(None, description="Mirror half the images; by default all data but digits.")
    policy: Literal["none", "autoaugment", "randaugment"] = Field("none", description="Augmentation policy.")
    magnitude: int = Field(9, ge=0, le=30, description="RandAugment: strength, 0 to 30.")
    operations: int = Field(2, ge=1, description="RandAugment: operations an image.")


class TrainSettings(Settings):
    """The loop (``--train.FIELD``)."""

    optimizer: Optimizer = Field(default_factory=Optimizer, description="Optimiser of every stage that brings none.")
    schedule: Schedule = Field(default_factory=Schedule, description="Schedule of every stage that brings none.")
    loss: Literal["auto", "cross-entropy", "binary-cross-entropy"] = Field(
        "auto",
        description="The loop's loss; by default cross entropy for single and binary cross entropy for several labels.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the head.")
    amp: Literal["auto", "off", "bf16", "fp16"] = Field(
        "auto", description="Mixed precision; bf16 on a GPU by default."
    )
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    deterministic: bool = Field(True, description="Deterministic kernels; always so on the CPU.")
    freeze_backbone: bool = Field(False, description="Train the head (and parts) on a frozen backbone.")
    warmup_epochs: int | None = Field(
        None, ge=0, description="Epochs before the first label phase; a third by default."
    )
    label_phase_every: int = Field(1, ge=1, description="Epochs from one label phase to the next.")
    finetune_epochs: int = Field(0, ge=0, description="Epochs on the clean subset at the end.")
    finetune_lr: float = Field(0.005, gt=0, description="Learning rate of those epochs.")
    checkpoint_every: int = Field(1, ge=1, description="Epochs from one checkpoint to the next.")
    log_every: int = Field(20, ge=1, description="Steps from one check of the losses to the next.")


class WeightsSettings(Settings):
    """Sample weights (``--weights.FIELD``)."""

    scale: Literal["mean1", "none"] = Field(
        "mean1",
        description="mean1: scaled to mean 1 over the data set, or the learning rate would silently shrink; "
        "none: the papers' literal form.",
    )


class CorrectionsSettings(Settings):
    """Corrected labels (``--corrections.FIELD``)."""

    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Keep only this share of a label phase's changes, those the corrector is surest of.",
    )
    warn: bool = Field(True, description="Warn when corrections look harmful.")


def _scales(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or len(set(values)) < len(values) or not all(0 < value <= 4 for value in values):
        raise ValueError("must be numbers above 0 and up to 4, each once, such as 1.0,1.14")
    return values


class EvalSettings(Settings):
    """Evaluation (``--eval.FIELD``)."""

    batch_size: int = Field(512, ge=1, description="Images at a time.")
    every: int = Field(1, ge=1, description="Epochs from one evaluation to the next; the last is always evaluated.")
    crops: Literal[1, 5, 10] = Field(
        1,
        description="At the end, average the probabilities of so many crops of each image: 5 for corners and centre, "
        "10 for those and their mirror images.",
    )
    crop_share: float = Field(
        0.875, gt=0, lt=1, description="crops: side of a crop relative to that of the image it is cut from."
    )
    flip: bool = Field(False, description="At the end, average the probabilities of each image and its mirror image.")
    scales: Annotated[tuple[float, ...], AfterValidator(_scales)] = Field(
        (1.0,), description="At the end, average the probabilities of each image in these sizes, relative to its own."
    )
    ensemble: tuple[Path, ...] = Field(
        (), description="At the end, average the probabilities with those of the networks in these runs' folders."
    )


class RunSettings(Settings):
    """All of a run but its plugins."""

    dataset: str | None = Field(
        None,
        description="Data set: a path, or digits. Without one the run is a demonstration on noisy digits.",
    )
    noise: str | None = Field(
        None,
        description="Noise to inject: symmetric:R, asymmetric:R, pair:R, instance:R, matrix, or none; R in (0, 1). For "
        "several labels a sample: flip-off:R, flip-on:R, flip:R_off,R_on, or flip with rates by class.",
    )
    verify: str | None = Field(
        None,
        description="Verification labels: a share of the samples (0.05), a number of each class (250/class) or all of "
        "them (all), simulated from clean labels; of some classes: 0.05:cat,dog, :@FILE, :random-N or :semantic-N; "
        "judged by given logits instead: top5, 250/class:top5. Or a file of verdicts, index, label, verdict: "
        "verdicts.csv.",
    )
    clean: str | None = Field(None, description="Trusted clean subset: drawn as for --verify (0.05).")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything random.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    out: Path | None = Field(None, description="Folder of the run; a fresh one under runs/ by default.")
    epochs: int = Field(
        20,
        ge=1,
        description="Epochs of the run, fine-tuning apart. Stages and schedules of a recipe or a file are scaled to "
        "it in proportion.",
    )
    batch_size: int = Field(64, ge=1, description="Batch size.")
    baseline: bool = Field(False, description="Also train with plain cross entropy, and compare.")
    strict: bool = Field(False, description="Raise on every broken plugin, chosen or not.")
    recipe: str | None = Field(None, description="A paper's sockets and settings; everything else overrides it.")
    data: DataSettings = Field(default_factory=DataSettings, description="Data.")
    augment: AugmentSettings = Field(default_factory=AugmentSettings, description="Augmentation.")
    bank: BankSettings = Field(default_factory=BankSettings, description="Feature bank.")
    train: TrainSettings = Field(default_factory=TrainSettings, description="Training.")
    weights: WeightsSettings = Field(default_factory=WeightsSettings, description="Sample weights.")
    corrections: CorrectionsSettings = Field(default_factory=CorrectionsSettings, description="Corrected labels.")
    eval: EvalSettings = Field(default_factory=EvalSettings, description="Evaluation.")
    stages: tuple[Stage, ...] = Field((), description="Stages of the run; warm-up, rounds and fine-tuning by default.")
