"""ssltoolkit: self-supervised pre-training of audio encoders with several contrastive sampling strategies."""

from typing import Any, List

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import ``ssltoolkit.FrozenModel`` lazily, because torch takes a second to load."""
    if name == "FrozenModel":
        from ssltoolkit.embedding import FrozenModel

        return FrozenModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return [*globals(), "FrozenModel"]
