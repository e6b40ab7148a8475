"""Any timm model up to its pooled features."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from timm.models.resnet import ResNet
from torch import Tensor, nn

from noisyrun.api import Backbone, FeatureExtractor, Needs, Task, UserError
from noisyrun_timm import weights
from noisyrun_timm.config import TimmConfig

#: Side in pixels up to which a ResNet gets a small stem of itself: its own would leave a 2×2 map of a 64-pixel image.
SMALL = 64


class TimmFeatures(FeatureExtractor):
    """A timm model without its classifier.

    Parameters
    ----------
    model
        Built with no classes.
    dim
        Width of its features before the classifier.
    fixed_size
        Height and width it can take, where it can take only one.
    """

    def __init__(self, model: Any, dim: int, fixed_size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model = model
        self.dim = dim
        self.fixed_size = fixed_size

    def features(self, images: Tensor) -> Tensor:
        """Images [B, channels, H, W] → features before the classifier [B, D]."""
        if self.fixed_size is not None and tuple(images.shape[-2:]) != self.fixed_size:
            height, width = self.fixed_size
            raise UserError(
                f"backbone.timm: the model was built for {height}×{width} images and cannot take "
                f"{images.shape[-2]}×{images.shape[-1]}; leave resolution out of the stages, or take another model"
            )
        features: Tensor = self.model.forward_head(self.model.forward_features(images), pre_logits=True)
        return features


class TimmBackbone(Backbone[TimmConfig]):
    """Builds a timm model for a task; the classifier is the run's own."""

    @property
    def needs(self) -> Needs:
        return Needs(images=True)

    def blank(self) -> TimmConfig:
        config = self.config
        if not config.pretrained and config.weights is None:
            return config
        # What weights have decided stays: an unset small stem is none with them, and one by the image's size without.
        changes = {"pretrained": False, "weights": None, "small_stem": bool(config.small_stem)}
        return config.model_copy(update=changes)

    def build(self, task: Task) -> FeatureExtractor:
        if task.image_size is None or task.channels is None:
            raise UserError(f"{self.key}: needs images; a run on features alone has --backbone features")
        cfg = self._published()
        source = self._source(cfg)
        model, flexible = self._create(task, cfg, None) if source is None else self._load(task, cfg, source)
        if self._wants_small_stem(model, task.image_size):
            self._put_small_stem(model, task.channels)
        if self.config.grad_checkpointing:
            self._checkpoint(model)
        extractor = TimmFeatures(model, self._width(model, task), None if flexible else task.image_size)
        if source is not None:
            extractor.mean, extractor.std = (_by_channel(values, task.channels) for values in (cfg.mean, cfg.std))
        return extractor

    def _published(self) -> PretrainedCfg:
        """What timm knows of the model and its published weights."""
        name = self.config.model
        base, _, tag = name.partition(".")
        if not timm.is_model(base):
            known = timm.list_models()
            raise UserError(f"{self.key}: timm has no model {name!r}{_did_you_mean(base, known)}")
        tagged = timm.list_pretrained(f"{base}.*")
        if tag and name not in tagged:
            raise UserError(f"{self.key}: timm has no weights {name!r}{_did_you_mean(name, tagged)}")
        return timm.get_pretrained_cfg(name) or PretrainedCfg()

    def _source(self, cfg: PretrainedCfg) -> Path | None:
        """The file of weights to start from."""
        if self.config.pretrained:
            return weights.from_hub(self.config.model, cfg, self.key)
        return self.config.weights

    def _load(self, task: Task, cfg: PretrainedCfg, source: Path) -> tuple[Any, bool]:
        """As `_create`, with the weights of a file.

        timm leaves what a file lacks as it was drawn, and what it has too much out. A user's own file must not be a
        wrong one in silence, so the model is drawn once without it, and what stayed the same is held to be lacking.
        """
        tensors = weights.read(source, self.key)
        if self.config.weights is None:
            return self._create(task, cfg, tensors)
        state = torch.get_rng_state()
        drawn, _ = self._create(task, cfg, None)
        torch.set_rng_state(state)
        model, flexible = self._create(task, cfg, tensors)
        before = dict(drawn.named_parameters())
        lacking = [name for name, value in model.named_parameters() if _same_draw(value, before[name])]
        if lacking:
            raise UserError(
                f"{self.key}: weights: {source} lacks {len(lacking)} of the {len(before)} tensors of "
                f"{self.config.model!r} (the first: {lacking[0]})"
            )
        return model, flexible

    def _create(self, task: Task, cfg: PretrainedCfg, tensors: dict[str, Tensor] | None) -> tuple[Any, bool]:
        """The model, and whether it takes images of any size.

        Models with a fixed size are built for the task's; those that can be told to interpolate their position
        embeddings are, so that stages may change the resolution.
        """
        if not cfg.fixed_input_size:
            return self._try(task, tensors, {}), True
        size = {"img_size": task.image_size}
        try:
            return self._try(task, tensors, {**size, "dynamic_img_size": True}), True
        except TypeError:
            return self._try(task, tensors, size), False

    def _try(self, task: Task, tensors: dict[str, Tensor] | None, more: dict[str, Any]) -> Any:
        options: dict[str, Any] = {"in_chans": task.channels, "num_classes": 0, **more}
        for name in ("drop_rate", "drop_path_rate"):
            if getattr(self.config, name) > 0:
                options[name] = getattr(self.config, name)
        if tensors is not None:
            options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(tensors), "source": ""}}
        state = torch.get_rng_state()
        try:
            model: Any = timm.create_model(self.config.model, **options)
        except TypeError as error:
            torch.set_rng_state(state)  # so that another try draws the same weights
            if "drop" in str(error):
                raise UserError(f"{self.key}: {self.config.model!r} takes no such setting: {error}") from error
            if "dynamic_img_size" in more:
                raise
            raise UserError(f"{self.key}: {self.config.model!r} cannot be built: {error}") from error
        except (RuntimeError, AssertionError, ValueError, KeyError) as error:
            what = f"weights do not fit {self.config.model!r}" if tensors is not None else "cannot be built"
            size = f" for {task.image_size[0]}×{task.image_size[1]} images" if task.image_size else ""
            raise UserError(f"{self.key}: {self.config.model!r} {what}{size}: {_last_line(error)}") from error
        model.pretrained_cfg.pop("state_dict", None)  # timm would keep a second copy of all weights
        return model

    def _wants_small_stem(self, model: object, size: tuple[int, int]) -> bool:
        wanted = self.config.small_stem
        fits = isinstance(model, ResNet)
        if wanted and not fits:
            raise UserError(f"{self.key}: small_stem: {self.config.model!r} is no ResNet; leave it out")
        if wanted is None:
            return fits and max(size) <= SMALL and not self.config.pretrained and self.config.weights is None
        return wanted

    def _put_small_stem(self, model: Any, channels: int) -> None:
        """Keep the first stages' maps as large as the image: He et al. 2016, section 4.2, for 32-pixel images."""
        if isinstance(model.conv1, nn.Sequential):
            first: Any = model.conv1[0]
            first.stride = (1, 1)  # a deep stem of 3×3 convolutions keeps its weights
        else:
            stem = nn.Conv2d(channels, model.conv1.out_channels, 3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
            model.conv1 = stem
        model.maxpool = nn.Identity()

    def _checkpoint(self, model: Any) -> None:
        try:
            model.set_grad_checkpointing(True)
        except (AssertionError, AttributeError) as error:
            raise UserError(f"{self.key}: grad_checkpointing: {self.config.model!r} does not support it") from error

    def _width(self, model: Any, task: Task) -> int:
        """D, from an image of the task's size, which also shows before training that the model can take it."""
        assert task.image_size is not None
        height, width = task.image_size
        model.eval()
        try:
            with torch.no_grad():
                hidden = model.forward_features(torch.zeros(1, task.channels or 1, height, width))
                features = model.forward_head(hidden, pre_logits=True)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"{self.key}: {self.config.model!r} cannot take {height}×{width} images ({_last_line(error)}); raise "
                "--data.image-size, or choose another model"
            ) from error
        except (AttributeError, TypeError) as error:
            raise UserError(f"{self.key}: {self.config.model!r} gives no features before its classifier") from error
        model.train()
        if features.dim() != 2:
            raise UserError(
                f"{self.key}: {self.config.model!r} gives features of shape {list(features.shape)}, not one vector"
            )
        return int(features.shape[1])


def _same_draw(value: Tensor, drawn: Tensor) -> bool:
    """Whether a parameter still holds what was drawn; constants (a norm's scale) say nothing."""
    return value.requires_grad and bool((drawn != drawn.flatten()[0]).any()) and torch.equal(value, drawn)


def _by_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Published per-channel statistics for images of another number of channels: their mean in each."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _last_line(error: BaseException) -> str:
    """The most telling line: torch lists mismatches after a heading."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
