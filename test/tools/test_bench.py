"""Every fast path equals its plain form on new random input; the smallest run of every benchmark writes a row."""

import copy
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tools" / "bench"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    """The programs import each other from their folder."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def fresh():
    """A random generator with a new seed, which is shown if the test fails."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def corpus(tmp_path):
    from material import write_archive

    return write_archive(tmp_path / "corpus", 6, 2.15)


def near(ours, plain, allowed):
    """Whether the relative difference (L2 norm) is at most ``allowed``."""
    ours, plain = (
        torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x, dtype=torch.float64) for x in (ours, plain)
    )
    assert ours.shape == plain.shape
    return float((ours - plain).norm() / plain.norm()) <= allowed


def test_rendered_views_equal_those_made_item_by_item(fresh):
    from reference import ItemRenderer
    from render import VIEWS

    from ssltoolkit.frontends.logmel import LogMel
    from ssltoolkit.transforms.render import Renderer

    frontend = LogMel()
    frontend.set_statistics(torch.linspace(-9.0, -4.0, 64), torch.linspace(1.0, 3.0, 64))
    waves = {view.cut: torch.from_numpy(fresh.uniform(-0.5, 0.5, (5, 15360)).astype(np.float32)) for view in VIEWS}
    seed = [int(fresh.integers(1000)), 1, 7]
    features, _ = Renderer(frontend, VIEWS)(waves, {cut: np.zeros(5) for cut in waves}, seed)
    for ours, plain in zip(features, ItemRenderer(frontend, VIEWS)(waves, seed)):
        assert near(ours, plain, 1e-4)


@pytest.mark.parametrize("dtype, allowed", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 6e-3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_gradients_equal_those_of_torch(fresh, kernel, stride, dtype, allowed):
    from ssltoolkit.encoders.efficientnet import DepthwiseConv2d

    layer = DepthwiseConv2d(24, kernel, stride).to(dtype)
    size = (3, 24, int(fresh.integers(5, 12)), int(fresh.integers(5, 12)))
    x = (
        torch.from_numpy(fresh.standard_normal(size))
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
    )
    exact, weight = (part.detach().double().requires_grad_() for part in (x, layer.weight))
    ours = layer(x)
    plain = functional.conv2d(exact, weight, None, stride, kernel // 2, groups=24)
    assert near(ours.detach(), plain.detach(), allowed)
    upstream = torch.from_numpy(fresh.standard_normal(tuple(plain.shape))).to(dtype)
    found, wanted = (
        torch.autograd.grad(ours, (x, layer.weight), upstream),
        torch.autograd.grad(plain, (exact, weight), upstream.double()),
    )
    assert all(near(a, b, allowed) for a, b in zip(found, wanted))


@pytest.mark.parametrize("time_stride", [32, 4])
def test_efficientnet_equals_its_plain_form(fresh, time_stride):
    from reference import efficientnet

    from ssltoolkit.registry import build

    torch.manual_seed(int(fresh.integers(2**31)))
    encoder = build("encoder", {"name": "efficientnet_b0", "time_stride": time_stride}, n_mels=64)
    # In double precision: batch normalisation of a few rows amplifies rounding.
    encoder.double()
    plain = copy.deepcopy(encoder)
    x, wanted = torch.randn(4, 96, 64, dtype=torch.float64), torch.randn(4, 96 // time_stride, 512, dtype=torch.float64)
    for function in (encoder, lambda x: efficientnet(plain, x)):
        (function(x) - wanted).square().mean().backward()
    total = sum(p.grad.norm() ** 2 for p in plain.parameters()) ** 0.5
    for ours, other in zip(encoder.parameters(), plain.parameters()):
        assert (ours.grad - other.grad).norm() <= 1e-9 * total
    for ours, other in zip(encoder.buffers(), plain.buffers()):
        if ours.dtype is not torch.int64:  # the plain form does not count batches
            torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)
    encoder.eval(), plain.eval()
    with torch.inference_mode():
        assert near(encoder(x), efficientnet(plain, x), 1e-12)
        # Without gradients the weights are folded; a changed weight must take effect.
        encoder.stem[1].weight.mul_(1.5)
        assert not near(encoder(x), efficientnet(plain, x), 1e-9)
        plain.stem[1].weight.mul_(1.5)
        assert near(encoder(x), efficientnet(plain, x), 1e-12)


def test_training_loss_and_gradients_equal_the_plain_form(corpus, monkeypatch):
    import reference
    from train_step import configured, dataset_of

    from ssltoolkit.stages.pretrain import build_model

    config = configured(6, "fp32")
    model = build_model(config).train()
    plain = reference.PlainTraining(copy.deepcopy(model), 1e-4, 5.0, published=False)
    batch = dataset_of(model, corpus, config).batch(int(np.random.SeedSequence().generate_state(1)[0]) % 1000)
    features, rendered = model.renderer(batch.waves, batch.starts, batch.seed, batch.shard)
    for ours, other in zip(features, plain.render(batch.waves, batch.seed)):
        assert near(ours, other, 1e-4)
    # Both encode the same features in double precision: batch normalisation of eighteen segments sometimes raises a
    # difference in the last digits to a tenth of the gradients. Heads and losses keep their precision.
    features, efficientnet = features.double(), reference.efficientnet
    model.encoder.double(), plain.model.encoder.double()
    model.renderer = lambda *_: (features, rendered)
    plain.render = lambda *_: features.numpy()
    encode = model.encoder.encode_outputs
    monkeypatch.setattr(
        model.encoder, "encode_outputs", lambda x, rows: {name: part.float() for name, part in encode(x, rows).items()}
    )
    monkeypatch.setattr(reference, "efficientnet", lambda encoder, x: efficientnet(encoder, x).float())
    ours, other = model(batch).loss, plain.loss(batch)
    assert ours.item() == pytest.approx(other.item(), rel=1e-5)
    ours.backward(), other.backward()
    gradients = [torch.cat([p.grad.flatten().double() for p in m.parameters()]) for m in (model, plain.model)]
    assert near(*gradients, 1e-4)


def test_features_equal_the_plain_form(corpus, tmp_path):
    import kaldiio
    from features import our_features
    from reference import ItemRenderer

    from ssltoolkit.data.archive import WaveArchive
    from ssltoolkit.frontends.logmel import LogMel
    from ssltoolkit.transforms.views import View

    our_features(corpus, tmp_path / "features")
    found, archive = kaldiio.load_scp(str(tmp_path / "features" / "feats.scp")), WaveArchive(corpus)
    plain = ItemRenderer(LogMel(), [View()])
    for index, utt in enumerate(archive.utt_ids):
        assert near(found[utt], plain.log_mel(archive.read(index) / np.float32(32768.0)), 1e-5)


def test_embeddings_equal_the_plain_form(corpus, tmp_path):
    import embeddings
    from reference import ItemRenderer, efficientnet

    from ssltoolkit.evaluation.store import EmbeddingStore
    from ssltoolkit.stages.embed import embed_directory
    from ssltoolkit.transforms.views import View

    for number, (title, (name, arguments, kind)) in enumerate(embeddings.MODELS.items()):
        model = embeddings.frozen(name, arguments)
        network = (
            (lambda x, encoder=model.encoder: efficientnet(encoder, x)) if name == "efficientnet_b0" else model.encoder
        )
        plain = ItemRenderer(model.frontend, [View()])
        embed_directory(model, corpus, tmp_path / f"ours{number}", kind)
        embeddings.plain_directory(model, network, plain, corpus, tmp_path / f"plain{number}", kind)
        ours, other = (EmbeddingStore(tmp_path / f"{which}{number}") for which in ("ours", "plain"))
        assert ours.utt_ids == other.utt_ids
        assert near(np.array(ours.matrix), np.array(other.matrix), 1e-4), title


def test_probe_scores_equal_those_of_networks_trained_one_by_one():
    import probe

    from ssltoolkit.evaluation.probe_config import probe_config

    sets = [probe.embeddings(rows, 32, 4, seed) for seed, rows in enumerate((600, 200, 1000))]
    config = probe_config("standard", quick=True, hidden_dim=64, max_epochs=12)
    ours, plain = (fit(*sets, 4, [0, 1, 2], config) for fit in (probe.our_scores, probe.plain_scores))
    assert abs(np.mean(ours) - np.mean(plain)) < 0.06 and min(ours + plain) > 0.3


def test_pairs_agree_with_the_plain_loop(fresh):
    import pairs

    from ssltoolkit.samplers.pairs import sample_pairs

    start = fresh.uniform(0.0, 300.0, (20, 2))
    found = sample_pairs(start, np.full((20, 2), 96), 96, pairs.HOP_MS, 1, same=4, min_gap_ms=pairs.GAP_MS)
    plain = pairs.plain_loop(start, 96, 4)
    assert list(zip(found.anchor.tolist(), found.positive.tolist())) == [pair[:2] for pair in plain]
    valid, positive, _ = pairs.vectorised(start, 96, 4, fresh)
    assert found.anchor.tolist() == np.flatnonzero(valid).tolist()
    assert found.positive.tolist() == (positive + 96 * np.arange(20)[:, None])[valid].tolist()


def test_a_row_replaces_its_former_one_and_keeps_the_others(tmp_path, monkeypatch, capsys):
    import common

    monkeypatch.setattr(sys, "argv", ["tools/bench/some.py", "--results", "there", "--quick"])
    args = common.parse(common.parser("some"), ["--results", str(tmp_path / "table.md"), "--repeats", "3"])
    assert args.repeats == 3
    for value in (2.0, 3.0):
        common.write_row(args, "one", {"ours": [1.0, 4.0, value], "reference": [6.0, 6.0, 6.0]}, "words")
        common.write_row(args, "two", {"ours": [value]}, unit="MB")
    rows = (tmp_path / "table.md").read_text().splitlines()
    rows = rows[rows.index(next(row for row in rows if row.startswith("|---"))) + 1 :]
    assert [row.split(" | ")[:5] for row in rows] == [
        ["| one", "3 s (1 to 4)", "6 s (6 to 6)", "2", "words"],
        ["| two", "3 MB (3 to 3)", "-", "-", "-"],
    ]
    assert all(row.endswith("| `python3 tools/bench/some.py --quick` |") for row in rows)


SMALLEST = {
    "pairs": "--clips 4 --frames 24 --negatives 4",
    "encoder": "--segments 4",
    "render": "--batch 4 --clips 4",
    "train_step": "--batch 2 --clips 4 --seconds 1",
    "train_step --curve": "--curve 2 --batch 4 --clips 8 --seconds 1",
    "features": "--files 1 --seconds 1 --utts 2 --utt_seconds 1 --nj 0",
    "embeddings": "--clips 1 --seconds 1",
    "exported": "--clips 1 --seconds 1 --models random:audiontt",
    "probe": "--quick --rows 64 --dim 16 --epochs 3",
    "probe --large": "--quick --large --epochs 1",
    "events": "--files 4 --events 5",
    "memory training": "--only training --quick --steps 24 --batch 4 --clips 8",
    "memory index": "--only index --utts 500",
    "startup": "--only help",
    "gpu": "--quick --batch 4 --steps 1 --clips 8 --matrix 64 --device cpu",
}


@pytest.mark.parametrize("title", SMALLEST)
def test_the_smallest_run_ends_with_a_row(title, tmp_path, monkeypatch, capsys):
    name = title.split()[0]
    if name == "events" and importlib.util.find_spec("sed_eval") is None:
        pytest.skip("needs sed_eval")
    if name == "exported" and not all(importlib.util.find_spec(part) for part in ("onnx", "onnxscript", "onnxruntime")):
        pytest.skip("needs the extra onnx")
    import reference

    # In a new environment librosa compiles its kernels for half a minute.
    if os.environ.get("SSLTOOLKIT_LONG") != "1":
        monkeypatch.setattr(reference, "VOCODER", "scipy resample")
    program, table = BENCH / f"{name}.py", tmp_path / "table.md"
    monkeypatch.setattr(
        sys, "argv", [str(program), *SMALLEST[title].split(), "--repeats", "1", "--results", str(table)]
    )
    runpy.run_path(str(program), run_name="__main__")
    last = [row for row in table.read_text().splitlines() if row.strip()][-1]
    assert re.fullmatch(r"(\| [^|]+ ){8}\|", last) and f"tools/bench/{name}.py" in last
    assert capsys.readouterr().out.rstrip().endswith(last)


def test_run_sh_names_every_program_and_is_clean():
    script = (BENCH / "run.sh").read_text()
    helpers = {"common", "material", "reference"}
    assert set(re.findall(r"^measure (\w+)", script, re.M)) == {path.stem for path in BENCH.glob("*.py")} - helpers
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-x", str(BENCH / "run.sh")], check=True)
