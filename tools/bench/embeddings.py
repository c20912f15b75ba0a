"""Speed of frozen embeddings in times real time, from a wave archive to embeddings on disk.

The reference embeds file by file: log-mel in NumPy, the network eager in float32 and the default (NCHW) layout. If the
network depends on its whole input, the 0.96 s windows of a file are one batch."""

from __future__ import annotations

import itertools
import tempfile
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from common import alternate, parse, parser, rate, seconds, write_row
from material import write_archive
from reference import ItemRenderer, efficientnet
from torch.nn import functional

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.embedding import EncoderModel, FrozenModel
from ssltoolkit.evaluation.store import EmbeddingWriter
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.registry import build
from ssltoolkit.settings import EmbeddingSettings
from ssltoolkit.stages.embed import embed_directory
from ssltoolkit.transforms.views import View

#: name -> encoder, its arguments, kind of embedding
MODELS = {
    "efficientnet_b0, 320 ms hop, scenes": ("efficientnet_b0", {}, "scene"),
    "efficientnet_b0, frames every 40 ms by shifting its input": ("efficientnet_b0", {}, "frame"),
    "efficientnet_b0 with a time stride of 4 (40 ms), frames": ("efficientnet_b0", {"time_stride": 4}, "frame"),
    "cnn_small, 40 ms hop, frames": ("cnn_small", {}, "frame"),
    "cnn_small, 40 ms hop, scenes": ("cnn_small", {}, "scene"),
}
#: the model that is also measured in bfloat16, against the same reference
HALF = next(iter(MODELS))


def frozen(name: str, arguments: dict) -> EncoderModel:
    """The model with untrained weights, which have the same speed."""
    torch.manual_seed(0)
    frontend = LogMel()
    encoder = build("encoder", {"name": name, **arguments}, n_mels=frontend.n_mels)
    return EncoderModel(frontend, encoder, EmbeddingSettings(), 0.96, {"model": name, "model_hash": name})


@torch.no_grad()
def plain_frames(
    model: EncoderModel, network: Callable, plain: ItemRenderer, wave: np.ndarray, count: int
) -> torch.Tensor:
    """The first ``count`` frames (count, D) of one file at the encoder's stride; the last window ends with the audio."""
    stride, window, hop = model.encoder.stride, model.segment, model.frontend.hop_length
    total = max(count * stride, len(wave) // hop)
    features = torch.from_numpy(plain.log_mel(np.pad(wave, (0, max(0, total * hop - len(wave)))))[:total])
    if model.encoder.context_frames is not None or total < window:
        return network(features[None])[0][:count]
    starts = range(0, count * stride, window)
    whole = [start for start in starts if start + window <= total]
    frames = list(network(torch.stack([features[start : start + window] for start in whole])))
    if len(whole) < len(starts):  # one more full window, which ends with the audio
        begin = (total - window) // stride * stride
        last = functional.pad(features[begin:], (0, 0, 0, -(total - begin) % stride))
        frames.append(network(last[None])[0][(starts[-1] - begin) // stride :])
    return torch.cat(frames)[:count]


def plain_directory(
    model: EncoderModel, network: Callable, plain: ItemRenderer, data_dir: Path, out: Path, kind: str
) -> None:
    """Embed one file after another."""
    archive = WaveArchive(data_dir)
    dim = model.scene_dim if kind == "scene" else model.frame_dim
    with EmbeddingWriter(out, kind, dim, model.identity) as writer:
        for index, utt in enumerate(archive.utt_ids):
            wave = archive.read(index) / np.float32(32768.0)
            writer.add(utt, *plain_embedding(model, network, plain, wave, kind))
    archive.close()


def plain_embedding(model: EncoderModel, network: Callable, plain: ItemRenderer, wave: np.ndarray, kind: str) -> tuple:
    """Rows of one file and, for frames, their times."""
    hop, stride, fine = model.frontend.hop_length, model.encoder.stride, model.fine_stride
    shifts = stride // fine if kind == "frame" else 1
    count = max(1, int(len(wave) / (stride // shifts * hop) + 0.5))
    if shifts == 1:
        frames = plain_frames(model, network, plain, wave, count)
    else:  # silence on both sides, then passes of equal length, shifted by one fine hop each
        padded, each = np.pad(wave, ((stride - fine) // 2 * hop, 2 * stride * hop)), -(-count // shifts)
        looks = [padded[start : start + each * stride * hop] for start in range(0, stride * hop, fine * hop)]
        parts = [plain_frames(model, network, plain, look, each) for look in looks]
        frames = torch.stack(parts, 1).flatten(0, 1)[:count]
    if kind == "scene":
        return (model.pool(frames[None])[0].numpy(),)
    return frames.numpy(), model.timestamps_ms(len(frames))


def main() -> None:
    """Write one row per model."""
    options = parser(__doc__, clips=(60, 6), seconds=(10, 5))
    options.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), help="models to measure")
    args = parse(options)
    length = args.clips * args.seconds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_archive(folder / "data", args.clips, args.seconds)
        fresh = (folder / f"out{number}" for number in itertools.count())

        def embedded(model: FrozenModel, kind: str) -> object:
            return embed_directory(model, data, next(fresh), kind)

        for title in args.models:
            name, arguments, kind = MODELS[title]
            model: FrozenModel = frozen(name, arguments)
            network = (
                model.encoder
                if name != "efficientnet_b0"
                else lambda x, encoder=model.encoder: efficientnet(encoder, x)
            )
            plain = ItemRenderer(model.frontend, [View()])
            times = alternate(
                partial(embedded, model, kind),
                lambda given=(model, network, plain), kind=kind: plain_directory(*given, data, next(fresh), kind),
                args.repeats,
            )
            write_row(args, f"embeddings of {length} s, {title}", times, rate(length, times, "x real time"))
            if title == HALF and has_bfloat16("cpu"):
                model.use_bfloat16()
                embedded(model, kind)
                halved = [seconds(partial(embedded, model, kind)) for _ in range(args.repeats)]
                row = {"ours": halved, "reference": times["reference"]}
                write_row(
                    args, f"embeddings of {length} s, {title}, --precision bf16", row, rate(length, row, "x real time")
                )


if __name__ == "__main__":
    main()
