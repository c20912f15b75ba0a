#!/usr/bin/env python3
"""Run the real packages of other benchmarks on models of this toolkit.

    pip install xares 'mteb[audio]' s3prl     # into a separate environment: they have many dependencies
    python3 tools/adapters_validate.py shipped baseline:logmel --suites xares mteb s3prl

Runs X-ARES' encoder check, a classification task of mteb on generated clips (no download), and S3PRL's Featurizer on
the upstream. EVAR is not on PyPI; its interface is tested in test/ssltoolkit/adapters."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from ssltoolkit import command_line
from ssltoolkit.embedding import load_frozen
from ssltoolkit.errors import UserError


def xares(model: Any) -> str:
    """Run X-ARES' encoder check."""
    from xares.audio_encoder_checker import check_audio_encoder

    from ssltoolkit.adapters.xares import SSLToolkitEncoder

    encoder = SSLToolkitEncoder(model)
    if not check_audio_encoder(encoder):
        raise UserError("xares rejects the encoder; see its log")
    return f"accepted by xares.audio_encoder_checker, hop {encoder.hop_size_in_ms:g} ms, {encoder.output_dim} values"


def s3prl(model: Any) -> str:
    """Check that S3PRL's Featurizer finds the hidden states of the upstream and their hop."""
    import torch
    from s3prl.upstream.interfaces import Featurizer

    from ssltoolkit.adapters.s3prl import UpstreamExpert

    upstream = UpstreamExpert(model)
    featurizer = Featurizer(upstream, "hidden_states", upstream_device="cpu")
    waves = [torch.randn(16000), torch.randn(23000)]
    features = featurizer(waves, upstream(waves))
    lengths = [len(part) for part in features]
    return (
        f"used by s3prl's Featurizer: {featurizer.output_dim} values every {featurizer.downsample_rate} samples, "
        f"{lengths} frames of 16,000 and 23,000 samples"
    )


def mteb(model: Any) -> str:
    """Run a task of mteb's audio classification class on generated clips."""
    import mteb as suite
    from datasets import Audio, Dataset, DatasetDict
    from mteb.abstasks import AbsTaskClassification

    from ssltoolkit.adapters.mteb import encoder

    class Tones(AbsTaskClassification):
        """Classification of two kinds of generated sound."""

        metadata = suite.TaskMetadata(
            name="Tones",
            description="generated",
            reference=None,
            dataset={"path": "none", "revision": "1"},
            type="AudioClassification",
            category="a2c",
            modalities=["audio"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="accuracy",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )
        input_column_name, label_column_name, samples_per_label, n_experiments = "audio", "label", 8, 2

        def load_data(self, **kwargs: Any) -> None:
            def clips(seed: int, count: int) -> Dataset:
                rng, rows = np.random.default_rng(seed), []
                for number in range(count):
                    rate, samples = (22050, 20000 + 37 * number)
                    wave = (
                        rng.standard_normal(samples)
                        if number % 2
                        else np.sin(2 * np.pi * rng.uniform(200, 800) * np.arange(samples) / rate)
                    )
                    rows.append({"array": (0.1 * wave).astype(np.float32), "sampling_rate": rate})
                return Dataset.from_dict({"audio": rows, "label": [number % 2 for number in range(count)]})

            self.dataset = DatasetDict(train=clips(0, 40), test=clips(1, 20))
            self.data_loaded = True

    assert Audio is not None
    result = suite.evaluate(encoder(model), Tones(), cache=None, show_progress_bar=False)
    return f"evaluated by mteb: accuracy {result.task_results[0].get_score():.2f} on two kinds of generated sound"


SUITES: Dict[str, Callable[[Any], str]] = {"xares": xares, "mteb": mteb, "s3prl": s3prl}


def main(argv: Optional[List[str]] = None) -> int:
    """Run every suite with every model."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "models", nargs="*", default=["shipped"], help="model names as in ssltoolkit embed (default shipped)"
    )
    options.add_argument("--suites", nargs="+", choices=list(SUITES), default=list(SUITES))
    args = options.parse_args(argv)
    for name in args.suites:
        for model in args.models:
            try:
                print(f"{name}: {model}: {SUITES[name](load_frozen(model))}", flush=True)
            except ImportError as error:
                raise UserError(
                    f"{name}: {error}; install the package of this name into a separate environment"
                ) from None
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
