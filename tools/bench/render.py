"""Views rendered a second on one core: crop, noise, mix, gain, pitch ratio and log-mel, ours in batch against item by item."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from common import alternate, one_core, parse, parser, rate, write_row
from material import write_archive
from reference import VOCODER, ItemRenderer

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import SegmentDataset
from ssltoolkit.data.segments import Cut
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.transforms.level import Gain, Mix, WhiteNoise
from ssltoolkit.transforms.pitch import PitchShift
from ssltoolkit.transforms.render import Renderer
from ssltoolkit.transforms.views import View

#: anchor, a noisy positive cut elsewhere, and the anchor transposed: what three strategies ask for
VIEWS = (
    View(Cut("anchor"), (Mix(), Gain())),
    View(Cut("positive"), (WhiteNoise(), Mix(), Gain()), draw=1),
    View(Cut("anchor"), (PitchShift(4.0), Gain()), draw=2),
)


def main() -> None:
    """Measure both on the same archive."""
    args = parse(parser(__doc__, batch=(256, 64), clips=(512, 64)))
    one_core()
    frontend = LogMel()
    ours, plain = Renderer(frontend, VIEWS), ItemRenderer(frontend, VIEWS, vocoder=True)
    with tempfile.TemporaryDirectory() as temporary:
        archive = WaveArchive(write_archive(Path(temporary), args.clips, 5.0))
        data = SegmentDataset(archive, [Cut("anchor"), Cut("positive")], args.batch, 15360, 16000, seed=0)
        numbers = itertools.count()

        def fast() -> object:
            batch = data.batch(next(numbers))
            return ours(batch.waves, batch.starts, batch.seed)

        def slow() -> object:
            batch = data.batch(next(numbers))
            return plain(batch.waves, batch.seed)

        times = alternate(fast, slow, args.repeats)
    count = len(VIEWS) * args.batch
    figure = f"{count} segments cut and rendered on one core; reference: {VOCODER} and log-mel an item"
    write_row(args, figure, times, rate(count, times, "segments/s a core"))


if __name__ == "__main__":
    main()
