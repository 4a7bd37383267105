"""Modules by the name of a factory: what is wrong with one is said before anything is traced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.export.traced.factory import load_into, module_facts, module_from, traced_model
from mpcvit.inputs import InputKind, InputSpec

CODE = """
from torch import nn
number = 3
def raises(): raise ValueError("no such size")
def gives_a_number(): return 3
def takes_one(size): return nn.Identity()
def build(): return nn.Flatten()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a package of one file."""
    (tmp_path / "own_networks").mkdir()
    (tmp_path / "own_networks" / "file.py").write_text(CODE)
    (tmp_path / "own_networks" / "broken.py").write_text("import nowhere_to_be_found")
    (tmp_path / "alone_in_a_file.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["own_networks.file:build", "alone_in_a_file.py:build", "alone_in_a_file:build"])
def test_a_factory_is_found_by_package_or_file(name: str) -> None:
    """In the current folder; the module is in eval mode."""
    module = module_from(name)
    assert isinstance(module, nn.Flatten)
    assert not module.training


def test_a_file_may_be_called_as_it_likes(folder: Path) -> None:
    """Also as a module of Python's own; what lies beside it can be imported when the factory is called."""
    (folder / "beside.py").write_text("size = 7")
    code = "def build():\n    from torch import nn\n    import beside\n    return nn.Linear(beside.size, 2)\n"
    (folder / "email.py").write_text(code)
    module = module_from("email.py:build")
    assert isinstance(module, nn.Linear)
    assert module.in_features == 7


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("own_networks.file", "--module own_networks.file"),
        ("own_networks.nothing:build", "ModuleNotFoundError.* when 'own_networks.nothing' was imported"),
        ("own_networks.broken:build", "nowhere_to_be_found"),
        ("own_networks.file:missing", "nothing called 'missing'"),
        ("own_networks.file:number", "int called 'number'"),
        ("own_networks.file:raises", "ValueError: no such size when"),
        ("own_networks.file:takes_one", "TypeError"),
        ("own_networks.file:gives_a_number", "a int from"),
    ],
)
def test_a_factory_that_gives_no_module_is_refused(name: str, got: str) -> None:
    """Whatever its code does, the error says what happened, what was expected, and what to do."""
    with pytest.raises(ConfigError, match=got):
        module_from(name)


class _Gives(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> object:
        return self.answer


@pytest.mark.parametrize(
    ("module", "got"),
    [
        (_Gives((torch.zeros(1, 2), torch.zeros(1))), "an answer tuple"),
        (_Gives(torch.zeros(1, 2, 2)), r"float32 \[1, 2, 2\]"),
        (_Gives(torch.zeros(1, 2, dtype=torch.long)), "int64"),
        (nn.Linear(5, 2), "RuntimeError.* for a picture"),
    ],
)
def test_a_module_that_gives_no_logits_is_refused(module: nn.Module, got: str) -> None:
    with pytest.raises(ConfigError, match=got):
        traced_model(module, 3, 4, 4)


def test_the_number_of_classes_is_found() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    assert traced_model(module, 3, 4, 4).config.output_shape == (5,)


def test_options_go_before_attributes() -> None:
    module = nn.Identity()
    for name, value in (("image_size", 32), ("mean", (0.1, 0.2, 0.3)), ("std", [1, 1, 1])):
        setattr(module, name, value)
    facts = module_facts(module, None, None, "0.5,0.5,0.25")
    assert (facts.input, facts.mean, facts.std) == (InputSpec(shape=(3, 32, 32)), (0.1, 0.2, 0.3), (0.5, 0.5, 0.25))


def test_a_module_may_read_something_else() -> None:
    """Its input_spec says what; there are as many means as channels."""
    module = nn.Identity()
    spec = InputSpec(kind=InputKind.VOLUME, shape=(2, 4, 4), bits=16)
    module.input_spec, module.mean, module.std = spec, (0.5,), (0.25,)
    assert module_facts(module, None, None, None).input == spec
    with pytest.raises(ConfigError, match="--image-size 8 for a module that reads a volume"):
        module_facts(module, 8, None, None)
    with pytest.raises(ConfigError, match=r"mean \['0.1', '0.2'\]; expected 1 numbers"):
        module_facts(module, None, "0.1,0.2", None)
    module.input_spec = "volume"
    with pytest.raises(ConfigError, match="a str as the module's input_spec"):
        module_facts(module, None, None, None)


@pytest.mark.parametrize(
    ("size", "mean", "std", "got"),
    [
        (None, "0,0,0", "1,1,1", "no image size"),
        (0, "0,0,0", "1,1,1", "0 image size"),
        (8, None, "1,1,1", "no mean"),
        (8, "0,0", "1,1,1", "mean"),
        (8, "0,0,0", "1,0,1", "std"),
        (8, "0,0,none", "1,1,1", "mean"),
    ],
)
def test_what_nobody_says_is_asked_for(size: int | None, mean: str | None, std: str | None, got: str) -> None:
    with pytest.raises(ConfigError, match=got):
        module_facts(nn.Identity(), size, mean, std)


def test_weights_belong_to_the_module(folder: Path) -> None:
    """Of a file with the module's names, or with what a training script wraps them in."""
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file({f"module.{name}": tensor for name, tensor in source.state_dict().items()}, folder / "w.safetensors")
    load_into(target, folder / "w.safetensors", "x:y")
    assert torch.equal(source.weight, target.weight)
    with pytest.raises(ModelFileError, match="another module than 'x:y'"):
        load_into(nn.Linear(4, 2), folder / "w.safetensors", "x:y")
    (folder / "w.safetensors").write_text("no weights")
    with pytest.raises(ModelFileError, match="reading"):
        load_into(target, folder / "w.safetensors", "x:y")
