"""Speech of many voices and languages, spoken by espeak-ng from words that nobody wrote."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List

import numpy as np
from tqdm import tqdm

from ssltoolkit.errors import UserError

LANGUAGES = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "de",
    "fr",
    "es",
    "es-419",
    "it",
    "pt",
    "pt-br",
    "nl",
    "sv",
    "da",
    "nb",
    "fi",
    "pl",
    "cs",
    "hu",
    "ro",
    "tr",
    "id",
    "sw",
    "eo",
    "la",
    "cy",
    "is",
    "lv",
    "sk",
    "hr",
    "af",
)
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "croak", "whisper")
ONSETS = (
    "",
    "b",
    "d",
    "f",
    "g",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "st",
    "tr",
    "pl",
    "kr",
    "sh",
    "ch",
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "au", "ei", "ou", "ea")
CODAS = ("", "", "", "n", "s", "t", "l", "r", "m", "k", "nd", "st")


def sentence(rng: np.random.Generator) -> str:
    """One to nine words of one to four random syllables."""

    def syllable() -> str:
        return "".join(part[rng.integers(len(part))] for part in (ONSETS, VOWELS, CODAS))

    words = ["".join(syllable() for _ in range(rng.integers(1, 5))) for _ in range(rng.integers(1, 10))]
    return " ".join(words) + (".", "?", "!", ",")[rng.integers(4)]


def command(text: str, path: Path, rng: np.random.Generator) -> List[str]:
    """espeak-ng speaking ``text`` with a random voice, pitch, speed and emphasis."""
    voice = f"{LANGUAGES[rng.integers(len(LANGUAGES))]}+{VARIANTS[rng.integers(len(VARIANTS))]}"
    options = {
        "-v": voice,
        "-p": rng.integers(5, 96),
        "-s": rng.integers(110, 260),
        "-a": rng.integers(60, 130),
        "-w": path,
    }
    return ["espeak-ng", *(str(part) for pair in options.items() for part in pair), text]


def speak(index: int, folder: Path, seed: int) -> Path:
    """Write utterance ``index``; the same seed and index give the same words and voice.

    Raises:
        UserError: espeak-ng failed.
    """
    rng = np.random.default_rng([seed, 70, index])
    path = folder / f"speech-{index:05d}.wav"
    done = subprocess.run(command(sentence(rng), path, rng), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"espeak-ng failed on utterance {index}: {(done.stderr or done.stdout).strip()}")
    return path


def make_speech(folder: Path, count: int, seed: int, nj: int) -> Dict[str, str]:
    """``count`` utterances of 0.3 to 6 s in ``folder``; id -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(nj) as pool:
        made = pool.map(lambda index: speak(index, folder, seed), range(count))
        return {path.stem: str(path) for path in tqdm(made, total=count, desc="speech", unit="utt", mininterval=1.0)}
