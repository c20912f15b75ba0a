"""Pre-training: loop, optimiser steps, checkpoints, resume and logs.

The model is a black box here: it gives a loss. What the loss is made of lives in ``strategy.py`` and ``model.py``.
"""
