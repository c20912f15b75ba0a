"""Sound synthesis for the mini corpus: instruments, sound events and backgrounds, every parameter drawn from a
generator.

All functions return mono float64 waves at ``RATE``; levels are set by the caller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, Dict

import numpy as np
from scipy import ndimage, signal

RATE = 16000
Rng = np.random.Generator


def db(value: float) -> float:
    """Decibels to an amplitude factor."""
    return 10.0 ** (value / 20.0)


def level(wave: np.ndarray, dbfs: float) -> np.ndarray:
    """Scale the root mean square of the loudest 50 ms to ``dbfs``."""
    window = RATE // 20
    power = np.square(wave)
    power = ndimage.uniform_filter1d(power, window, mode="constant") if len(wave) > window else np.mean(power)
    return wave * (db(dbfs) / max(np.sqrt(np.max(power)), 1e-9))


def _time(seconds: float) -> np.ndarray:
    return np.arange(int(round(seconds * RATE))) / RATE


def _fade(wave: np.ndarray, seconds: float = 0.005) -> np.ndarray:
    ramp = np.minimum(1.0, np.arange(len(wave)) / max(1, int(seconds * RATE)))
    return wave * ramp * ramp[::-1]


@lru_cache(maxsize=64)  # a keyboard's clicks share one filter
def _band_pass(low: float, high: float) -> np.ndarray:
    edges = [max(30.0, low), min(0.49 * RATE, max(high, low * 1.1))]
    return signal.butter(2, edges, "band", fs=RATE, output="sos")


def _band(noise: np.ndarray, low: float, high: float) -> np.ndarray:
    return signal.sosfilt(_band_pass(low, high), noise)


@dataclass(frozen=True)
class Instrument:
    """Timbre of one instrument: the parameters that all its notes share."""

    rolloff: float
    odd_even: float
    partial_gain: np.ndarray
    inharmonicity: float
    decay: float
    decay_slope: float
    attack: float
    sustained: bool
    vibrato_rate: float
    vibrato_cents: float
    breath: float
    formant_hz: float
    formant_gain: float

    @classmethod
    def draw(cls, rng: Rng) -> "Instrument":
        """A random instrument, either sustained (blown, bowed) or decaying (plucked, struck)."""
        sustained = bool(rng.random() < 0.5)
        return cls(
            rolloff=rng.uniform(0.2, 2.2),
            odd_even=rng.choice([0.0, 0.0, rng.uniform(0.3, 0.95)]),
            partial_gain=db(1.0) ** rng.normal(0.0, 7.0, 40),
            inharmonicity=0.0 if sustained else 10 ** rng.uniform(-5, -3.3),
            decay=rng.uniform(0.15, 1.2),
            decay_slope=rng.uniform(0.2, 1.2),
            attack=rng.uniform(0.02, 0.12) if sustained else rng.uniform(0.001, 0.01),
            sustained=sustained,
            vibrato_rate=rng.uniform(4.0, 7.0),
            vibrato_cents=rng.uniform(0.0, 25.0) if sustained else 0.0,
            breath=db(rng.uniform(-50, -18)) if sustained else db(rng.uniform(-60, -35)),
            formant_hz=rng.uniform(300, 3000),
            formant_gain=rng.uniform(0.0, 8.0),
        )

    def note(self, midi: float, seconds: float, rng: Rng) -> np.ndarray:
        """One note; loudness changes brightness, as on real instruments."""
        time = _time(seconds)
        f0 = 440.0 * 2.0 ** ((midi - 69 + rng.normal(0, 0.06)) / 12.0)
        cents = self.vibrato_cents * np.sin(2 * np.pi * (self.vibrato_rate * time + rng.random()))
        phase = 2 * np.pi * np.cumsum(f0 * 2.0 ** (cents / 1200.0)) / RATE
        rolloff = self.rolloff * rng.uniform(0.8, 1.3)
        wave = np.zeros_like(time)
        for k in range(1, 41):
            stretch = np.sqrt(1.0 + self.inharmonicity * k * k)
            if k * f0 * stretch > 0.47 * RATE:
                break
            gain = k**-rolloff * self.partial_gain[k - 1] * (1.0 - self.odd_even * (k % 2 == 0))
            gain *= 1.0 + self.formant_gain * np.exp(-np.square(np.log2(k * f0 / self.formant_hz)) * 2)
            envelope = 1.0 if self.sustained else np.exp(-time / (self.decay * k**-self.decay_slope))
            wave += gain * envelope * np.sin(k * stretch * phase + rng.uniform(0, 2 * np.pi))
        wave /= np.max(np.abs(wave)) + 1e-9
        wave += self.breath * _band(rng.standard_normal(len(time)), f0, 4 * f0 + 500)
        return _fade(wave * np.minimum(1.0, time / self.attack), 0.003 if not self.sustained else 0.03)


def _knock(rng: Rng) -> np.ndarray:
    """Two to five knocks on a plate: a few damped modes each."""
    base, gap = rng.uniform(120, 500), rng.uniform(0.11, 0.22)
    modes = base * np.cumsum(rng.uniform(0.6, 1.8, 5))
    time = _time(0.12)
    hit = sum(
        np.exp(-time / rng.uniform(0.008, 0.03)) * np.sin(2 * np.pi * f * time) * rng.uniform(0.3, 1) for f in modes
    )
    count = rng.integers(2, 6)
    wave = np.zeros(int((count * gap + 0.15) * RATE))
    for index in range(count):
        start = int((index * gap + 0.01 + np.clip(rng.normal(0, 0.006), -0.01, 0.01)) * RATE)
        wave[start : start + len(hit)] += hit[: len(wave) - start] * rng.uniform(0.6, 1)
    return wave


def _rattle(rng: Rng) -> np.ndarray:
    """Keys or coins: many short high tones at irregular times."""
    wave = np.zeros(int(rng.uniform(0.5, 1.1) * RATE))
    for _ in range(rng.integers(15, 45)):
        length = int(rng.uniform(0.02, 0.09) * RATE)
        start = rng.integers(0, len(wave) - length)
        time = np.arange(length) / RATE
        wave[start : start + length] += (
            rng.exponential() * np.exp(-time / 0.015) * np.sin(2 * np.pi * rng.uniform(2500, 7500) * time)
        )
    return wave


def _slam(rng: Rng) -> np.ndarray:
    """Door: a low thud with a noise burst."""
    time = _time(rng.uniform(0.25, 0.6))
    thud = np.exp(-time / rng.uniform(0.03, 0.1)) * np.sin(2 * np.pi * rng.uniform(50, 110) * time * np.exp(-time))
    return thud + rng.uniform(0.2, 0.7) * np.exp(-time / rng.uniform(0.02, 0.08)) * _band(
        rng.standard_normal(len(time)), 100, rng.uniform(800, 3000)
    )


def _ring(rng: Rng) -> np.ndarray:
    """Telephone: two alternating or modulated tones."""
    time = _time(rng.uniform(0.5, 1.2))
    low, ratio, rate = rng.uniform(500, 1400), rng.uniform(1.1, 1.6), rng.uniform(8, 25)
    gate = signal.square(2 * np.pi * rate * time) > 0
    tone = np.where(gate, np.sin(2 * np.pi * low * time), np.sin(2 * np.pi * low * ratio * time))
    return _fade(tone + 0.3 * np.sin(4 * np.pi * low * time) * gate)


def _chirps(rng: Rng, direction: float) -> np.ndarray:
    """Bird: a few quick glides, rising (direction 1) or falling (-1)."""
    parts = []
    start, octaves, length = rng.uniform(1500, 3000), rng.uniform(0.4, 1.0), rng.uniform(0.06, 0.18)
    for _ in range(rng.integers(2, 6)):
        time = _time(length * rng.uniform(0.9, 1.1))
        place = time / time[-1] if direction > 0 else 1 - time / time[-1]
        frequency = start * 2.0 ** (octaves * place + rng.normal(0, 0.03))
        parts += [
            np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.hanning(len(time)),
            np.zeros(int(rng.uniform(0.03, 0.1) * RATE)),
        ]
    return np.concatenate(parts)


def _voice(rng: Rng, vowels: int) -> np.ndarray:
    """Voiced syllables: a pulse train through moving formants; one long vowel or several short ones."""
    total = rng.uniform(0.5, 1.0)
    time = _time(total)
    f0 = rng.uniform(90, 260) * 2.0 ** (rng.uniform(-0.3, 0.3) * time / total + 0.02 * np.sin(2 * np.pi * 5 * time))
    pulses = signal.sawtooth(2 * np.pi * np.cumsum(f0) / RATE) + 0.02 * rng.standard_normal(len(time))
    wave, edges = np.zeros_like(time), np.linspace(0, len(time), vowels + 1).astype(int)
    for begin, end in zip(edges, edges[1:]):
        formed = sum(
            _band(pulses[begin:end], f * 0.88, f * 1.12)
            for f in (rng.uniform(280, 850), rng.uniform(900, 2300), rng.uniform(2300, 3200))
        )
        wave[begin:end] = formed * np.hanning(end - begin) ** (0.3 if vowels == 1 else 0.8)
    return wave


def _cough(rng: Rng) -> np.ndarray:
    """One or two breath bursts with a sharp start."""
    parts = []
    for _ in range(rng.integers(1, 4)):
        time = _time(rng.uniform(0.12, 0.28))
        parts += [
            np.exp(-time / rng.uniform(0.03, 0.08))
            * _band(rng.standard_normal(len(time)), rng.uniform(250, 500), rng.uniform(1500, 3500)),
            np.zeros(int(0.05 * RATE)),
        ]
    return np.concatenate(parts)


def _rustle(rng: Rng) -> np.ndarray:
    """Turning a page: slowly swelling crackling noise."""
    time = _time(rng.uniform(0.4, 0.9))
    grain = np.abs(signal.lfilter([1], [1, -0.995], rng.standard_normal(len(time)) * (rng.random(len(time)) < 0.01)))
    return _fade(_band(rng.standard_normal(len(time)), 1500, 7000) * (0.15 + grain / (grain.max() + 1e-9)), 0.08)


def _typing(rng: Rng) -> np.ndarray:
    """Keyboard: irregular short clicks."""
    wave = np.zeros(int(rng.uniform(0.6, 1.2) * RATE))
    position = 0.01
    while position < len(wave) / RATE - 0.03:
        time = _time(0.02)
        start = int(position * RATE)
        wave[start : start + len(time)] += (
            rng.uniform(0.5, 1) * np.exp(-time / 0.003) * _band(rng.standard_normal(len(time)), 1000, 6000)
        )
        position += rng.uniform(0.06, 0.2)
    return wave


EVENTS: Dict[str, Callable[[Rng], np.ndarray]] = {
    "bird_falling": lambda rng: _chirps(rng, -1.0),
    "bird_rising": lambda rng: _chirps(rng, 1.0),
    "cough": _cough,
    "door": _slam,
    "keyboard": _typing,
    "keys": _rattle,
    "knock": _knock,
    "page": _rustle,
    "phone": _ring,
    "speech": lambda rng: _voice(rng, int(rng.integers(3, 6))),
    "vowel": lambda rng: _voice(rng, 1),
}


def event(name: str, rng: Rng) -> np.ndarray:
    """One sound event of class ``name``, filtered by a random room, with silence trimmed."""
    wave = EVENTS[name](rng)
    tail = int(rng.uniform(0.02, 0.15) * RATE)
    room = rng.standard_normal(tail) * np.exp(-np.arange(tail) / (tail / 6.9))
    room[0] += rng.uniform(2, 8)
    wave = signal.fftconvolve(wave, room)[: len(wave) + tail // 3]
    loud = np.flatnonzero(np.abs(wave) > 0.01 * np.max(np.abs(wave)))
    return _fade(wave[loud[0] : loud[-1] + 1], 0.002)


def background(seconds: float, rng: Rng) -> np.ndarray:
    """Ambience: coloured noise with slow swells and, at random, hum, drops or distant rumble."""
    count = int(round(seconds * RATE))
    bins = np.fft.rfftfreq(count, 1 / RATE)
    shape = (bins + 20.0) ** -rng.uniform(0.2, 1.2)
    bumps = sum(
        rng.uniform(0, 3) * np.exp(-np.square((np.log2(bins + 20) - rng.uniform(6, 13)) / rng.uniform(0.3, 1.5)))
        for _ in range(3)
    )
    wave = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape * (1 + bumps), count)
    time = np.arange(count) / RATE
    wave *= 1.0 + rng.uniform(0, 0.6) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.8) * time + rng.random()))
    wave /= np.std(wave) + 1e-9
    if rng.random() < 0.3:
        hum = rng.choice([50.0, 60.0, 100.0, 120.0])
        wave += rng.uniform(0.1, 0.6) * sum(np.sin(2 * np.pi * hum * k * time + k) / k for k in (1, 2, 3, 5))
    if rng.random() < 0.3:
        drops = (rng.random(count) < 10 / RATE) * rng.exponential(1.0, count)
        ring = np.exp(-_time(0.03) / 0.006) * np.sin(2 * np.pi * rng.uniform(1000, 5000) * _time(0.03))
        wave += rng.uniform(0.5, 2.0) * signal.fftconvolve(drops, ring)[:count]
    return wave
