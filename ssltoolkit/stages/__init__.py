"""The stages of a recipe, one module each: format, features, pretrain, whiten, embed, evaluate, report.

A stage is one function from options to output files; its options are arguments or, if there are many, one dataclass.
Python can call it like ``ssltoolkit <name>``. Command lines are in ``bin``; audio, training, probes and tables have
packages of their own.
"""
