"""Writes frozen models for use elsewhere: a small checkpoint, a model folder, an ONNX graph. Reading them back is the
task of ``hub`` (files) and ``embedding`` (models).
"""
