"""Published models with weights in Python packages (extra ``peers``), for comparison: ``--model peer:NAME``."""

from ssltoolkit.peers.base import PEERS, load_peer

__all__ = ["PEERS", "load_peer"]
