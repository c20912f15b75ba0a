"""One thin program a stage: ``python -m ssltoolkit.bin.<name>`` is ``ssltoolkit <name>``."""
