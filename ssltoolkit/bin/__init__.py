"""The programs: ``ssltoolkit <name>`` runs ``ssltoolkit.bin.<name>``.

Defines only options and printed output; the other packages do the work. Nothing imports from here."""
