"""Files that hold a model: folders of weights, configuration and card, ONNX files, and names resolved by
``huggingface_hub``. Building a frozen model from them belongs to ``embedding``.
"""
