"""Data loading: Kaldi-style data directories, audio reading, archives, segment cuts, batches.

Works on files and NumPy arrays; spectrograms are computed in ``frontends``.
"""
