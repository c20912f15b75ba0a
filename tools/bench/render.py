"""Views rendered per second on one core: crop, noise, mix, gain, pitch ratio and log-mel; ours batched, the reference
item by item.
"""

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
from ssltoolkit.training.allocator import keep_memory
from ssltoolkit.transforms.level import Gain, Mix, WhiteNoise
from ssltoolkit.transforms.pitch import PitchShift
from ssltoolkit.transforms.render import Renderer
from ssltoolkit.transforms.views import View

#: views of three strategies: an anchor, a noisy positive of another cut, and the transposed anchor
VIEWS = (
    View(Cut("anchor"), (Mix(), Gain())),
    View(Cut("positive"), (WhiteNoise(), Mix(), Gain()), draw=1),
    View(Cut("anchor"), (PitchShift(4.0), Gain()), draw=2),
)


def main() -> None:
    """Measure both on the same archive."""
    args = parse(parser(__doc__, batch=(256, 64), clips=(512, 64)))
    one_core()
    keep_memory()  # as in ssltoolkit pretrain
    frontend = LogMel()
    with tempfile.TemporaryDirectory() as temporary:
        archive = WaveArchive(write_archive(Path(temporary), args.clips, 5.0))
        for what, views in (("cut and rendered", VIEWS), ("cut and transposed", VIEWS[2:])):
            ours, plain = Renderer(frontend, views), ItemRenderer(frontend, views, vocoder=True)
            data = SegmentDataset(
                archive, list(dict.fromkeys(view.cut for view in views)), args.batch, 15360, 16000, seed=0
            )
            numbers = itertools.count()

            def fast(data=data, numbers=numbers, ours=ours) -> object:
                batch = data.batch(next(numbers))
                return ours(batch.waves, batch.starts, batch.seed)

            def slow(data=data, numbers=numbers, plain=plain) -> object:
                batch = data.batch(next(numbers))
                return plain(batch.waves, batch.seed)

            times, count = alternate(fast, slow, args.repeats), len(views) * args.batch
            figure = f"{count} segments {what} on one core; reference: {VOCODER} and log-mel an item"
            write_row(args, figure, times, rate(count, times, "segments/s a core"))


if __name__ == "__main__":
    main()
