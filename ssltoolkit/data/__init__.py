"""Kaldi-style data directories, audio reading, archives and the training data set."""
