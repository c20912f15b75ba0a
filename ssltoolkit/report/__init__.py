"""Results on disk to tables, pictures and one self-contained page.

Here lives what is shown. No score is computed here (``evaluation``), and no model is loaded.
"""
