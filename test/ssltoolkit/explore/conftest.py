"""A folder of sounds, some with hostile file names, and the page that explore makes of it."""

import numpy as np
import pytest
import soundfile

pytest.importorskip("plotly", reason="needs the extra explore")

HOSTILE = (
    '"><img src=x onerror=window.hacked=1>',
    "<script>window.hacked=1<∕script>",
    "'; window.hacked=1; '",
    "<∕script><b>x",
    "käfer ü 日本",
    "a%20b#c?d",
    "back\\slash",
    "& amp",
    "tab\tinside",
)


def tone(hz, seconds=0.6, rate=16000, seed=0):
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return 0.2 * sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 5)) + 0.005 * noise


@pytest.fixture(scope="session")
def sounds(tmp_path_factory):
    """28 readable sounds in three folders, one of them duplicated, and one unreadable file."""
    root = tmp_path_factory.mktemp("sounds") / "my <b>sounds"
    root.mkdir()
    for folder, hz in (("low", 110), ("high", 880)):
        (root / folder).mkdir()
        for number in range(8):
            soundfile.write(
                root / folder / f"tone{number}.wav",
                tone(hz * 2 ** (number / 24), 0.3 + 0.1 * number, seed=number),
                16000,
            )
    soundfile.write(root / "low" / "again.wav", tone(110, 0.3), 16000)
    (root / "odd").mkdir()
    for number, name in enumerate(HOSTILE):
        safe = name.replace("/", "∕")
        soundfile.write(root / "odd" / f"{safe}.wav", 0.1 * np.random.default_rng(number).standard_normal(9000), 16000)
    soundfile.write(root / "odd" / "short.wav", tone(440, 0.05), 16000)
    soundfile.write(
        root / "odd" / "two.wav",
        np.concatenate([tone(330, 2.0), 0.1 * np.random.default_rng(9).standard_normal(16000), tone(880, 2.0)]),
        16000,
    )
    (root / "odd" / "broken.wav").write_bytes(b"RIFF no audio")
    return root


@pytest.fixture(scope="session")
def explored(sounds, tmp_path_factory):
    """The folder with the page of ``sounds``."""
    from ssltoolkit.explore.program import explore

    folder = tmp_path_factory.mktemp("explored") / "explorer"
    lines = "".join(f"low/tone{number}.wav\tdeep\ttrain\n" for number in range(8))
    labels = sounds / "labels.tsv"
    labels.write_text("path\tlabel\tsplit\n" + lines + "odd/short.wav\t<i>brief</i>\ttest\nnone.wav\tx\ttrain\n")
    explore(str(sounds), str(folder), labels=str(labels), kind="pca", jobs=1)
    return folder
