"""Results on disk to tables, pictures and one self-contained page."""
