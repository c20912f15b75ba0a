"""The stages of a recipe, one module each: format, features, pretrain, whiten, embed, evaluate, report.

Here lives what a stage does from its options to the files it leaves: one function, whose options are its arguments or,
where they are many, one dataclass. Python can call it as ``ssltoolkit <name>`` does. Command lines never live here
(``bin``), nor what a stage is made of: audio, training, probes and tables have rooms of their own.
"""
