"""Frozen evaluation: embeddings on disk, tasks, probes, metrics, post-processing and statistics.

Turns embeddings and labels into scores. It never touches encoders or audio: its input is a folder of arrays."""
