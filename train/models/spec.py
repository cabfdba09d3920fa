"""What a network is, as numbers: widths in, parameters, FLOPs and receptive field out.

A spec says nothing about PyTorch; `unet.py`, `multires.py` and `segnet.py` build the real modules
from it, and `registry.py` holds the networks by name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

# Descriptions come from files that anyone may have written. The limits leave room above the
# paper's networks: 5 levels, 1383 channels, 3 convolutions per level, 22 million parameters.
# The receptive field is searched in 2**levels steps, and images must be a multiple of that.
MAX_LEVELS = 8
MAX_WIDTH = 4096
MAX_CONVS_PER_LEVEL = 16
MAX_KERNEL = 31
# With gradients and both moments of Adam, training takes 16 bytes per parameter: 8 GB.
MAX_PARAMETERS = 500_000_000
# A key names folders and files.
KEY = re.compile("[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
MAX_TITLE = 200


@dataclass(frozen=True)
class Conv:
    """One `kernel` x `kernel` convolution with bias at level `level`."""

    kernel: int
    cin: int
    cout: int
    level: int

    def params(self) -> int:
        """Weights and biases."""
        return (self.cin * self.kernel * self.kernel + 1) * self.cout


@dataclass(frozen=True)
class Reach:
    """How far the convolutions of each part look, in pixels of their own level.

    `stem` is that of a convolution before level 0, in pixels of the image.
    """

    stem: int
    encoder: tuple[int, ...]
    skip: tuple[int, ...]
    bottleneck: int
    decoder: tuple[int, ...]
    head: int


@dataclass(frozen=True)
class ModelSpec(ABC):
    """An encoder-decoder network described by numbers.

    Level l works at 1 / 2**l of the image, less where the network begins with a stride.

    Raises:
        ValueError: the numbers describe no network, or one beyond the limits above.
    """

    FAMILY: ClassVar[str]

    key: str
    title: str

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.key):
            raise ValueError(
                "key must be 1 to 100 letters, digits, '_', '.', '+' or '-', the first one a "
                "letter or a digit"
            )
        if len(self.title) > MAX_TITLE or not self.title.isprintable():
            raise ValueError(f"title must be at most {MAX_TITLE} characters, all printable")
        if self.levels < 1:
            raise ValueError("encoder is empty; it must hold at least one level")
        if self.levels > MAX_LEVELS:
            raise ValueError(f"encoder has {self.levels} levels; use at most {MAX_LEVELS}")
        for conv in self.convs():
            if conv.cout > MAX_WIDTH:
                raise ValueError(
                    f"a convolution of level {conv.level} has {conv.cout} output channels; use at "
                    f"most {MAX_WIDTH}"
                )
            if conv.kernel > MAX_KERNEL:
                raise ValueError(f"a kernel has {conv.kernel} px; use at most {MAX_KERNEL}")
            if min(conv.cin, conv.cout) < 1:
                raise ValueError(
                    f"a convolution of level {conv.level} would turn {conv.cin} channels into "
                    f"{conv.cout}; use larger widths"
                )
            if conv.kernel < 1 or conv.kernel % 2 == 0:
                raise ValueError(f"a kernel of {conv.kernel} px has no middle; use an odd size")
        if self.params() > MAX_PARAMETERS:
            raise ValueError(
                f"the network has {self.params():,} parameters; use at most {MAX_PARAMETERS:,}"
            )

    @property
    @abstractmethod
    def levels(self) -> int:
        """How many times the network halves the image."""

    @abstractmethod
    def convs(self) -> Iterator[Conv]:
        """Every convolution, encoder to head."""

    @abstractmethod
    def pooled_channels(self) -> tuple[int, ...]:
        """Channels that max pooling carries from level l to level l + 1."""

    @abstractmethod
    def additions(self) -> Iterator[tuple[int, int]]:
        """(channels, level) of every residual addition."""

    @abstractmethod
    def reach(self) -> Reach:
        """Kernel radii summed over each part of the network."""

    @abstractmethod
    def _first_levels(self, count: int) -> dict[str, Any]:
        """The fields that hold levels, cut to the first `count` of them and a bottleneck."""

    def describe(self) -> dict[str, Any]:
        """The family and every number, ready for JSON; `registry.parse` reads it back."""
        return {
            "family": self.FAMILY,
            **{name: _as_lists(value) for name, value in asdict(self).items()},
        }

    def without_deepest(self, levels: int) -> ModelSpec:
        """The same network less its deepest `levels` levels, as Half U-net is made of U-net.

        The first level to go gives its encoder widths to the bottleneck.

        Raises:
            ValueError: `levels` is not at least 1, or no level would be left.
        """
        if not 1 <= levels < self.levels:
            raise ValueError(
                f"{self.key} has {self.levels} level(s), one of which must stay: "
                f"{levels} cannot be dropped"
            )
        return replace(
            self,
            key=f"{self.key}_minus{levels}",
            title=f"{self.title} minus {levels}",
            **self._first_levels(self.levels - levels),
        )

    @property
    def early_stride(self) -> int:
        """Of the first convolution: level 0 works at 1 / `early_stride` of the image."""
        return 1

    @property
    def multiple(self) -> int:
        """Image height and width must be multiples of this."""
        return self.early_stride << self.levels

    def params(self) -> int:
        """Number of trainable parameters (Table 4)."""
        return sum(conv.params() for conv in self.convs())

    def flops(self, height: int = 512, width: int = 512) -> int:
        """Floating point operations of one image by the paper's rule (Table 4).

        A convolution costs 2*k*k*Cin*Cout*H*W and Cout*H*W for its bias, max pooling 4 an output
        element, a residual addition 1 an element; activations, upsampling and concatenation cost
        nothing.

        Raises:
            ValueError: height or width is not a multiple of `multiple`.
        """
        if height % self.multiple or width % self.multiple:
            raise ValueError(f"{height}x{width} is not a multiple of {self.multiple}")

        def pixels(level: int) -> int:
            size = self.early_stride << level
            return (height // size) * (width // size)

        total = sum(
            (2 * c.kernel**2 * c.cin * c.cout + c.cout) * pixels(c.level) for c in self.convs()
        )
        total += sum(
            4 * channels * pixels(level + 1)
            for level, channels in enumerate(self.pooled_channels())
        )
        return total + sum(channels * pixels(level) for channels, level in self.additions())

    def receptive_field_radius(self) -> int:
        """Farthest input pixel, in px along one axis, that can change an output pixel.

        Exact: the interval of input pixels is followed back through every path for every phase of
        the output pixel in the pooling grid (pooling and upsampling reach farther on one side).
        """
        reach = self.reach()

        def through_encoder(level: int, lo: int, hi: int) -> tuple[int, int]:
            lo, hi = lo - reach.encoder[level], hi + reach.encoder[level]
            if level:
                return through_encoder(level - 1, 2 * lo, 2 * hi + 1)
            return self.early_stride * lo - reach.stem, self.early_stride * hi + reach.stem

        def through_decoder(level: int, lo: int, hi: int) -> tuple[int, int]:
            if level == self.levels:
                lo, hi = lo - reach.bottleneck, hi + reach.bottleneck
                return through_encoder(level - 1, 2 * lo, 2 * hi + 1)
            lo, hi = lo - reach.decoder[level], hi + reach.decoder[level]
            skip = through_encoder(level, lo - reach.skip[level], hi + reach.skip[level])
            deep = through_decoder(level + 1, lo // 2, hi // 2)
            return min(skip[0], deep[0]), max(skip[1], deep[1])

        radius = 0
        for phase in range(self.multiple):
            place = phase // self.early_stride
            lo, hi = through_decoder(0, place - reach.head, place + reach.head)
            radius = max(radius, phase - lo, hi - phase)
        return radius


@dataclass(frozen=True)
class UNetSpec(ModelSpec):
    """U-net family (Eqs. 4-9): a stage is two 3x3 convolutions with one ReLU after the pair.

    `encoder` and `decoder` hold the two widths of each level's pair, level 0 first, and `bottom`
    those of the bottleneck; a decoder pair reads the level's skip and the upsampled output of the
    level below, concatenated.
    """

    FAMILY = "unet"

    encoder: tuple[tuple[int, int], ...]
    bottom: tuple[int, int]
    decoder: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        _check_levels("encoder", self.encoder, "decoder", self.decoder)
        super().__post_init__()

    @property
    def levels(self) -> int:
        return len(self.encoder)

    def decoder_inputs(self) -> tuple[int, ...]:
        """Channels that each level's decoder pair reads: skip + upsampled."""
        below = (*(pair[1] for pair in self.decoder[1:]), self.bottom[1])
        return tuple(pair[1] + up for pair, up in zip(self.encoder, below, strict=True))

    def convs(self) -> Iterator[Conv]:
        def pair(cin: int, widths: tuple[int, int], level: int) -> Iterator[Conv]:
            yield Conv(3, cin, widths[0], level)
            yield Conv(3, widths[0], widths[1], level)

        cin = 3
        for level, widths in enumerate((*self.encoder, self.bottom)):
            yield from pair(cin, widths, level)
            cin = widths[1]
        for level in reversed(range(self.levels)):
            yield from pair(self.decoder_inputs()[level], self.decoder[level], level)
        yield Conv(1, self.decoder[0][1], 1, 0)

    def pooled_channels(self) -> tuple[int, ...]:
        return tuple(pair[1] for pair in self.encoder)

    def additions(self) -> Iterator[tuple[int, int]]:
        return iter(())

    def reach(self) -> Reach:
        twos = (2,) * self.levels
        return Reach(
            stem=0,
            encoder=twos,
            skip=(0,) * self.levels,
            bottleneck=2,
            decoder=twos,
            head=0,
        )

    def _first_levels(self, count: int) -> dict[str, Any]:
        return {
            "encoder": self.encoder[:count],
            "bottom": self.encoder[count],
            "decoder": self.decoder[:count],
        }


@dataclass(frozen=True)
class MultiResSpec(ModelSpec):
    """MultiResUNet family (Eqs. 10-24).

    The widths are not printed in the paper: they were solved from the totals of Table 4, which
    they meet digit for digit, but other widths would meet them too.

    Level 0 is a 3x3 stem without activation, then a MultiRes block; a decoder block has its
    level's encoder width and reads the residual path of the skip and the upsampled level below.

    `bottom` is the width of the bottleneck. The widths inside a block are multiples of the channel
    multiple `step`: 1 in the paper, 8 where tensor cores need aligned channels.

    `units` holds the number of residual units of each level's path, 0 to 4. The paper has four at
    every level, which is what an empty `units` is replaced by. A path without units hands the skip
    on as it is, so its width in `residual` is that of the encoder.

    `early_stride` is that of the stem, 1 in the paper. With 2 the whole network works at half the
    size, and the head gives the four pixels of each place as channels (sub-pixel convolution, Shi
    et al., CVPR 2016).
    """

    FAMILY = "multires"

    stem: int
    encoder: tuple[int, ...]
    bottom: int
    residual: tuple[int, ...]
    head_kernel: int
    step: int = 1
    units: tuple[int, ...] = ()
    early_stride: int = 1

    PAPER_UNITS = 4
    # 3x3 convolutions in a row.
    BLOCK_CONVS = 3

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError(f"step must be 1 or more, is {self.step}")
        if self.early_stride not in (1, 2):
            raise ValueError(f"early_stride must be 1 or 2, is {self.early_stride}")
        _check_levels("encoder", self.encoder, "residual", self.residual)
        if not self.units:
            object.__setattr__(self, "units", (self.PAPER_UNITS,) * self.levels)
        _check_levels("encoder", self.encoder, "units", self.units)
        for level, units in enumerate(self.units):
            if not 0 <= units <= self.PAPER_UNITS:
                raise ValueError(f"units[{level}] must be 0 to {self.PAPER_UNITS}, is {units}")
            if units == 0 and self.residual[level] != self.encoder[level]:
                raise ValueError(
                    f"residual[{level}] is {self.residual[level]}, but without residual units the "
                    f"skip keeps its {self.encoder[level]} channels; make it that, or use units"
                )
        super().__post_init__()

    @property
    def levels(self) -> int:
        return len(self.encoder)

    def with_units(self, units: tuple[int, ...]) -> MultiResSpec:
        """The same network with that many residual units at each level.

        Raises:
            ValueError: see `units`.
        """
        return replace(
            self,
            key=f"{self.key}_units{''.join(map(str, units))}",
            title=f"{self.title}, units {' '.join(map(str, units))}",
            units=units,
        )

    def block_widths(self, width: int) -> tuple[int, int, int]:
        """Widths of the three 3x3 convolutions that make a block `width` channels wide."""
        first, second = (
            (width // divisor + self.step // 2) // self.step * self.step for divisor in (6, 3)
        )
        return first, second, width - first - second

    def decoder_inputs(self) -> tuple[int, ...]:
        """Channels that each level's decoder block reads: residual path + upsampled."""
        below = (*self.encoder[1:], self.bottom)
        return tuple(path + up for path, up in zip(self.residual, below, strict=True))

    def convs(self) -> Iterator[Conv]:
        def block(cin: int, width: int, level: int) -> Iterator[Conv]:
            previous = cin
            for cout in self.block_widths(width):
                yield Conv(3, previous, cout, level)
                previous = cout
            yield Conv(1, cin, width, level)

        yield Conv(3, 3, self.stem, 0)
        cin = self.stem
        for level, width in enumerate((*self.encoder, self.bottom)):
            yield from block(cin, width, level)
            cin = width
        for level in reversed(range(self.levels)):
            cin, path = self.encoder[level], self.residual[level]
            for _ in range(self.units[level]):
                yield Conv(1, cin, path, level)
                yield Conv(3, cin, path, level)
                cin = path
            yield from block(self.decoder_inputs()[level], self.encoder[level], level)
        yield Conv(self.head_kernel, self.encoder[0], self.early_stride**2, 0)

    def pooled_channels(self) -> tuple[int, ...]:
        return self.encoder

    def additions(self) -> Iterator[tuple[int, int]]:
        yield self.bottom, self.levels
        for level in range(self.levels):
            yield self.encoder[level], level
            yield self.encoder[level], level
            for _ in range(self.units[level]):
                yield self.residual[level], level

    def reach(self) -> Reach:
        blocks = (self.BLOCK_CONVS,) * self.levels
        return Reach(
            stem=1,
            encoder=blocks,
            skip=self.units,
            bottleneck=self.BLOCK_CONVS,
            decoder=blocks,
            head=self.head_kernel // 2,
        )

    def _first_levels(self, count: int) -> dict[str, Any]:
        return {
            "encoder": self.encoder[:count],
            "bottom": self.encoder[count],
            "residual": self.residual[:count],
            "units": self.units[:count],
        }


@dataclass(frozen=True)
class SegNetSpec(ModelSpec):
    """SegNet (Badrinarayanan et al., 2017): max pooling hands its indices to the decoder.

    `encoder` holds the widths of each level's 3x3 convolutions, level 0 first. The decoder mirrors
    them: where the encoder turns a channels into b, it turns b into a; the mirror of the first
    convolution is the head.

    The paper only names SegNet (Section 2). Ours to choose were: no batch norm, as in the paper's
    networks; a ReLU after each convolution but the head; a head of one channel; and that unpooling,
    like upsampling, counts as no FLOPs.
    """

    FAMILY = "segnet"

    encoder: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not all(self.encoder):
            raise ValueError("encoder has a level without convolutions; each needs at least one")
        if max(map(len, self.encoder), default=0) > MAX_CONVS_PER_LEVEL:
            raise ValueError(
                f"encoder has a level of {max(map(len, self.encoder))} convolutions; use at most "
                f"{MAX_CONVS_PER_LEVEL}"
            )
        super().__post_init__()

    @property
    def levels(self) -> int:
        return len(self.encoder)

    @property
    def decoder(self) -> tuple[tuple[int, ...], ...]:
        """Widths of each level's decoder convolutions, level 0 (without the head) first."""
        above = ((), *((widths[-1],) for widths in self.encoder))
        return tuple(
            (*reversed(widths[:-1]), *out) for widths, out in zip(self.encoder, above, strict=False)
        )

    def convs(self) -> Iterator[Conv]:
        cin = 3
        for level, widths in enumerate(self.encoder):
            for cout in widths:
                yield Conv(3, cin, cout, level)
                cin = cout
        for level in reversed(range(self.levels)):
            for cout in self.decoder[level]:
                yield Conv(3, cin, cout, level)
                cin = cout
        yield Conv(3, cin, 1, 0)

    def pooled_channels(self) -> tuple[int, ...]:
        return tuple(widths[-1] for widths in self.encoder)

    def additions(self) -> Iterator[tuple[int, int]]:
        return iter(())

    def reach(self) -> Reach:
        return Reach(
            stem=0,
            encoder=tuple(map(len, self.encoder)),
            # An index looks at its 2x2 window, and so does, through the levels below, the value
            # that it places: the skip never reaches farther.
            skip=(0,) * self.levels,
            bottleneck=0,
            decoder=tuple(map(len, self.decoder)),
            head=1,
        )

    def _first_levels(self, count: int) -> dict[str, Any]:
        return {"encoder": self.encoder[:count]}


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _check_levels(name: str, one: tuple[Any, ...], other_name: str, other: tuple[Any, ...]) -> None:
    if len(one) != len(other):
        raise ValueError(
            f"{name} has {len(one)} level(s) and {other_name} {len(other)}; "
            f"they must have equally many"
        )
