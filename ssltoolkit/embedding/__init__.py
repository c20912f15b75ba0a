"""Frozen embeddings: a trained encoder, an untrained one, or log-mel statistics, behind one interface.

Contains the frozen models and loading by name. Probes and scores belong to ``evaluation``.
"""

from ssltoolkit.embedding.baselines import LogMelModel
from ssltoolkit.embedding.encoder_model import EncoderModel
from ssltoolkit.embedding.frozen import FrozenModel, frame_total, mel_between, with_context
from ssltoolkit.embedding.loading import SHIPPED, from_checkpoint, load_frozen

__all__ = [
    "SHIPPED",
    "EncoderModel",
    "FrozenModel",
    "LogMelModel",
    "frame_total",
    "from_checkpoint",
    "load_frozen",
    "mel_between",
    "with_context",
]
