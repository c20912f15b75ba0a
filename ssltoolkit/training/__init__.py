"""Pre-training: loop, optimiser steps, checkpoints, resume and logs.

The model is a black box here that returns a loss; ``strategy.py`` and ``model.py`` define it.
"""
