from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.specs import THIN
from train.models.multires import MultiResBlock, ResidualUnit
from train.models.registry import MODELS, PAPER_MODELS, build
from train.models.spec import ModelSpec, MultiResSpec

# ../shared/table4.md: exact counts behind the paper's Table 4.
EXACT = {
    "unet": (21_977_665, 329_656_303_616),
    "half_unet": (1_772_481, 204_007_014_400),
    "mrunet": (13_546_931, 204_751_700_992),
    "half_mrunet": (214_950, 42_900_602_880),
    "quarter_mrunet": (44_571, 21_919_629_312),
}


# Every number of residual units, at either level.
UNITS = [
    MultiResSpec(
        key=f"units_{units}",
        title="U",
        stem=6,
        encoder=(6, 12),
        bottom=6,
        residual=(6, 12),
        head_kernel=3,
        units=(units, 4 - units),
    )
    for units in range(5)
]
# Half the size throughout, at two levels and at one.
TWO_LEVELS = replace(UNITS[1], key="strided", early_stride=2)
STRIDED = [TWO_LEVELS, TWO_LEVELS.without_deepest(1)]


@pytest.mark.parametrize("key", PAPER_MODELS)
def test_table_4_to_the_last_digit(key: str) -> None:
    assert (MODELS[key].params(), MODELS[key].flops(512, 512)) == EXACT[key]


def test_one_residual_unit_costs_a_quarter() -> None:
    one = replace(MODELS["half_mrunet"], units=(1, 1))
    assert one.params() == 60_774
    assert one.flops() == pytest.approx(10.6e9, abs=0.05e9)


@pytest.mark.parametrize("key", ["half_mrunet", "quarter_mrunet"])
def test_channel_aligned_variants_have_only_multiples_of_8(key: str) -> None:
    paper, aligned = MODELS[key], MODELS[f"{key}8"]
    first, *others, head = aligned.convs()
    assert (first.cin, head.cout) == (3, 1)
    for conv in (*others, head):
        assert conv.cin % 8 == 0
    for conv in (first, *others):
        assert conv.cout % 8 == 0
    assert aligned.receptive_field_radius() == paper.receptive_field_radius()
    assert 1 < aligned.flops() / paper.flops() < 1.25


def test_segnet_is_vgg16_and_its_mirror() -> None:
    """VGG16's thirteen convolutions hold 14,714,688 parameters; the head replaces the mirror of
    the first one, and biases count what a convolution puts out."""
    convs = list(MODELS["segnet"].convs())
    assert len(convs) == 26
    assert sum(conv.params() for conv in convs[:13]) == 14_714_688
    assert [(c.cin, c.cout, c.level) for c in convs[13:25]] == [
        (c.cout, c.cin, c.level) for c in reversed(convs[1:13])
    ]
    assert (convs[25].cin, convs[25].cout, convs[25].kernel) == (64, 1, 3)
    assert MODELS["segnet"].multiple == 32


@pytest.mark.parametrize("spec", [*MODELS.values(), *UNITS, *STRIDED], ids=lambda spec: spec.key)
def test_the_real_module_agrees(spec: ModelSpec) -> None:
    """Count what really runs, layer by layer, with hooks, by the paper's rule."""
    network = build(spec).eval()
    flops = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal flops
        match module:
            case nn.Conv2d():
                per_output = 2 * module.in_channels * module.kernel_size[0] ** 2 + 1
                flops += per_output * output.numel()
            case nn.MaxPool2d():
                flops += 4 * output.numel()
            case MultiResBlock() | ResidualUnit():
                flops += output.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    height, width = 2 * spec.multiple, 3 * spec.multiple
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, height, width)).shape == (1, 1, height, width)
    assert flops == spec.flops(height, width)
    assert sum(p.numel() for p in network.parameters()) == spec.params()


@pytest.mark.parametrize(
    "spec",
    [
        *(MODELS[key] for key in PAPER_MODELS if key not in THIN),
        *(pytest.param(MODELS[key], marks=pytest.mark.slow) for key in ("unet", "mrunet")),
        *UNITS,
        *STRIDED,
        *THIN.values(),
        *(THIN["segnet"].without_deepest(levels) for levels in range(1, 5)),
    ],
    ids=lambda spec: f"{spec.key}_{spec.params()}",
)
def test_receptive_field_radius_is_exact(spec: ModelSpec) -> None:
    """With positive weights every pixel within the field moves the output, and none beyond.

    On a flat image unpooling puts its values left, the first of equals, so that SegNet shows its
    whole field on one side only.
    """
    radius, multiple = spec.receptive_field_radius(), spec.multiple
    network = build(spec).eval()
    for name, parameter in network.named_parameters():
        # Each layer keeps the scale of its input, so that nothing under- or overflows.
        value = 0.0 if name.endswith("bias") else 1 / parameter[0].numel()
        nn.init.constant_(parameter, value)
    network = network.double()
    # A strip as narrow as the network allows: the field is the same along both axes.
    length = -(-2 * radius // multiple) * multiple + 4 * multiple
    seen = 0
    with torch.inference_mode():
        flat = network(torch.ones(1, 3, multiple, length, dtype=torch.float64))
        for phase in range(multiple):
            at = length // 2 // multiple * multiple + phase
            image = torch.ones(1, 3, multiple, length, dtype=torch.float64)
            image[..., at] += 1e6
            moved = (network(image) - flat)[0, 0].abs().amax(dim=0) > 0
            seen = max(seen, int(np.abs(np.flatnonzero(moved.numpy()) - at).max()))
    assert seen == radius


def test_sizes_off_the_multiple_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of 4"):
        MODELS["half_mrunet"].flops(510, 512)


@pytest.mark.parametrize(("key", "radius"), [("unet", 107), ("mrunet", 154), ("segnet", 211)])
def test_the_field_does_not_depend_on_widths(key: str, radius: int) -> None:
    """What the thin stand-ins above rely on."""
    assert MODELS[key].receptive_field_radius() == THIN[key].receptive_field_radius() == radius
