import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from train.ablation import Ablation, stage_above
from train.checkpoint import Checkpoint, Normalisation, probability, save
from train.cli import train
from train.crossval import FoldResult, load_samples
from train.data.augment import normalised
from train.data.folds import Fold, Split
from train.data.synth import write_photos
from train.evaluate import predict
from train.fit import TrainingResult
from train.models.growth import grow_units
from train.models.registry import build, open_model
from train.models.spec import ModelSpec, MultiResSpec, SegNetSpec, UNetSpec
from train.utilisation import layer_utilisation, of_part

UNET = UNetSpec(
    key="narrow",
    title="Narrow U-net",
    encoder=((6, 6), (8, 8), (8, 8)),
    bottom=(10, 8),
    decoder=((6, 6), (8, 6), (8, 8)),
)
MULTIRES = MultiResSpec("narrow_mr", "Narrow", 6, (12, 12, 18), 18, (6, 6, 6), 1)
SEGNET = SegNetSpec("narrow_segnet", "Narrow", ((6, 6), (8, 8), (8, 8), (8, 8)))


def checkpoint(spec: ModelSpec, network: nn.Module) -> Checkpoint:
    normalisation = Normalisation((128.0,) * 3, (40.0,) * 3)
    training = {"data": "none", "crop": 64}
    return Checkpoint(spec, normalisation, 0.5, 0.5, training, network.state_dict())


def network_of(spec: ModelSpec, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(spec)


def make_true(trained: Checkpoint, folder: Path) -> None:
    """Scale the head so that `trained` calls half of the pixels particles; make these the truth."""
    photos = load_samples(folder)
    logits = torch.stack(list(predict(trained, photos)))
    trained.weights["head.bias"] -= logits.median()
    for name in ("head.weight", "head.bias"):
        trained.weights[name] /= logits.std()
    for photo, found in zip(photos, predict(trained, photos), strict=True):
        mask = (probability(found, trained.prior).numpy() >= 128).astype(np.uint8)
        cv2.imwrite(str(folder / "masks" / f"{photo.name}.png"), mask * 255)


@pytest.fixture(scope="module")
def unused_depth() -> Checkpoint:
    """Level 1 of the decoder does not look at what comes from below."""
    network = network_of(UNET)
    with torch.no_grad():
        skip = UNET.encoder[1][1]
        network.get_submodule("decoder.1.0").get_parameter("weight")[:, skip:] = 0
    return checkpoint(UNET, network)


@pytest.fixture(scope="module")
def data(unused_depth: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos whose particles are what `unused_depth` finds, halved by its head's bias."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for _ in write_photos(folder, count=3, size=64, seed=4):
        pass
    make_true(unused_depth, folder)
    return folder


def analyse(data: Path, out: Path, *checkpoints: Path) -> Result:
    words = ["analyse", *checkpoints, "--data", data, "--out", out]
    return CliRunner().invoke(train, [str(word) for word in words])


def test_depth_without_use_is_dropped(unused_depth: Checkpoint, data: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "best.pt", tmp_path / "out"
    save(unused_depth, path)
    result = analyse(data, out, path)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "utilisation.json").read_text())
    assert found["rw_f1"] == 1.0
    change = {stage["weights"]["name"]: stage["change"] for stage in found["stages"]}
    for unused in ("encoder.2", "bottom", "decoder.2"):
        assert change[unused] == 0.0
    for used in ("encoder.0", "encoder.1", "decoder.1", "decoder.0"):
        assert change[used] < -0.01
    assert found["without_deepest"] == [0.0, 0.0]

    proposed = open_model(str(out / "proposed.json"))
    assert proposed == UNET.without_deepest(2)
    assert "drop the 2 deepest level(s)" in result.output
    for spec in (UNET, proposed):
        assert f"{spec.params():,}" in result.output
        assert f"{spec.receptive_field_radius()} px" in result.output
    words = (
        f"fit --model {out}/proposed.json --data {data} --out {tmp_path}/fit --epochs 1 --crop 32"
    )
    fitted = CliRunner().invoke(train, words.split())
    assert fitted.exit_code == 0, fitted.output

    layers = {name.removesuffix(".weight") for name in unused_depth.weights if "weight" in name}
    assert {layer["name"] for layer in found["layers"]} == layers
    table = (out / "utilisation.md").read_text()
    assert all(f"| {name} " in table for name in layers)
    for name in ("stages", "components"):
        picture = cv2.imread(str(out / f"{name}.png"))
        assert picture is not None
        assert picture.shape[1] > 800


def test_residual_units_without_use_are_dropped(
    unused_depth: Checkpoint, data: Path, tmp_path: Path
) -> None:
    """Those that were added as identities go, and no others."""
    small = MultiResSpec("few", "Few", 6, (12, 12), 18, (12, 6), 3, units=(1, 2))
    large = replace(small, key="many", title="Many", units=(4, 3))
    network = build(large)
    weights = network_of(small).state_dict()
    for name in ("decoder.1.convs.0.weight", "decoder.1.shortcut.weight"):
        weights[name][:, small.residual[1] :] *= 8  # the deepest level has to stay
    network.load_state_dict(grow_units(weights, small, large))
    trained = checkpoint(large, network)
    own, path, out = tmp_path / "data", tmp_path / "best.pt", tmp_path / "out"
    shutil.copytree(data, own)
    make_true(trained, own)
    save(trained, path)
    result = analyse(own, out, path)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "utilisation.json").read_text())
    names = [f"residual.{level}.{unit}" for level in (0, 1) for unit in range(large.units[level])]
    assert [unit["weights"]["name"] for unit in found["units"]] == names
    worth = dict(zip(names, found["units"], strict=True))
    added = {"residual.0.1", "residual.0.2", "residual.0.3", "residual.1.2"}
    for name in names:
        assert (worth[name]["change"] > -0.001) == (name in added)
    # Bypassed with all behind it; the first of level 1 turns 12 channels into 6 and has to stay.
    assert worth["residual.0.1"]["change_from_here"] > -0.001
    assert worth["residual.1.1"]["change_from_here"] < -0.01
    assert worth["residual.1.0"]["change_from_here"] is None
    assert worth["residual.1.2"]["weights"]["weights"] == 6 * 6 * (1 + 9)
    assert worth["residual.1.2"]["weights"]["near_zero"] > 0.5

    proposed = open_model(str(out / "proposed.json"))
    assert proposed == large.with_units(small.units)
    assert proposed.params() == small.params()
    assert found["proposed"]["change"] > -0.001
    assert set(found["proposed"]["without"]) == added
    assert "keep 1, 2 of 4, 3 residual units (level 0 first)" in result.output


def test_depth_in_use_stays(unused_depth: Checkpoint, data: Path, tmp_path: Path) -> None:
    """Skips cut off instead: all that is said comes from below."""
    network = network_of(UNET)
    with torch.no_grad():
        for level, (_, skip) in enumerate(UNET.encoder):
            network.get_submodule(f"decoder.{level}.0").get_parameter("weight")[:, :skip] = 0
    trained = checkpoint(UNET, network)
    own = tmp_path / "data"
    shutil.copytree(data, own)
    make_true(trained, own)
    path, out = tmp_path / "best.pt", tmp_path / "out"
    save(trained, path)
    result = analyse(own, out, path)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "utilisation.json").read_text())
    assert max(found["without_deepest"]) < -0.01
    assert found["proposed"] is None
    assert "nothing to propose: no level and no residual unit can go" in result.output
    assert not (out / "proposed.json").exists()


def test_who_finds_nothing_has_nothing_to_lose(
    unused_depth: Checkpoint, data: Path, tmp_path: Path
) -> None:
    own, path = tmp_path / "data", tmp_path / "best.pt"
    shutil.copytree(data, own)
    for mask in (own / "masks").iterdir():
        cv2.imwrite(str(mask), np.zeros((64, 64), np.uint8))
    save(unused_depth, path)
    result = analyse(own, tmp_path / "out", path)
    assert result.exit_code == 0, result.output
    assert "nothing to propose: there is no more than 0.01 r.w. F1 to lose" in result.output
    assert not (tmp_path / "out/proposed.json").exists()


def test_collapsed_ones_are_left_out_by_name(
    unused_depth: Checkpoint, data: Path, tmp_path: Path
) -> None:
    good, again, flat = (tmp_path / name for name in ("good.pt", "again.pt", "flat.pt"))
    save(unused_depth, good)
    # Another threshold suits this one; that is all.
    bias = {"head.bias": unused_depth.weights["head.bias"] + 0.5}
    save(replace(unused_depth, weights=unused_depth.weights | bias), again)
    network = network_of(UNET)
    nn.init.zeros_(network.get_submodule("head").get_parameter("weight"))
    save(checkpoint(UNET, network), flat)
    out = tmp_path / "out"
    result = analyse(data, out, flat, good, again)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "utilisation.json").read_text())
    assert (found["used"], found["left_out"]) == ([str(good), str(again)], [str(flat)])
    assert found["rw_f1"] == pytest.approx(1.0, abs=0.02)
    assert f"left out, as it collapsed: {flat}" in result.output
    events = EventAccumulator(str(out / "tensorboard"), {"histograms": 0}).Reload()
    tags = events.Tags()["histograms"]
    assert set(tags) == {layer["name"] for layer in found["layers"]}
    assert all([h.step for h in events.Histograms(tag)] == [0, 1] for tag in tags)

    result = analyse(data, tmp_path / "alone", flat)
    assert result.exit_code == 1
    assert f"{flat}: collapsed" in result.output


def test_a_fold_is_scored_on_its_test_photos(
    unused_depth: Checkpoint, data: Path, tmp_path: Path
) -> None:
    """The masks of the other photos are wrong; what training said of a collapse counts."""
    own, runs = tmp_path / "data", tmp_path / "runs"
    shutil.copytree(data, own)
    names = [photo.name for photo in load_samples(own)]
    for name in names[1:]:
        path = str(own / "masks" / f"{name}.png")
        cv2.imwrite(path, 255 - cv2.imread(path, cv2.IMREAD_GRAYSCALE))
    fold = Fold(training=(names[1],), validation=(names[2],), test=(names[0],))
    paths = [runs / "narrow" / f"fold{number}" / "best.pt" for number in (1, 2)]
    for path in paths:
        path.parent.mkdir(parents=True)
        save(unused_depth, path)
    Split("photo", 0, (fold,) * 5).write(runs / "split.json")
    training_result = TrainingResult(1, 1, 0.5, {}, {}, collapsed=True)
    said = FoldResult("narrow", "Narrow", 2, training_result, [], [])
    (paths[1].parent / "result.json").write_text(json.dumps(said, default=vars))

    result = analyse(own, tmp_path / "out", *paths)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/utilisation.json").read_text())
    assert found["rw_f1"] == 1.0
    assert (found["used"], found["left_out"]) == ([str(paths[0])], [str(paths[1])])

    elsewhere = tmp_path / "best.pt"
    save(unused_depth, elsewhere)
    result = analyse(own, tmp_path / "all", elsewhere)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "all/utilisation.json").read_text())["rw_f1"] < 0.9


def test_one_network_and_a_new_folder(unused_depth: Checkpoint, data: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    save(unused_depth, paths[0])
    save(checkpoint(MULTIRES, network_of(MULTIRES)), paths[1])
    result = analyse(data, tmp_path / "out", *paths)
    assert result.exit_code == 2
    assert "2 networks, narrow, narrow_mr; give those of one" in result.output
    result = analyse(data, tmp_path, paths[0])
    assert result.exit_code == 2
    assert "is not empty" in result.output


@pytest.mark.parametrize("spec", [UNET, MULTIRES, SEGNET], ids=lambda spec: spec.FAMILY)
def test_what_is_taken_out_is_what_would_be_dropped(spec: ModelSpec) -> None:
    """Other weights in an encoder level change what is said only where it would stay."""
    x = torch.randn(1, 3, 64, 64)
    for count in range(1, spec.levels):
        network = network_of(spec)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):  # so that no ReLU of so narrow a network is dead
                nn.init.ones_(parameter)
        stage = network.get_submodule(stage_above(spec, count))
        stage.register_forward_hook(lambda _, __, output: torch.ones_like(output))
        heard = set()
        for level, encoder in enumerate(network.get_submodule("encoder").children()):
            before = network(x)
            for parameter in encoder.parameters():
                nn.init.normal_(parameter)
            if not torch.equal(network(x), before):
                heard.add(level)
        deepest = max(conv.level for conv in spec.without_deepest(count).convs())
        assert heard == set(range(deepest + 1))


def test_a_stage_gives_way_to_the_mean_of_what_the_next_one_reads(data: Path) -> None:
    """Without decoder.0 the head adds up that mean: behind the ReLU, one logit everywhere."""
    network, photos = network_of(MULTIRES), load_samples(data)
    trained = checkpoint(MULTIRES, network)
    said: list[torch.Tensor] = []
    block = network.get_submodule("decoder.0")
    with block.register_forward_hook(lambda _, __, output: said.append(output)):
        for photo in photos:
            image = torch.from_numpy(photo.image).permute(2, 0, 1)[None]
            network(normalised(image, trained.normalisation))
    output = torch.cat(said).detach()
    centre = output.mean(dim=(0, 2, 3), keepdim=True)
    read = (output - centre).relu().mean(dim=(0, 2, 3))
    trained.weights["decoder.0.shortcut.bias"] -= centre.flatten()
    trained.weights["head.weight"].fill_(1)
    trained.weights["head.bias"].fill_(1 - read.sum())
    histogram = Ablation(trained, photos).without("decoder.0").histogram
    level = round(255 / (1 + np.exp(-1)))
    assert histogram.particle[level] + histogram.background[level] == len(photos) * 64 * 64


def test_dead_filters_are_counted(data: Path) -> None:
    network = network_of(UNET)
    with torch.no_grad():
        linear, rectified = (network.get_submodule(f"encoder.0.{n}") for n in (0, 1))
        linear.get_parameter("weight")[:2] = 0
        # Behind the ReLU: one never fires, the others always.
        rectified.get_parameter("bias").fill_(1000.0)[0] = -1000.0
    dead = Ablation(checkpoint(UNET, network), load_samples(data)).dead
    assert dead["encoder.0.0"] == pytest.approx(2 / 6)
    assert dead["encoder.0.1"] == pytest.approx(1 / 6)
    assert dead["head"] == 0


def test_features_against_shortcut(data: Path) -> None:
    network = network_of(MULTIRES)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("encoder.0.convs", "decoder.1.shortcut")):
                parameter.zero_()
    fraction = Ablation(checkpoint(MULTIRES, network), load_samples(data)).feature_fraction
    blocks = {f"{part}.{level}" for part in ("encoder", "decoder") for level in range(3)}
    assert set(fraction) == blocks | {"bottom"}
    assert fraction["encoder.0"] == 0
    assert fraction["decoder.1"] == 1
    assert 0 < fraction["encoder.1"] < 1


def test_numbers_of_a_kernel() -> None:
    torch.manual_seed(0)
    fresh = nn.Conv2d(64, 64, 3).weight.detach()
    layer = layer_utilisation("encoder.0.0", fresh, dead=0.25)
    assert layer.relative_std == pytest.approx(1, abs=0.01)
    assert layer.near_zero == pytest.approx(0, abs=0.005)
    assert 0.9 < layer.rank <= 1
    assert (layer.weights, layer.filters, layer.stage) == (64 * 64 * 9, 64, "encoder.0")

    faded = layer_utilisation("encoder.0.1", fresh / 100, dead=0.75)
    assert faded.relative_std == pytest.approx(layer.relative_std / 100)
    assert faded.near_zero == pytest.approx(0.95)
    assert faded.rank == pytest.approx(layer.rank)
    alike = torch.outer(torch.arange(1.0, 9), torch.arange(1.0, 28)).view(8, 3, 3, 3)
    assert layer_utilisation("stem", alike, dead=0).rank == pytest.approx(1 / 8, rel=1e-4)
    assert layer_utilisation("stem", torch.zeros(8, 3, 3, 3), dead=1).relative_std == 0

    elsewhere = layer_utilisation("encoder.01.0", fresh, dead=1)
    stage = of_part("encoder.0", [layer, faded, elsewhere])
    assert (stage.name, stage.weights, stage.filters) == ("encoder.0", 2 * 64 * 64 * 9, 128)
    assert stage.dead == 0.5
    assert stage.near_zero == pytest.approx((layer.near_zero + faded.near_zero) / 2)
