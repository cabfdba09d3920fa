"""Descriptions, smaller relatives, SegNet's unpooling and batch normalisation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from edge.errors import BadArgumentError, EdgeError
from train.models.norm import NormConv2d, fused
from train.models.registry import MODELS, PAPER_MODELS, build, open_model, parse
from train.models.segnet import unpool
from train.models.spec import ModelSpec, MultiResSpec, SegNetSpec, UNetSpec

# Small relatives of each family.
UNET = UNetSpec("u", "U", ((4, 5), (6, 7)), (8, 9), ((5, 4), (7, 6)))
MULTIRES = MultiResSpec("m", "M", 5, (7, 13), 19, (4, 6), 3)
UNEVEN = MultiResSpec("m_uneven", "M", 5, (7, 13), 19, (7, 6), 3, units=(0, 3))
STRIDED = MultiResSpec("m_strided", "M", 5, (7, 13), 19, (4, 13), 3, units=(1, 0), early_stride=2)
SEGNET = SegNetSpec("s", "S", ((4, 5), (6, 7, 8)))


def test_the_five_of_table_4_come_first() -> None:
    assert tuple(MODELS)[: len(PAPER_MODELS)] == PAPER_MODELS
    assert len(PAPER_MODELS) == 5


def test_quarter_x4_has_four_times_the_channels() -> None:
    quarter, wide = MODELS["quarter_mrunet"], MODELS["quarter_mrunet_x4"]
    assert wide.stem == 4 * quarter.stem
    assert wide.bottom == 4 * quarter.bottom
    assert wide.encoder == tuple(4 * width for width in quarter.encoder)
    assert wide.residual == tuple(4 * width for width in quarter.residual)
    assert wide.head_kernel == quarter.head_kernel


@pytest.mark.parametrize(
    "spec", [*MODELS.values(), UNET, MULTIRES, UNEVEN, STRIDED, SEGNET], ids=lambda s: s.key
)
def test_a_description_is_read_back(spec: ModelSpec, tmp_path: Path) -> None:
    description = json.loads(json.dumps(spec.describe()))
    assert description == spec.describe()
    assert parse(description, "here") == spec
    path = tmp_path / "model.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    assert open_model(str(path)) == spec


def test_a_model_is_opened_by_its_key() -> None:
    assert [open_model(key) for key in MODELS] == list(MODELS.values())


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (UNET, {"family": "vnet"}, "family must be one of unet, multires, segnet, is 'vnet'"),
        (UNET, {"family": None}, "family must be one of unet, multires, segnet, is None"),
        (UNET, {"family": ["unet"]}, r"family must be one of .*, is \['unet'\]"),
        (UNET, {"bottom": None}, "lacks bottom"),
        (UNET, {"dropout": 0.5}, "unknown field 'dropout'; unet has key, title, encoder, bottom"),
        (UNET, {"key": 3}, "key must be a text, is 3"),
        (UNET, {"encoder": 3}, "encoder must be a list, is 3"),
        (
            UNET,
            {"encoder": [[4, 5], [6, "7"]]},
            r"encoder\[1\]\[1\] must be a whole number, is '7'",
        ),
        (UNET, {"encoder": [[4, 5], [6]]}, r"encoder\[1\] must hold 2 numbers, holds 1"),
        (UNET, {"encoder": [[4, 5], [6, 0]]}, "a convolution of level 1 would turn 6 .* into 0"),
        (UNET, {"encoder": [[4, 5]]}, r"encoder has 1 level\(s\) and decoder 2"),
        (UNET, {"encoder": [], "decoder": []}, "encoder is empty"),
        (MULTIRES, {"stem": True}, "stem must be a whole number, is True"),
        (MULTIRES, {"stem": 16.0}, "stem must be a whole number, is 16.0"),
        (MULTIRES, {"stem": -16}, "would turn 3 channels into -16"),
        # A block of five has a sixth of its channels, none, in its first convolution.
        (MULTIRES, {"encoder": [7, 5]}, "would turn 7 channels into 0; use larger widths"),
        (MULTIRES, {"residual": [4, 6, 8]}, r"encoder has 2 level\(s\) and residual 3"),
        (MULTIRES, {"units": [4]}, r"encoder has 2 level\(s\) and units 1"),
        (MULTIRES, {"units": [4, 5]}, r"units\[1\] must be 0 to 4, is 5"),
        (MULTIRES, {"units": [-1, 4]}, r"units\[0\] must be 0 to 4, is -1"),
        (MULTIRES, {"units": 4}, "units must be a list, is 4"),
        (MULTIRES, {"units": [4, 0]}, r"residual\[1\] is 6, but .* keeps its 13 channels"),
        (MULTIRES, {"head_kernel": 2}, "a kernel of 2 px has no middle"),
        (MULTIRES, {"head_kernel": -1}, "a kernel of -1 px has no middle"),
        (MULTIRES, {"step": 0}, "step must be 1 or more, is 0"),
        (MULTIRES, {"early_stride": 3}, "early_stride must be 1 or 2, is 3"),
        (SEGNET, {"encoder": [[4, 5], []]}, "encoder has a level without convolutions"),
        (SEGNET, {"encoder": []}, "encoder is empty"),
        (UNET, {"encoder": [[8, 8]] * 60, "decoder": [[8, 8]] * 60}, "60 levels; use at most 8"),
        (SEGNET, {"encoder": [[4]] * 9}, "9 levels; use at most 8"),
        (SEGNET, {"encoder": [[4] * 17]}, "a level of 17 convolutions; use at most 16"),
        (UNET, {"bottom": [4097, 4]}, "level 2 has 4097 output channels; use at most 4096"),
        (MULTIRES, {"stem": 10**4000}, r"has 10+ output channels; use at most 4096"),
        (MULTIRES, {"head_kernel": 33}, "a kernel has 33 px; use at most 31"),
        (
            UNET,
            {"encoder": [[4096, 4096]] * 2, "bottom": [4096, 4096]},
            "has 7.*parameters; use at most 500,000,000",
        ),
        (UNET, {"key": "../up"}, "key must be 1 to 100 letters"),
        (UNET, {"key": ""}, "key must be 1 to 100 letters"),
        (UNET, {"title": "red\x1b[31m"}, "title must be at most 200 characters, all printable"),
        (UNET, {"title": 201 * "T"}, "title must be at most 200 characters, all printable"),
        (UNET, {"encoder": "[" * 9999}, r"encoder must be a list, is '\[+\.\.\.\[+'$"),
    ],
)
def test_a_wrong_description_says_what_is_wrong(
    spec: ModelSpec, changes: dict[str, Any], words: str
) -> None:
    changed = {**spec.describe(), **changes}
    description = {k: v for k, v in changed.items() if v is not None or k == "family"}
    with pytest.raises(EdgeError, match=f"^x.json: .*{words}"):
        parse(description, "x.json")


def test_a_description_without_what_came_later_is_of_the_paper() -> None:
    description = MODELS["half_mrunet"].describe()
    assert description.pop("step") == 1
    assert description.pop("units") == [4, 4]
    assert description.pop("early_stride") == 1
    assert parse(description, "x.json") == MODELS["half_mrunet"]


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.json").mkdir()
    Path("weights.pt").write_bytes(b"")
    for name in ("vnet", "absent.json", "folder.json", "weights.pt"):
        with pytest.raises(BadArgumentError, match=f"^{name}: neither .* nor one of unet, half_un"):
            open_model(name)
    for content, words in (
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "must be a JSON object"),
    ):
        Path("bad.json").write_bytes(content)
        with pytest.raises(EdgeError, match=f"^bad.json: .*{words}"):
            open_model("bad.json")


def test_unet_less_two_levels_is_half_unet() -> None:
    smaller, half = MODELS["unet"].without_deepest(2), MODELS["half_unet"]
    assert (smaller.key, smaller.title) == ("unet_minus2", "U-net minus 2")
    assert replace(smaller, key=half.key, title=half.title) == half
    assert smaller.params() == 1_772_481


def test_the_first_level_to_go_becomes_the_bottleneck() -> None:
    smaller = MODELS["mrunet"].without_deepest(2)
    assert (smaller.stem, smaller.encoder, smaller.bottom) == (58, (59, 117), 233)
    assert (smaller.residual, smaller.units, smaller.head_kernel) == ((32, 64), (4, 4), 1)
    assert MODELS["half_mrunet"].without_deepest(1).bottom == MODELS["quarter_mrunet"].bottom
    assert MODELS["segnet"].without_deepest(3).encoder == ((64, 64), (128, 128))


@pytest.mark.parametrize("key", MODELS)
@pytest.mark.parametrize("levels", [-1, 0, 5])
def test_a_level_must_go_and_one_must_stay(key: str, levels: int) -> None:
    with pytest.raises(ValueError, match=f"^{key} has .* {levels} cannot be dropped"):
        MODELS[key].without_deepest(levels)


@pytest.mark.parametrize("spec", [UNET, MULTIRES, UNEVEN, SEGNET], ids=lambda s: s.key)
def test_every_smaller_network_runs(spec: ModelSpec) -> None:
    smaller = spec.without_deepest(1)
    assert (smaller.levels, smaller.multiple) == (1, 2)
    network = build(smaller)
    assert sum(p.numel() for p in network.parameters()) == smaller.params()
    assert network(torch.zeros(1, 3, 4, 6)).shape == (1, 1, 4, 6)


@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_unpooling_is_torchs(levels: int) -> None:
    """With few different values most windows hold equals, and torch takes the first."""
    torch.manual_seed(levels)
    pooled_from = torch.randint(-levels, levels + 1, (2, 3, 24, 40)).float().relu()
    pooled, indices = functional.max_pool2d(pooled_from, 2, return_indices=True)
    x = torch.randn_like(pooled, requires_grad=True)
    expected = functional.max_unpool2d(x, indices, 2)
    assert torch.equal(unpool(x, pooled_from), expected)
    weight = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    (got,) = torch.autograd.grad((unpool(x, pooled_from) * weight).sum(), x)
    assert torch.equal(got, wanted)


@pytest.mark.filterwarnings("ignore")  # the exporter's notes on its own internals
def test_segnet_exports_with_every_size_dynamic() -> None:
    torch.manual_seed(0)
    network = build(SEGNET).eval()
    multiple = SEGNET.multiple
    sizes = {0: torch.export.Dim("batch")} | {
        axis: multiple * torch.export.Dim(name, min=2) for axis, name in ((2, "h"), (3, "w"))
    }
    example = torch.zeros(2, 3, 4 * multiple, 6 * multiple)
    program = torch.onnx.export(
        network, (example,), opset_version=18, dynamic_shapes=(sizes,), dynamo=True, verbose=False
    )
    assert program is not None
    model = program.model_proto
    assert not {"ArgMax", "TopK", "MaxUnpool"} & {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for shape in ((1, 3, 8, 12), (3, 3, 20, 8)):
        x = torch.rand(shape)
        with torch.inference_mode():
            expected = network(x)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-5)


def trained(spec: ModelSpec) -> nn.Module:
    """With norm layers that do something: random gains, and statistics of random images."""
    torch.manual_seed(0)
    network = build(spec, norm=True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(4):
            network(3 * torch.randn(2, 3, 16, 24) + 1)
    return network.eval()


@pytest.mark.parametrize(
    "spec", [UNET, MULTIRES, UNEVEN, STRIDED, SEGNET, MODELS["quarter_mrunet"]], ids=lambda s: s.key
)
def test_fused_is_the_plain_network(spec: ModelSpec) -> None:
    normed, plain = trained(spec), build(spec).eval()
    convs = {name: m for name, m in normed.named_modules() if isinstance(m, nn.Conv2d)}
    assert {name for name, m in convs.items() if not isinstance(m, NormConv2d)} == {"head"}
    weights = fused(normed)
    assert list(weights) == list(plain.state_dict())
    plain.load_state_dict(weights)
    x = 3 * torch.randn(2, 3, 32, 40) + 1
    with torch.inference_mode():
        expected, found = normed(x), plain(x)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_plain_network_fuses_to_itself() -> None:
    network = build(UNET)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights = fused(network.double().to(memory_format=torch.channels_last))
    assert weights.keys() == state.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, state[name])
        assert (weight.dtype, weight.is_contiguous()) == (torch.float32, True)
        assert not weight.requires_grad


def test_training_on_does_not_change_what_was_fused() -> None:
    network = build(UNET)
    weights = fused(network)
    before = weights["head.weight"].clone()
    network.head.weight.data += 1
    assert torch.equal(weights["head.weight"], before)
