from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from noisyrun.api import Phase, SideInfo, Task, Text, UserError
from noisyrun.api.side_info import TextEncoder
from noisyrun_text import transformer
from noisyrun_text.config import TransformerConfig
from noisyrun_text.transformer import TransformerSideInfo

WORDS = ["a", "and", "beagle", "car", "cat", "dog", "doors", "ears", "face", "fast", "flat", "fur", "long", "persian"]
WORDS += ["small", "striped", "tabby", "two", "vehicle", "with"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, saved as any other."""
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def encode(task: Task, text: Text, phase: Phase, model: object, **settings: object) -> SideInfo:
    method = TransformerSideInfo(TransformerConfig(model=str(model), **settings))
    method.key = "side_info.text"
    return method(task, text, SideInfo(), phase)


def encoder_of(side: SideInfo) -> TextEncoder:
    assert side.text_encoder is not None
    return side.text_encoder


def test_gives_every_field_it_declares(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    side = encode(task, text, phase, bert)
    gives = TransformerSideInfo(TransformerConfig()).gives
    assert all(getattr(side, name) is not None for name in gives)
    assert side.class_embeddings.shape == (4, 16)
    assert side.class_tokens.shape[:2] == side.class_tokens_mask.shape
    assert side.sample_embeddings.shape == (4, 16)


def test_vectors_do_not_depend_on_the_texts_beside_them(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    texts = ["cat", "a small dog with long ears and striped fur", "car", "two doors"]
    encoder = encoder_of(encode(task, text, phase, bert, batch_size=2))
    together = encoder.vectors(texts)
    alone = torch.cat([encoder.vectors([one]) for one in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_mean_of_tokens_is_the_vector_and_cls_the_first_token(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    texts = ["cat with fur", "dog"]
    mean = encoder_of(encode(task, text, phase, bert))
    first = encoder_of(encode(task, text, phase, bert, pooling="cls"))
    tokens, mask = mean.tokens(texts)
    torch.testing.assert_close(mean.vectors(texts), super(type(mean), mean).vectors(texts), atol=1e-5, rtol=0)
    torch.testing.assert_close(first.vectors(texts), tokens[:, 0], atol=1e-5, rtol=0)
    assert mask.sum(1).tolist() == [5, 3]


def test_long_texts_are_cut_at_what_the_model_can_take(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    encoder = encoder_of(encode(task, text, phase, bert, max_length=512))
    tokens, _ = encoder.tokens(["cat " * 200])
    assert tokens.shape[1] == 24


def test_an_empty_text_is_a_zero_vector(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    assert not encoder_of(encode(task, text, phase, bert)).vectors(["", "cat"])[0].any()


def test_the_encoder_is_frozen_and_its_output_may_train_others(
    bert: Path, task: Task, text: Text, phase: Phase
) -> None:
    side = encode(task, text, phase, bert)
    assert not any(parameter.requires_grad for parameter in encoder_of(side).model.parameters())
    layer = torch.nn.Linear(16, 1)
    layer(side.class_tokens).sum().backward()
    assert layer.weight.grad is not None


def test_encoding_draws_no_random_numbers(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    before = torch.get_rng_state()
    encode(task, text, phase, bert)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_encoder_decoder_gives_its_encoder(tmp_path: Path, bert: Path, task: Task, text: Text, phase: Phase) -> None:
    config = transformers.T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5Model(config).save_pretrained(tmp_path)
    transformers.BertTokenizer(str(bert / "vocab.txt")).save_pretrained(tmp_path)
    side = encode(task, text, phase, tmp_path)
    assert side.class_embeddings.shape == (4, 16)


def test_a_folder_of_pickled_weights_is_refused_unopened(tmp_path: Path, task: Task, text: Text, phase: Phase) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04never read")
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        encode(task, text, phase, tmp_path)


def test_a_damaged_folder_is_refused_in_one_line(
    bert: Path, tmp_path: Path, task: Task, text: Text, phase: Phase
) -> None:
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="cannot be read") as caught:
        encode(task, text, phase, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "a/b/c"])
def test_a_path_that_is_not_there_is_not_taken_for_a_model_id(name: str, task: Task, text: Text, phase: Phase) -> None:
    with pytest.raises(UserError, match="no folder"):
        encode(task, text, phase, name)


def test_a_missing_model_is_known_before_training() -> None:
    encoder = TransformerSideInfo(TransformerConfig(model="./absent"))
    with pytest.raises(UserError, match="no folder"):
        encoder.preflight()


@pytest.mark.parametrize("only_local", [True, False])
def test_offline_says_how_to_give_a_local_folder(
    only_local: bool, task: Task, text: Text, phase: Phase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(transformer, "_hub_answers", lambda: False)
    with pytest.raises(UserError, match=r"give a local folder \(--side-info\.model PATH\)") as caught:
        encode(task, text, phase, "noisyrun/no-such-model", local_files_only=only_local)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_refused_in_one_line(bert: Path, task: Task, text: Text, phase: Phase) -> None:
    with pytest.raises(UserError, match="device 'cuda:99'"):
        encode(task, text, phase, bert, device="cuda:99")
