"""Adapters of this toolkit's models to other benchmarks: X-ARES, MAEB (``mteb``), S3PRL and EVAR, one module each.

The benchmarks are no dependencies and are imported only when needed.
"""
