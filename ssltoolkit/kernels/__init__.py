"""Compiled CPU kernels for what torch computes slowly: passes over wide tensors that read once what torch reads several
times.

Each kernel has a plain torch form that other devices use and that the tests compare it with. No kernel knows of audio,
models or losses: it takes arrays. Nothing here may be imported before it is needed, for numba takes a while to load."""
