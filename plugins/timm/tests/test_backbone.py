from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from noisyrun.api import FeatureExtractor, Task, UserError
from noisyrun_timm import weights
from noisyrun_timm.backbone import TimmBackbone
from noisyrun_timm.config import TimmConfig

CLASSES = ("a", "b", "c")


def task(size: int = 32, channels: int = 3) -> Task:
    return Task(classes=CLASSES, image_size=(size, size), channels=channels)


def build(model: str, on: Task | None = None, **settings: object) -> FeatureExtractor:
    method = TimmBackbone(TimmConfig(model=model, **settings))
    method.key = "backbone.timm"
    return method(on or task())


def saved(model: str, path: Path, **options: object) -> Path:
    torch.manual_seed(7)
    save_file(timm.create_model(model, **options).state_dict(), path)
    return path


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet"])
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 1)])
def test_features_and_head_fit_together(model: str, size: int, channels: int) -> None:
    network = build(model, task(size, channels))
    features = network(torch.rand(2, channels, size, size))
    assert features.shape == (2, network.dim)
    assert network.make_head(network.dim, 3)(features).shape == (2, 3)


def test_no_classifier_is_left_behind() -> None:
    network = build("test_resnet")
    assert all(p.grad is not None for p in _after_backward(network))


def _after_backward(network: FeatureExtractor) -> list[torch.nn.Parameter]:
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    return list(network.parameters())


def test_same_seed_same_weights() -> None:
    torch.manual_seed(3)
    first = build("test_vit").state_dict()
    torch.manual_seed(3)
    second = build("test_vit").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resnets_keep_small_images_large() -> None:
    seen = torch.rand(2, 3, 32, 32)
    small = build("resnet10t").model.forward_features(seen)
    original = build("resnet10t", small_stem=False).model.forward_features(seen)
    assert small.shape[-1] == 4
    assert original.shape[-1] == 1


def test_a_plain_stem_is_replaced_and_a_large_image_keeps_it() -> None:
    assert build("resnet18").model.conv1.kernel_size == (3, 3)
    assert build("resnet18", task(96)).model.conv1.kernel_size == (7, 7)


def test_small_stem_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="small_stem"):
        build("test_vit", small_stem=True)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_local_weights_come_back_as_they_were_saved(model: str, tmp_path: Path) -> None:
    file = saved(model, tmp_path / "w.safetensors", num_classes=5)
    network = build(model, task(160), weights=file)
    torch.manual_seed(7)
    original = timm.create_model(model, num_classes=5).eval()
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = original.forward_head(original.forward_features(images), pre_logits=True)
        torch.testing.assert_close(network.eval()(images), expected, atol=1e-5, rtol=1e-4)


def test_weights_adapt_to_channels_and_image_size(tmp_path: Path) -> None:
    file = saved("test_vit", tmp_path / "w.safetensors")
    network = build("test_vit", task(32, 1), weights=file)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, network.dim)
    assert network.mean is not None
    assert len(network.mean) == 1


def test_normalisation_is_the_models_own_only_when_its_weights_are(tmp_path: Path) -> None:
    file = saved("test_resnet", tmp_path / "w.safetensors")
    assert build("test_resnet").mean is None
    assert build("test_resnet", weights=file).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("model", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_resolution_may_change_between_stages(model: str) -> None:
    network = build(model, task(64))
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 96, 96)).shape == (1, network.dim)


def test_a_model_of_one_size_says_so_in_one_line() -> None:
    network = build("test_maxvit", task(64))
    with pytest.raises(UserError, match="built for 64×64"):
        network(torch.rand(1, 3, 96, 96))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnt18", "resnet18"), ("resnet18.a1_in1", "resnet18.a1_in1k"), ("zzzz", "no model 'zzzz'")],
)
def test_an_unknown_model_is_refused_with_the_nearest_names(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as caught:
        build(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["resnet10t", "test_vit"])
def test_a_trained_network_is_rebuilt_when_its_starting_weights_are_gone(model: str, tmp_path: Path) -> None:
    file = saved(model, tmp_path / "w.safetensors")
    method = TimmBackbone(TimmConfig(model=model, weights=file))
    trained = method(task())
    file.unlink()
    again = TimmBackbone(method.blank())(task())
    again.load_state_dict(trained.state_dict())
    seen = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(seen), trained.eval()(seen))


def test_pickled_weights_are_refused_unopened(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"\x80\x04never read")
    with pytest.raises(UserError, match="not opened"):
        build("test_resnet", weights=file)


def test_a_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"\x80\x04\x95 a pickle in disguise")
    with pytest.raises(UserError, match="cannot be read"):
        build("test_resnet", weights=file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        build("test_resnet", weights=tmp_path / "absent.safetensors")


@pytest.mark.parametrize("other", ["test_vit", "resnet10t"])
def test_weights_of_another_model_are_refused_in_one_line(other: str, tmp_path: Path) -> None:
    file = saved(other, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"lacks|do not fit") as caught:
        build("test_resnet", weights=file)
    assert "\n" not in str(caught.value)


def test_published_weights_without_network_say_how_to_give_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_hub_answers", lambda: False)
    with pytest.raises(UserError, match=r"--backbone\.weights FILE\.safetensors") as caught:
        build("test_byobnet", pretrained=True)
    assert "\n" not in str(caught.value)


def test_published_weights_in_the_cache_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved("test_resnet", tmp_path / "model.safetensors")
    monkeypatch.setattr(weights, "hf_hub_download", lambda repo, name, **_: str(file.parent / name))
    network = build("test_resnet", task(160), pretrained=True)
    expected = weights.read(file, "k")["conv1.0.weight"]
    assert torch.equal(network.state_dict()["model.conv1.0.weight"], expected)


def test_settings_a_model_lacks_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="drop_path_rate"):
        build("vgg11", task(64), drop_path_rate=0.1)


def test_pretrained_and_weights_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of the two"):
        TimmConfig(pretrained=True, weights=tmp_path / "w.safetensors")


def test_features_without_images_are_refused() -> None:
    with pytest.raises(UserError, match="needs images"):
        build("test_resnet", Task(classes=CLASSES))
