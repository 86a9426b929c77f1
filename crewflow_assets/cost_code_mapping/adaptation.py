"""What other companies' decisions teach, as learned weights: the encoder's space, adapted to accepted pairs.

Two low-rank residual maps (as LoRA, Hu et al. 2021, on the frozen encoder's output) turn a source's and an account's
embedding so that accepted pairs come close: contrastive learning (InfoNCE, van den Oord et al. 2018) whose negatives
are the other accounts of the same chart. Nothing of a company is kept but its pull on the weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from crewflow_assets.arrays import AnyFloats, Ints, Singles
from crewflow_assets.cost_code_mapping.text import spoken, unordered
from crewflow_assets.encoder import encoder

RANK = 128
EPOCHS = 10
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
DROPOUT = 0.2
FIRST_TEMPERATURE = 2.7  # log of the scale of cosines
FILE = "adaptation.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """One company's accepted pairs: names of sources, texts of all its accounts, and each source's right one."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    right: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """The fitted maps: ``x + x·down·up`` for sources and for targets, and the scale of their cosine."""

    source_down: Singles
    source_up: Singles
    target_down: Singles
    target_up: Singles
    scale: float

    def sources(self, embeddings: Singles) -> Singles:
        """Map source embeddings, shape (n, width)."""
        return _unit(embeddings + embeddings @ self.source_down @ self.source_up)

    def targets(self, embeddings: Singles) -> Singles:
        """Map account embeddings, shape (n, width)."""
        return _unit(embeddings + embeddings @ self.target_down @ self.target_up)

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors."""
        from safetensors.numpy import save_file

        save_file(
            {
                "source_down": np.ascontiguousarray(self.source_down),
                "source_up": np.ascontiguousarray(self.source_up),
                "target_down": np.ascontiguousarray(self.target_down),
                "target_up": np.ascontiguousarray(self.target_up),
                "scale": np.array([self.scale], np.float32),
            },
            folder / FILE,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        from safetensors.numpy import load_file

        weights: dict[str, Any] = load_file(folder / FILE)
        scale = float(weights.pop("scale")[0])
        return cls(**weights, scale=scale)

    @classmethod
    def none(cls, width: int) -> Self:
        """Return the encoder's space as it is."""
        down, up = np.zeros((width, 1), np.float32), np.zeros((1, width), np.float32)
        return cls(down, up, down, up, float(np.exp(FIRST_TEMPERATURE)))


def _unit(vectors: AnyFloats) -> Singles:
    unit: Singles = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def fit_adaptation(
    companies: Sequence[Pairs],
    *,
    seed: int,
    epochs: int = EPOCHS,
    progress: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> Adaptation:
    """Fit on accepted pairs, one company a step.

    Args:
        companies: Their pairs; without any, the space stays as it is.
        seed: Of the initial weights and the order.
        epochs: How often each company is seen.
        progress: Told the epoch and its mean loss.
    """
    import torch
    from torch.nn.functional import cross_entropy, dropout, normalize

    encode = encoder().encode
    data = [
        (
            torch.from_numpy(encode([unordered(source) for source in c.sources])),
            torch.from_numpy(encode([spoken(target) for target in c.targets])),
            torch.from_numpy(c.right),
        )
        for c in companies
        if len(c.sources) and len(c.targets) > 1
    ]
    width = encoder().width
    if not data:
        return Adaptation.none(width)
    torch.set_num_threads(1)  # steps this small lose more to waiting for each other than they gain
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    down = [(torch.randn(width, RANK, generator=generator) * 0.05).requires_grad_() for _ in range(2)]
    up = [torch.zeros(RANK, width, requires_grad=True) for _ in range(2)]
    scale = torch.tensor(FIRST_TEMPERATURE, requires_grad=True)
    optimizer = torch.optim.AdamW([*down, *up, scale], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs)
    for epoch in range(epochs):
        losses = []
        for place in torch.randperm(len(data), generator=generator).tolist():
            sources, targets, right = data[place]
            x, y = dropout(sources, DROPOUT), dropout(targets, DROPOUT)
            x = normalize(x + x @ down[0] @ up[0], dim=-1)
            y = normalize(y + y @ down[1] @ up[1], dim=-1)
            loss = cross_entropy(scale.exp() * x @ y.T, right)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        schedule.step()
        progress(epoch + 1, float(np.mean(losses)))
    weights = [tensor.detach().numpy() for tensor in (down[0], up[0], down[1], up[1])]
    return Adaptation(
        source_down=weights[0],
        source_up=weights[1],
        target_down=weights[2],
        target_up=weights[3],
        scale=float(scale.detach().exp()),
    )
