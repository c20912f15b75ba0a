"""Models of others whose weights come with a package (extra ``peers``): ``--model peer:NAME``."""

from ssltoolkit.peers.base import PEERS, load_peer

__all__ = ["PEERS", "load_peer"]
