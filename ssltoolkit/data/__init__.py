"""Audio on its way to a batch: Kaldi-style data directories, audio reading, archives, cuts of segments.

Here live files and NumPy arrays. Models, losses and scores never do; spectrograms begin in ``frontends``.
"""
