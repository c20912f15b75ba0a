"""Kaldi-style data directories for the shell helpers; standard library only, ids are bytes."""
