"""Checkpoints are exported once, whole, and known by their content."""

import errno
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crewflow_assets import encoder as module
from crewflow_assets.encoder import (
    Encoder,
    checkpoint,
    encoder,
    export,
    exported,
    identity,
)
from crewflow_assets.errors import NotReadyError
from crewflow_assets.settings import get_settings
from tests.test_encoder import CLOSE, TEXTS, by_torch


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of another BERT checkpoint: two layers, 32 wide, of random weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint())
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def another(home: Path, small: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The other checkpoint in force, and exported nowhere yet."""
    monkeypatch.setenv("CREWFLOW_ENCODER", small)
    monkeypatch.setenv("CREWFLOW_ENCODER_CACHE", "")
    get_settings.cache_clear()
    return small


def test_another_checkpoint_is_exported_once_under_the_home_folder(
    another: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint() == another
    found = encoder().encode(TEXTS)
    assert found.shape == (len(TEXTS), 32)
    assert (found * np.stack([by_torch(text, another) for text in TEXTS])).sum(axis=1).min() >= CLOSE
    [folder] = (home / "encoder").iterdir()
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "tokenizer.json"}

    def refuse(*_: object) -> None:
        raise AssertionError("it is exported already")

    monkeypatch.setattr(module, "export", refuse)
    assert exported(another) == folder


def test_the_settings_choose_the_folder_of_the_exports(
    another: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWFLOW_ENCODER_CACHE", str(tmp_path / "elsewhere"))
    get_settings.cache_clear()
    assert exported(another).parent == tmp_path / "elsewhere"


def test_an_export_that_fails_leaves_nothing_behind(
    another: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_source: str, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(module, "export", half)
    with pytest.raises(OSError, match="disk full"):
        exported(another)
    assert list((home / "encoder").iterdir()) == []


def test_threads_that_export_at_once_get_one_whole_export(another: str, home: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = [future.result() for future in [pool.submit(exported, another) for _ in range(3)]]
    check_export(home, set(found))


def export_in_process(source: str, environment: dict[str, str], barrier: Any, answers: Any) -> None:
    os.environ.update(environment)
    get_settings.cache_clear()
    real: Callable[[str, Path], None] = module.export

    def together(source: str, folder: Path) -> None:
        barrier.wait(timeout=60)  # so that no process finds the other's export
        real(source, folder)

    module.export = together
    answers.put(str(exported(source)))


def test_processes_that_export_at_once_get_one_whole_export(another: str, home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    environment = {"CREWFLOW_HOME": str(home), "CREWFLOW_ENCODER": another, "CREWFLOW_ENCODER_CACHE": ""}
    processes = [
        context.Process(target=export_in_process, args=(another, environment, barrier, answers)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = {Path(answers.get(timeout=120)) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    check_export(home, found)


def check_export(home: Path, found: set[Path]) -> None:
    assert list((home / "encoder").iterdir()) == list(found)  # one, and nothing unfinished
    [folder] = found
    assert Encoder(folder).encode(["Labor", "Rough Electrical"]).shape == (2, 32)


def test_a_checkpoint_is_known_by_its_content_and_not_by_its_place(small: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    assert identity(str(copy)) == identity(small)
    (copy / "README.md").write_text("Changes no embedding.")
    assert identity(str(copy)) == identity(small)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)  # as fine-tuning in place would
    assert identity(str(copy)) != identity(small)
    assert identity("bert-base-uncased") != identity("bert-large-uncased")  # on a hub


def test_an_encoder_says_which_it_is(another: str) -> None:
    assert encoder().id == identity(another)


def test_a_checkpoint_that_is_not_there_is_named_with_the_remedy(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"CREWFLOW_ENCODER is '.*nothing'.*unset it for the packaged encoder"):
        export(str(tmp_path / "nothing"), tmp_path)


@pytest.mark.parametrize("error", [OSError(), FileNotFoundError(errno.ENOENT, "No such file", "config.json")])
def test_whatever_a_missing_checkpoint_says_the_remedy_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    fail_to_read(monkeypatch, error)
    with pytest.raises(NotReadyError, match=r"no BERT checkpoint is there \(\S.*\); name a folder"):
        export("anything", tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_trouble_with_the_disk_is_not_told_as_a_missing_checkpoint(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_to_read(monkeypatch, OSError(number, os.strerror(number)))
    with pytest.raises(OSError, match=os.strerror(number)):
        export(checkpoint(), tmp_path)


def fail_to_read(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    from transformers import AutoModel

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(AutoModel, "from_pretrained", fail)


@pytest.mark.parametrize("name", ["LONGEST", "OPSET", "BITS", "BLOCK", "SYMMETRIC", "INT8_ACTIVATIONS"])
def test_an_encoder_that_computes_otherwise_is_another(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = identity(checkpoint())
    monkeypatch.setattr(module, name, getattr(module, name) + 1)
    assert identity(checkpoint()) != before
