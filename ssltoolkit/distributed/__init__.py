"""Training with several processes: rank and rendezvous, collectives, layers whose statistics span processes, launching.

Here lives what must know of other processes. With one process every call is a no-op. The training loop does not live
here."""
