"""Models of this toolkit as other benchmarks ask for them: X-ARES, MAEB (``mteb``), S3PRL and EVAR, one module each.

None of those packages is imported before it is needed, and none is a dependency.
"""
