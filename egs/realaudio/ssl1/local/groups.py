"""Generation of groups of sounds for ``utt2group``: several takes of each sound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, Tuple

from tqdm import tqdm


def make_groups(
    make: Callable[[int, int], Path], count: int, takes: int, nj: int, what: str
) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Generate ``count`` sounds of ``takes`` takes each in ``nj`` threads.

    Args:
        make: function that writes a take of a sound, both counted from 0, to ``<sound>-<take>.wav`` and returns the
            path.
        what: name for the progress bar.

    Returns:
        id -> path, and id -> sound, the group.
    """
    jobs = [(index, take) for index in range(count) for take in range(takes)]
    with ThreadPoolExecutor(nj) as pool:
        made = pool.map(lambda job: make(*job), jobs)
        paths = list(tqdm(made, total=len(jobs), desc=what, unit="utt", mininterval=1.0))
    return {path.stem: str(path) for path in paths}, {path.stem: path.stem.rpartition("-")[0] for path in paths}
