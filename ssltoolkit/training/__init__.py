"""Optimisation: settings, loop, checkpoints and logs; the model is a black box here."""
