"""Weights of timm models, from files that hold nothing but tensors."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import PretrainedCfg
from torch import Tensor

from noisyrun.api import UserError

#: Seconds to wait for the hub before saying that it cannot be reached; its own client retries for most of a minute.
REACH_TIMEOUT = 5.0


def read(path: Path, key: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file, by name.

    Raises
    ------
    UserError
        When there is no such file, or it is of another format: those may be pickles, and are not opened.
    """
    if not path.is_file():
        raise UserError(f"{key}: weights: no file {str(path)!r}")
    if path.suffix != ".safetensors":
        raise UserError(f"{key}: weights: {path} is no .safetensors file; other formats may be pickles, not opened")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{key}: weights: {path} cannot be read: {error}") from error


def from_hub(model: str, cfg: PretrainedCfg, key: str) -> Path:
    """The safetensors file of a model's published weights: of this machine's cache, else downloaded."""
    repo, _, revision = (cfg.hf_hub_id or "").partition("@")
    if not repo:
        raise UserError(f"{key}: timm has no published safetensors weights for {model!r}; give --backbone.weights FILE")
    names = _file_names(cfg)
    for name in names:
        try:
            return Path(hf_hub_download(repo, name, revision=revision or None, local_files_only=True))
        except OSError:
            continue
    if not _hub_answers():
        raise UserError(
            f"{key}: weights of {model!r} ({repo}) are not on this machine and huggingface.co cannot be reached; give "
            "a local file (--backbone.weights FILE.safetensors), or leave pretrained off"
        )
    problem: OSError | None = None
    for name in names:
        try:
            return Path(hf_hub_download(repo, name, revision=revision or None))
        except OSError as error:
            problem = error
    why = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
    raise UserError(f"{key}: no safetensors weights of {model!r} could be had from {repo}: {why}") from problem


def _file_names(cfg: PretrainedCfg) -> list[str]:
    named = cfg.hf_hub_filename
    if named:
        return [named if named.endswith(".safetensors") else str(Path(named).with_suffix(".safetensors"))]
    return ["model.safetensors", "open_clip_model.safetensors"]


def _hub_answers() -> bool:
    """Whether the hub can be reached."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_TIMEOUT)
    except Exception:  # the client's exceptions differ between its versions; any of them means no answer
        return False
    return True
