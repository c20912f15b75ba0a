"""A frozen model as one ONNX file: waveform in, scene and frame embeddings and times out.

The frozen model is traced as it is: frontend, input level, encoder, pooling, context, whitening. Only loops over
stretches and windows of long audio take another form (``exporting()``): in a graph the length is a symbol.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import traceback
import warnings
from pathlib import Path
from typing import Dict, Iterator, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.embedding import FrozenModel
from ssltoolkit.errors import UserError, writing
from ssltoolkit.exporting import as_graph
from ssltoolkit.training.checkpoint import versions

PathLike = Union[str, Path]
#: largest difference between a model and its file, of the largest value
TOLERANCE = 1e-4
INPUT, OUTPUTS = "waveform", ("scene", "frames", "times_ms")
#: the waves that a graph is traced with; of a length at which no step is a special case, such as padding by nothing
_BATCH, _SAMPLES = 3, 297 * 160 + 21


class WaveToEmbeddings(nn.Module):
    """Waves (B, N) to scenes (B, D), frames (B, T', D') and their centres (T',) in milliseconds."""

    def __init__(self, model: FrozenModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        model = self.model
        scenes, frames = _plain(type(model).both)(model, waveform)
        times = (torch.arange(frames.shape[1], device=frames.device) + 0.5) * model.hop_ms
        return scenes, frames, times


def _plain(method):
    """A method without ``torch.inference_mode``, whose tensors a graph cannot hold."""
    return getattr(method, "__wrapped__", method)


def write_onnx(model: FrozenModel, output: PathLike, opset: int = 20) -> None:
    """Export ``model`` and compare it with itself on a wave of another length.

    Args:
        model: on the CPU.
        output: file to write.
        opset: of ONNX; 18 or later.

    Raises:
        UserError: a package is missing, ONNX lacks an operation of the model, or the numbers of the graph differ.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--format onnx: {error.name} is not installed: pip install 'ssltoolkit[onnx]'") from None
    output = Path(output)
    program = _graph(model, opset)
    for key, value in metadata(model).items():
        program.model.metadata_props[key] = value
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + ".tmp")
    with writing(output):
        program.save(str(temporary))
        temporary.replace(output)
    check(model, output)


def metadata(model: FrozenModel) -> Dict[str, str]:
    """What a program without torch must know of the model, as texts."""
    sizes = {"scene_dim": int(model.scene_dim), "frame_dim": int(model.frame_dim)}
    return {
        "ssltoolkit": json.dumps(
            {"sample_rate": int(model.sample_rate), "hop_ms": float(model.hop_ms), **sizes, "versions": versions()}
        )
    }


def _graph(model: FrozenModel, opset: int):
    dynamic = torch.export.Dim.DYNAMIC
    waves = 0.1 * torch.randn(_BATCH, _SAMPLES, generator=torch.Generator().manual_seed(0))
    network = WaveToEmbeddings(model).eval()
    try:
        with as_graph(), _quiet(), torch.no_grad():
            exported = torch.export.export(network, (waves,), dynamic_shapes=({0: dynamic, 1: dynamic},), strict=False)
            return torch.onnx.export(
                exported,
                opset_version=opset,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamo=True,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds, and every one means the same to the user
        raise UserError(_advice(model, error)) from error


def _advice(model: FrozenModel, error: BaseException) -> str:
    """One line that names the operation, where it is, and what to do."""
    texts, root = [str(error)], error
    cause = error.__cause__ or error.__context__
    while cause is not None:
        texts.append(str(cause))
        root, cause = cause, cause.__cause__ or cause.__context__
    # The converter names what it was translating; of a size or value that the course depends on, torch says only that.
    operation = re.search(r"Error when translating node .*?target=torch\.ops\.([\w.]+)", "\n".join(texts))
    named = operation.group(1) if operation else "on a value of the data"
    package = str(Path(torch.__file__).parent)
    own = [
        frame
        for frame in traceback.extract_tb(root.__traceback__)
        if not frame.filename.startswith((package, __file__)) and "site-packages" not in frame.filename
    ]
    place = f" in {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
    lines = [line.strip() for text in reversed(texts) for line in text.splitlines() if line.strip()]
    reason = next((line for line in lines if "not" in line), type(error).__name__)
    encoder = getattr(getattr(model, "encoder", None), "__class__", type(model)).__name__
    return (
        f"{model.identity['model']}: {encoder} cannot be exported to ONNX: operation {named}{place}: "
        f"{reason[:200]}; write it with operations that ONNX "
        "has where ssltoolkit.exporting.exporting() is true, or hand the model out as a folder (--format safetensors)"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own talk, for whoever develops it."""
    talkers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
    ]
    levels = [talker.level for talker in talkers]
    # Where somebody listens to all loggers, torch puts its state into words at every size it meets: ten times as long.
    trace = logging.getLogger("torch.__trace")
    traced, trace.disabled = trace.disabled, True
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for talker in talkers:
            talker.setLevel(logging.ERROR)
        try:
            yield
        finally:
            trace.disabled = traced
            for talker, level in zip(talkers, levels):
                talker.setLevel(level)


def check(model: FrozenModel, path: Path) -> None:
    """Compare file and model on waves of other lengths than the traced one, where onnxruntime is installed.

    Raises:
        UserError: an embedding differs by more than ``TOLERANCE`` of the largest value.
    """
    from ssltoolkit.hub.onnx_model import OnnxModel, has_onnxruntime

    if not has_onnxruntime():
        print("note: onnxruntime is not installed, so the file was not compared with the model")
        return
    loaded = OnnxModel(path)
    rng = np.random.default_rng(0)
    for samples in (model.sample_rate // 10, 2 * model.sample_rate + 77):
        waves = 0.1 * rng.standard_normal((1, samples)).astype(np.float32)
        scenes, frames = loaded.both(waves)
        for name, found, wanted in (
            ("scene", scenes, model.scenes(torch.from_numpy(waves)).numpy()),
            ("frame", frames, model.frames(torch.from_numpy(waves)).numpy()),
        ):
            worst = np.abs(found - wanted).max() / np.abs(wanted).max() if found.shape == wanted.shape else np.inf
            if not worst <= TOLERANCE:
                path.unlink()
                raise UserError(
                    f"{model.identity['model']}: the {name} embedding of {samples} samples differs by {worst:.1g} "
                    "of its largest value in ONNX; the model does something else for another length: write that "
                    "without branches on sizes where ssltoolkit.exporting.exporting() is true"
                )
