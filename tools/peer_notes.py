#!/usr/bin/env python3
"""Evaluate the pitch estimates of peers on notes, without a probe, and measure their speed.

pip install 'ssltoolkit[peers]'     # see docs/models.md
python3 tools/peer_notes.py --data_dir egs/realaudio/ssl1/dump/raw/test_notes/test --peers pesto swift-f0 crepe-tiny
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import List, Optional

from ssltoolkit import command_line
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.peers import PEERS, load_peer
from ssltoolkit.peers.notes import score_notes


def main(argv: Optional[List[str]] = None) -> int:
    """Print one line per peer."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data_dir", required=True, help="formatted directory (stage 2) with utt2pitch")
    options.add_argument(
        "--peers",
        nargs="+",
        default=[name for name in PEERS if name != "speech-embedding"],
        help="default: all that estimate pitch",
    )
    args = options.parse_args(argv)
    archive = WaveArchive(args.data_dir)
    seconds = sum(archive.num_samples) / 16000
    for name in args.peers:
        peer = load_peer(name)
        started = time.perf_counter()
        found = score_notes(peer, args.data_dir)
        speed = seconds / (time.perf_counter() - started)
        scores = ", ".join(
            f"{key} {100 * found[key]:.1f} [{100 * found[key + '_low']:.1f}, {100 * found[key + '_high']:.1f}]"
            for key in ("pitch_acc", "chroma_acc")
        )
        print(f"peer:{name}: {scores} ({found['notes']} notes), {speed:.0f} times real time", flush=True)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
