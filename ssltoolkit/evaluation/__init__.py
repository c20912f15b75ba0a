"""Frozen evaluation: embeddings on disk, tasks, probes, metrics, post-processing and statistics."""
