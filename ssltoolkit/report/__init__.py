"""Tables, figures and a self-contained page from results on disk.

Only displays results: scores are computed in ``evaluation``, and no model is loaded.
"""
