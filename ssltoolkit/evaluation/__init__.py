"""Frozen evaluation: embeddings on disk, tasks, probes, metrics, post-processing and statistics.

Here lives all that turns embeddings and labels into scores. Encoders and audio never do: what is evaluated is a folder
of arrays."""
