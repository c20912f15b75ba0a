"""Model exchange: folders of weights, configuration and card; ONNX; names resolved by ``huggingface_hub``."""
