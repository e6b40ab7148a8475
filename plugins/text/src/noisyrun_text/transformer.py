"""Side information from a Hugging Face encoder, frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn

from noisyrun.api import Phase, Text, TextEncoder, UserError
from noisyrun_text.config import TransformerConfig
from noisyrun_text.words import TextSideInfo

#: Seconds to wait for the hub before saying that it cannot be reached; its own client retries for most of a minute.
REACH_TIMEOUT = 5.0

#: What transformers raises, beside OSError, for a model it cannot make sense of.
_UNREADABLE = (ValueError, ImportError, KeyError, RuntimeError, SafetensorError)


class TransformerEncoder(TextEncoder):
    """Last hidden states of a frozen encoder.

    Parameters
    ----------
    model
        Gives ``last_hidden_state`` [B, T, d] for ``input_ids`` and ``attention_mask``.
    pooling
        ``mean`` over the tokens that are no padding, or ``cls``: the first of them.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, config: TransformerConfig, device: torch.device) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.device = device
        self.pooling = config.pooling
        self.batch_size = config.batch_size
        self.max_length = min(config.max_length, _longest(model, tokenizer))
        self.dim = int(self._run(["a"])[0].shape[2])

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Float32 [B, T, d] and bool [B, T] on the CPU, special tokens included; T is the longest text's length."""
        if not texts:
            return torch.zeros(0, 0, self.dim), torch.zeros(0, 0, dtype=torch.bool)
        parts = list(self._batches(texts))
        width = max(mask.shape[1] for _, _, mask in parts)
        hidden = torch.zeros(len(texts), width, self.dim)
        kept = torch.zeros(len(texts), width, dtype=torch.bool)
        for rows, states, mask in parts:
            hidden[rows, : mask.shape[1]] = states
            kept[rows, : mask.shape[1]] = mask
        return hidden, kept

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Float32 [B, d] on the CPU; 0 for an empty text."""
        made = torch.zeros(len(texts), self.dim)
        for rows, states, mask in self._batches(texts):
            if self.pooling == "cls":
                made[rows] = states[torch.arange(len(rows)), mask.long().argmax(1)]
            else:
                share = mask.unsqueeze(-1).float()
                made[rows] = (states * share).sum(1) / share.sum(1).clamp(min=1.0)
        blank = torch.tensor([not text.strip() for text in texts], dtype=torch.bool)
        made[blank] = 0.0
        return made

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Positions, states and mask of batches of texts of like length, so that little is spent on padding."""
        order = torch.tensor(sorted(range(len(texts)), key=lambda i: (len(texts[i]), i)), dtype=torch.int64)
        for rows in torch.split(order, self.batch_size):
            states, mask = self._run([texts[i] for i in rows.tolist()])
            yield rows, states, mask

    @torch.no_grad()
    def _run(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        made = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt").to(
            self.device
        )
        output = self.model(input_ids=made["input_ids"], attention_mask=made["attention_mask"])
        return output.last_hidden_state.float().cpu(), made["attention_mask"].bool().cpu()


class TransformerSideInfo(TextSideInfo[TransformerConfig]):
    """Texts of classes and samples through any Hugging Face encoder, which never trains."""

    def preflight(self) -> None:
        """Load the model, so that a missing one is known before anything trains."""
        assert self._loaded

    @cached_property
    def _loaded(self) -> tuple[str, nn.Module, Any]:
        name, local = self._source()
        return name, *self._load(name, local)

    def make_encoder(self, text: Text, phase: Phase) -> TextEncoder:
        name, model, tokenizer = self._loaded
        device = phase.device if self.config.device == "auto" else self._device()
        try:
            return TransformerEncoder(_text_part(model), tokenizer, self.config, device)
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{self.key}: {name!r} is no text encoder ({_first_line(error)})") from error

    def _device(self) -> torch.device:
        try:
            device = torch.device(self.config.device)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"{self.key}: device {self.config.device!r}: {_first_line(error)}") from error
        return device

    def _source(self) -> tuple[str, bool]:
        """The model as transformers is to find it, and whether it is a local folder."""
        name = self.config.model
        path = Path(name).expanduser()
        if path.is_dir():
            self._hold_folder(path)
            return str(path), True
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UserError(f"{self.key}: no folder {name!r}")
        return name, False

    def _hold_folder(self, path: Path) -> None:
        if not (path / "config.json").is_file():
            raise UserError(f"{self.key}: {str(path)!r} has no config.json; give a model's folder")
        if not any(path.glob("*.safetensors")):
            raise UserError(
                f"{self.key}: {str(path)!r} has no *.safetensors; other weights are pickles and are not opened"
            )

    def _load(self, name: str, local: bool) -> tuple[nn.Module, Any]:
        """Model and tokenizer: from this machine where they are there, else from the hub."""
        with _quiet():
            try:
                return self._from_pretrained(name, local_files_only=True)
            except OSError as error:
                if local:
                    raise UserError(f"{self.key}: {name!r} cannot be read: {_first_line(error)}") from error
            except _UNREADABLE as error:
                raise UserError(f"{self.key}: {name!r} cannot be read: {_first_line(error)}") from error
        if self.config.local_files_only or not _hub_answers():
            why = "local_files_only is set" if self.config.local_files_only else "huggingface.co cannot be reached"
            raise UserError(
                f"{self.key}: model {name!r} is not on this machine and {why}; give a local folder "
                "(--side-info.model PATH), or use --side-info tfidf, which needs no downloads"
            )
        with _quiet():
            try:
                return self._from_pretrained(name, local_files_only=False)
            except (OSError, *_UNREADABLE) as error:
                raise UserError(f"{self.key}: model {name!r} cannot be loaded: {_first_line(error)}") from error

    def _from_pretrained(self, name: str, *, local_files_only: bool) -> tuple[nn.Module, Any]:
        common = {
            "revision": self.config.revision or "main",
            "local_files_only": local_files_only,
            "trust_remote_code": False,
        }
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **common)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return transformers.AutoModel.from_pretrained(name, use_safetensors=True, **common), tokenizer


def _text_part(model: Any) -> nn.Module:
    """The part of a model that encodes text: of an encoder-decoder its encoder, of a CLIP its text tower."""
    if getattr(model.config, "is_encoder_decoder", False):
        part: nn.Module = model.get_encoder()
        return part
    tower = getattr(model, "text_model", None)
    return tower if isinstance(tower, nn.Module) else model


def _longest(model: nn.Module, tokenizer: Any) -> int:
    """Tokens that both the tokenizer and the position embeddings allow."""
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    limits = [limit for limit in (positions, tokenizer.model_max_length) if isinstance(limit, int) and limit > 0]
    return min(limits, default=8192)


def _hub_answers() -> bool:
    """Whether the hub can be reached. Its own client would retry for most of a minute before saying so."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_TIMEOUT)
    except Exception:  # the client's exceptions differ between its versions; any of them means no answer
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars and notes about unused heads."""
    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
