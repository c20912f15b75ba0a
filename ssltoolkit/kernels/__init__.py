"""Compiled CPU kernels for operations that are slow in torch because it reads large tensors several times.

Each kernel has a plain torch version, which other devices use and which tests compare it with. Kernels take arrays and
know nothing about audio, models or losses. Import them only when needed, because numba takes a while to load."""
