"""The encoder: ONNX Runtime answers nearly what torch does, whatever stands beside a text in its batch."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets import encoder as module
from crewflow_assets.arrays import Singles
from crewflow_assets.encoder import (
    LONGEST,
    Encoder,
    checkpoint,
    encoder,
    exported,
    stored_beside,
)

TEXTS = [
    "Labor",
    "Rough Electrical",
    "ELEC R/I LBR",
    "Job Expenses Cost of Goods Sold Subcontractors and outside services, fire alarm and sprinkler",
    "Béton armé",
    "16-100.L",
    "材料費",
    "word " * 200,
]

CLOSE = 0.998
"""The least cosine of an embedding in 8-bit arithmetic with that of 32 bits."""


@cache
def torch_model(source: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()


def by_torch(text: str, source: str) -> Singles:
    """Encode one text alone, as the model's authors do: the mean of its tokens' hidden states, at unit length."""
    import torch

    tokenizer, bert = torch_model(source)
    given = tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST)
    with torch.no_grad():
        pooled = bert(**given).last_hidden_state[0].mean(dim=0)
    found: Singles = torch.nn.functional.normalize(pooled, dim=0).numpy()
    return found


@pytest.fixture
def fresh(home: Path) -> Encoder:
    """The default encoder, with nothing kept."""
    return Encoder(exported(checkpoint()))


def test_embeddings_are_those_of_torch_together_and_alone(fresh: Encoder) -> None:
    together = fresh.encode(TEXTS)
    alone = np.stack([Encoder(exported(checkpoint())).encode([text])[0] for text in TEXTS])
    truth = np.stack([by_torch(text, checkpoint()) for text in TEXTS])
    assert (together * truth).sum(axis=1).min() >= CLOSE
    np.testing.assert_array_equal(alone, together)


def test_the_neighbours_in_a_batch_do_not_matter(home: Path) -> None:
    folder = exported(checkpoint())
    short, long = Encoder(folder), Encoder(folder)
    among_short = short.encode(["Labor", *(f"Paint {i}" for i in range(30))])[0]
    among_long = long.encode(["Labor", *(f"Paint {i} " + "and much more " * 12 for i in range(30))])[0]
    np.testing.assert_allclose(among_short, among_long, atol=1e-5)


def test_embeddings_have_unit_length_and_the_width_of_the_model(fresh: Encoder) -> None:
    found = fresh.encode([*TEXTS, "", " ", "!"])
    assert found.shape == (len(TEXTS) + 3, fresh.width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_texts_have_finite_embeddings_in_their_order(texts: list[str]) -> None:
    found = encoder().encode(texts)
    assert found.shape == (len(texts), encoder().width)
    assert np.isfinite(found).all()
    for place, text in enumerate(texts):
        np.testing.assert_array_equal(found[place], encoder().encode([text])[0])


def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keep what is really encoded."""
    ran: list[list[str]] = []
    real = Encoder._encoded

    def run(self: Encoder, texts: Any) -> Any:
        ran.extend([list(texts)] if texts else [])
        return real(self, texts)

    monkeypatch.setattr(Encoder, "_encoded", run)
    return ran


def test_what_was_encoded_before_is_kept(fresh: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = counted(monkeypatch)
    first = fresh.encode(["Labor", "Paint", "Labor"])
    np.testing.assert_array_equal(first[0], first[2])
    again = fresh.encode(["Paint", "Roof", "Labor"])
    np.testing.assert_array_equal(again[[0, 2]], first[[1, 0]])
    assert sorted(text for batch in ran for text in batch) == ["Labor", "Paint", "Roof"]


def test_more_texts_than_are_kept_are_encoded_all_the_same(fresh: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_TEXTS", 3)
    names = [f"Paint {i}" for i in range(9)]
    first = fresh.encode(names)
    assert len(fresh._kept) == 3
    np.testing.assert_allclose(fresh.encode(names[::-1]), first[::-1], atol=1e-5)


def test_what_was_asked_for_last_is_thrown_away_last(fresh: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_TEXTS", 2)
    fresh.encode(["Labor"])
    fresh.encode(["Paint"])
    fresh.encode(["Labor"])
    fresh.encode(["Roof"])
    ran = counted(monkeypatch)
    fresh.encode(["Labor"])
    assert ran == []
    fresh.encode(["Paint"])
    assert ran == [["Paint"]]


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """The default encoder's folder, with nothing stored beside it."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (folder / name).symlink_to(exported(checkpoint()) / name)
    return folder


NAMES = [f"Paint {i}" for i in range(40)]


def test_many_texts_at_once_are_kept_on_disk(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORED_FROM", 20)
    few, many = Encoder(copied), Encoder(copied)
    few.encode(NAMES[:19])
    assert not stored_beside(copied).exists()
    first = many.encode(NAMES)
    ran = counted(monkeypatch)
    np.testing.assert_array_equal(Encoder(copied).encode([*NAMES[::-1], "Roof"])[:-1], first[::-1])
    assert ran == [["Roof"]]


def test_threads_that_ask_for_the_same_many_texts_encode_them_once(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORED_FROM", 20)
    shared = Encoder(copied)
    ran = counted(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: shared.encode(NAMES), range(4))
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert sorted(text for batch in ran for text in batch) == sorted(NAMES)


def test_a_store_that_cannot_be_read_costs_time_and_no_answer(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STORED_FROM", 20)
    stored_beside(copied).write_bytes(b"this is no database" * 100)
    np.testing.assert_allclose(Encoder(copied).encode(NAMES)[0], Encoder(copied).encode(NAMES[:1])[0], atol=1e-5)
    assert "cannot be read" in caplog.text
    assert "cannot be kept" in caplog.text


def test_no_texts_have_no_embeddings_but_their_width(fresh: Encoder) -> None:
    assert fresh.encode([]).shape == (0, fresh.width)


def test_threads_share_an_encoder(fresh: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_TEXTS", 4)  # so that what one thread found, another may throw away
    names = [f"Paint {i}" for i in range(12)]
    truth = Encoder(exported(checkpoint())).encode(names)
    with ThreadPoolExecutor(4) as pool:
        for order, found in pool.map(
            lambda i: (np.roll(np.arange(12), i), fresh.encode(list(np.roll(names, i)))), range(24)
        ):
            np.testing.assert_allclose(found, truth[order], atol=1e-5)
