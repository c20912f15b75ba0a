"""Training with several processes: rank and rendezvous, collectives, layers whose statistics span processes, launching.

All code that depends on other processes is here. With one process every call is a no-op. The training loop is in
``training``."""
