"""ssltoolkit: self-supervised pre-training of audio encoders with several contrastive sampling strategies."""

__version__ = "0.1.0"
