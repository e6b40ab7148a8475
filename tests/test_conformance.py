"""Every plugin that is installed passes the conformance suite; those that arrive are found by discovery."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from noisyrun.plugins import discover
from noisyrun.testing import Check, Subject, parametrize_with_checks, small_settings, subject

FOLDER = Path(tempfile.mkdtemp(prefix="noisyrun-conformance-"))
REGISTRY = discover()


def word_vectors() -> str:
    """A file of vectors for the words of the suite's texts."""
    words = "tabby cat beagle dog sports car oak tree red rose steam train tea cup grand piano photo picture one kind"
    lines = [f"{word} {i % 3} {i % 5} {i % 7} 1" for i, word in enumerate(words.split(), start=1)]
    path = FOLDER / "words.vec"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def language_model() -> str:
    """A folder with a BERT of two tiny layers."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = FOLDER / "bert"
    folder.mkdir()
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), intermediate_size=32, **sizes)).save_pretrained(folder)
    return str(folder)


#: What stands in the way of a default on a machine that is small and asks no network.
SETTINGS = {
    "backbone.timm": lambda: {"model": "test_resnet"},
    "side_info.fasttext": lambda: {"vectors": word_vectors()},
    "side_info.text": lambda: {"model": language_model()},
    "weighter.verified": lambda: {"grid": (0.01,)},
}


def installed() -> list[Subject]:
    """Every plugin, with settings that make it quick."""
    found = []
    for key in sorted(REGISTRY.plugins):
        name = ".".join(key)
        small = small_settings(REGISTRY.config_class(*key))
        found.append(subject(name, {**small, **SETTINGS.get(name, dict)()}, registry=REGISTRY))
    return found


@parametrize_with_checks(installed())
def test_conformance(plugin: Subject, check: Check) -> None:
    check(plugin)


def test_every_socket_has_plugins_that_are_checked() -> None:
    kinds = {kind for kind, _ in REGISTRY.plugins}
    assert kinds == {"backbone", "side_info", "prototypes", "weighter", "corrector", "lifecycle"}
