"""Synthetic speech of random words in many voices and languages, from espeak-ng: sentences, and single words by several
voices each."""

from __future__ import annotations

import io
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import soundfile
import soxr
from groups import make_groups
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


#: voice variants for words, including those of espeak-ng's Klatt synthesiser
WORD_VARIANTS = (*VARIANTS, "m8", "klatt", "klatt2", "klatt3", "klatt4")
#: voices are also scaled: formants and pitch are multiplied by 1 / LARGEST to LARGEST
LARGEST = 1.2
WORD_RATE = 16000


def word(rng: np.random.Generator, most: int) -> str:
    """One to ``most`` random syllables."""

    def syllable() -> str:
        return "".join(part[rng.integers(len(part))] for part in (ONSETS, VOWELS, CODAS))

    return "".join(syllable() for _ in range(rng.integers(1, most + 1)))


def sentence(rng: np.random.Generator) -> str:
    """One to nine words of one to four random syllables."""
    words = [word(rng, 4) for _ in range(rng.integers(1, 10))]
    return " ".join(words) + (".", "?", "!", ",")[rng.integers(4)]


def command(text: str, path: Path, rng: np.random.Generator) -> List[str]:
    """The espeak-ng command for ``text`` with a random voice, pitch, speed and emphasis."""
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
    """Generate ``count`` utterances of 0.3 to 6 s in ``folder``; returns id -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(nj) as pool:
        made = pool.map(lambda index: speak(index, folder, seed), range(count))
        return {path.stem: str(path) for path in tqdm(made, total=count, desc="speech", unit="utt", mininterval=1.0)}


def say_word(index: int, voice: int, folder: Path, seed: int) -> Path:
    """Write word ``index`` spoken by its ``voice``-th voice at 16 kHz; all voices of a word have the same language.

    Raises:
        UserError: espeak-ng failed.
    """
    common, own = np.random.default_rng([seed, 75, index]), np.random.default_rng([seed, 76, index, voice])
    text, language = word(common, 3), LANGUAGES[common.integers(len(LANGUAGES))]
    variants = common.permutation(len(WORD_VARIANTS))  # use each variant once before repeating one
    variant = WORD_VARIANTS[variants[voice % len(variants)]]
    path = folder / f"word-{index:05d}-{voice}.wav"
    options = ["-v", f"{language}+{variant}", "-p", str(own.integers(5, 96)), "-s", str(own.integers(100, 220))]
    done = subprocess.run(["espeak-ng", *options, "--stdout", text], capture_output=True)
    if done.returncode:
        raise UserError(f"espeak-ng failed on word {index}: {done.stderr.decode(errors='replace').strip()}")
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    size = LARGEST ** own.uniform(-1.0, 1.0)
    soundfile.write(path, soxr.resample(without_silence(samples), rate * size, WORD_RATE), WORD_RATE)
    return path


def without_silence(samples: np.ndarray, below_db: float = -50.0) -> np.ndarray:
    """Trim (N,) float samples to those between the first and the last sample within ``below_db`` of the peak."""
    loud = np.flatnonzero(np.abs(samples) > 10 ** (below_db / 20) * np.abs(samples).max(initial=0.0))
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples


def make_words(folder: Path, count: int, voices: int, seed: int, nj: int) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Generate ``count`` words of one to three syllables by ``voices`` voices each in ``folder``.

    Returns:
        id -> path, and id -> word, the group in ``utt2group``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return make_groups(lambda index, voice: say_word(index, voice, folder, seed), count, voices, nj, "words")
