"""MAEB, the audio part of MTEB (package ``mteb`` 2.8 or later)::

import mteb
from ssltoolkit.adapters.mteb import encoder

mteb.evaluate(encoder("exp/main/multi_strategy/best.pt"), mteb.get_tasks(["BeijingOpera"]))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ssltoolkit.adapters.common import at_rate, loaded
from ssltoolkit.errors import UserError


def encoder(model: Any = "shipped") -> Any:
    """An mteb encoder for audio tasks that returns scene embeddings; audio may have any rate and length.

    Args:
        model: a frozen model or its name.

    Raises:
        UserError: mteb is missing or too old.
    """
    try:
        from mteb.models import ModelMeta
        from mteb.models.abs_encoder import AbsEncoder
    except ImportError as error:
        raise UserError(f"mteb 2.8 or later is needed ({error}): pip install 'mteb[audio]'") from None
    frozen = loaded(model)

    class SSLToolkitEncoder(AbsEncoder):
        """Scene embeddings of the frozen model."""

        def __init__(self) -> None:
            self.model = frozen
            self.mteb_model_meta = _meta(ModelMeta, frozen)

        def encode(
            self,
            inputs: Any,
            *,
            task_metadata: Any = None,
            hf_split: str = "",
            hf_subset: str = "",
            prompt_type: Any = None,
            **kwargs: Any,
        ) -> np.ndarray:
            """Encode batches with a column ``audio`` to (n, D) float32."""
            dataset = getattr(inputs, "dataset", None)
            features = getattr(dataset, "features", None)
            if features is not None and "audio" not in features:
                raise ValueError("this model embeds audio only; choose tasks with the modality audio")
            if hasattr(inputs, "collate_fn"):
                inputs.collate_fn = _rows  # clips of different lengths cannot be stacked
            rows = []
            for batch in inputs:
                for clip in batch["audio"]:
                    samples, rate = _samples(clip)
                    wave = torch.from_numpy(at_rate(samples, rate, frozen))[None].to(next(frozen.buffers()).device)
                    rows.append(frozen.scenes(wave)[0].cpu().numpy())
            return np.stack(rows).astype(np.float32)

    return SSLToolkitEncoder()


def _rows(batch: list) -> dict:
    return {key: [row[key] for row in batch] for key in batch[0]}


def _samples(clip: Any) -> tuple:
    """Samples and rate of a decoded clip of ``datasets``, in the format of older or newer versions."""
    if hasattr(clip, "get_all_samples"):
        found = clip.get_all_samples()
        return found.data.numpy(), found.sample_rate
    return np.asarray(clip["array"]), int(clip["sampling_rate"])


def _meta(kind: Any, frozen: Any) -> Any:
    size = sum(parameter.numel() for parameter in frozen.parameters())
    name = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in str(frozen.identity["model"]))
    return kind(
        loader=None, name=f"ssltoolkit/{name}", revision=str(frozen.identity["model_hash"])[:16], release_date=None,
        languages=None, n_parameters=size, memory_usage_mb=size * 4 / 2**20, max_tokens=None,
        embed_dim=int(frozen.scene_dim), license=None, open_weights=True, public_training_code=None,
        public_training_data=None, framework=["PyTorch"], similarity_fn_name="cosine", use_instructions=False,
        training_datasets=None, modalities=["audio"], reference=None,
    )  # fmt: skip
