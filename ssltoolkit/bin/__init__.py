"""The programs: ``ssltoolkit <name>`` runs ``ssltoolkit.bin.<name>``.

Here live options and the lines that a program prints. What a program does lives in the room that it calls; nothing
imports from here."""
