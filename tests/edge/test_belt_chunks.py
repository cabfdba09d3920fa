"""Chunks of a strip: their maps are the strip's, and so are their particles."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import edge
from edge.belt.chunks import Chunk, Chunks, chunk_rows, overlap
from edge.belt.density import LANES
from edge.belt.frame import BeltFrame
from edge.belt.stage import BeltStage
from edge.errors import EdgeError
from edge.model import Model
from edge.particles import ParticleFilter, find_particles
from edge.result import Result
from tests.train.test_tiled_networks import network, probabilities
from train.data.sand import rendered_sand
from train.models.registry import MODELS

Map = NDArray[np.uint8]
# Rows that come at a time, and whether what is there is asked for then.
arrivals = st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=12)


def chunked(
    strip: Map, arrivals: Sequence[tuple[int, bool]], rows: int, halo: int, multiple: int
) -> list[Chunk]:
    """Of a strip whose first row has number 5; the arrivals are repeated as often as needed."""
    chunks = Chunks(strip.shape[1], rows, halo=halo, multiple=multiple, first=5)
    given: list[Chunk] = []
    at = turn = 0
    while at < len(strip):
        count, early = arrivals[turn % len(arrivals)]
        given += chunks.add(strip[at : at + count])
        at, turn = at + count, turn + 1
        if early and (chunk := chunks.early()):
            given.append(chunk)
    last = chunks.finish()
    assert last
    assert last.ends
    return [*given, last]


def joined(chunks: Sequence[Chunk], maps: Sequence[Map]) -> Map:
    """The valid rows of all, which must be those of the strip, each once."""
    parts, following = [], 5
    for chunk, probability in zip(chunks, maps, strict=True):
        begin, end = chunk.valid
        assert begin == following
        assert begin < end
        parts.append(probability[begin - chunk.first : end - chunk.first])
        following = end
    return np.concatenate(parts)


@given(
    arrivals,
    st.integers(1, 400),
    st.integers(0, 20),
    st.sampled_from([1, 2, 4, 16]),
    st.integers(1, 60),
)
def test_chunks_hold_the_strip(
    arrivals: list[tuple[int, bool]], height: int, halo: int, multiple: int, more: int
) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (height, 3, 3), np.uint8)
    rows = overlap(halo, multiple) + more
    chunks = chunked(strip, arrivals, rows, halo, multiple)
    assert np.array_equal(joined(chunks, [chunk.pixels for chunk in chunks]), strip)
    for chunk in chunks:
        end = chunk.first + len(chunk.pixels)
        assert np.array_equal(chunk.pixels, strip[chunk.first - 5 : end - 5])
        assert (chunk.first - 5) % multiple == 0
        assert chunk.first == 5 or chunk.valid[0] - chunk.first >= halo
        if not chunk.ends:
            assert end - chunk.valid[1] >= halo
            assert len(chunk.pixels) % multiple == 0
        assert len(chunk.pixels) <= rows + multiple


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {}


@pytest.mark.parametrize(
    "name",
    [
        "quarter_mrunet",
        "half_mrunet_lite",
        *(pytest.param(name, marks=pytest.mark.slow)
          for name in ("mrunet_lite", "half_mrunet", "half_mrunet8", "quarter_mrunet8")),
    ],
)  # fmt: skip
@settings(max_examples=8, deadline=None)
@given(arrivals=arrivals, height=st.integers(120, 260), more=st.integers(1, 80))
def test_maps_of_chunks_are_the_map_of_the_strip(
    name: str,
    models: dict[str, Model],
    arrivals: list[tuple[int, bool]],
    height: int,
    more: int,
) -> None:
    model = models.setdefault(name, edge.load_model(name))
    strip = np.rint(rendered_sand(np.random.default_rng(height), height, 61) * 255).astype(np.uint8)
    info = model.engine.info
    rows = overlap(info.halo, info.multiple) + more
    chunks = chunked(strip, arrivals, rows, info.halo, info.multiple)
    together = joined(chunks, [model(chunk.pixels).probability for chunk in chunks])
    # Sums of other tiles are rounded in another order.
    assert np.abs(together.astype(int) - model(strip).probability).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("key", MODELS)
def test_maps_of_chunks_of_any_network(key: str) -> None:
    spec = MODELS[key]
    halo, multiple = spec.receptive_field_radius(), spec.multiple
    rng = np.random.default_rng(0)
    height = 3 * halo + int(rng.integers(100, 200))
    strip = rng.integers(0, 256, (height, 64, 3), np.uint8)
    net = network(spec, seed=1)

    def probability(pixels: Map) -> Map:
        height = len(pixels)
        more = -height % multiple
        padded = np.pad(pixels, ((0, more), (0, 0), (0, 0)), mode="edge")
        return probabilities(net, padded[None])[0, 0, :height]

    arrivals = [(int(count), bool(count % 3 == 0)) for count in rng.integers(1, 90, 6)]
    chunks = chunked(strip, arrivals, overlap(halo, multiple) + 70, halo, multiple)
    assert len(chunks) > 2
    together = joined(chunks, [probability(chunk.pixels) for chunk in chunks])
    assert np.abs(together - probability(strip)).max() <= 1e-5


def test_the_size_of_chunks_bounds_the_cost() -> None:
    for name in ("quarter_mrunet", "half_mrunet_lite"):
        engine = edge.load_model(name).engine
        for width in (96, 640, 1440):
            rows = chunk_rows(engine, width)
            new = rows - overlap(engine.info.halo, engine.info.multiple)
            assert rows <= 640
            assert engine.tile_grid((rows, width)).pixels <= 1.3 * new * width


def test_a_chunk_needs_room_for_its_halo() -> None:
    with pytest.raises(EdgeError, match="a halo of 35 px leaves nothing of a chunk of 64 rows"):
        Chunks(96, 64, halo=35, multiple=4)


def results(
    probability: Map, bounds: Sequence[int], stage: BeltStage, particle_filter: ParticleFilter
) -> list[Result]:
    """What the stage makes of a strip whose chunks have these bounds."""
    made: list[Result] = []
    for index, (begin, end) in enumerate(itertools.pairwise(bounds)):
        halo = min(3, begin)
        rows = slice(begin - halo, min(end + 3, len(probability)))
        part = probability[rows]
        frame = BeltFrame(
            np.repeat(part[..., None], 3, axis=-1), index, "belt", 1.0,
            first_row=begin - halo, valid=(begin, end), ends=end == len(probability),
            passed_s=np.arange(rows.start, rows.stop) / 10, measured=np.ones(len(part), bool),
            crossweb=np.zeros(len(part)),
            motion=None,
        )  # fmt: skip
        made += stage(Result.of(frame, part, particle_filter))
    return made


@st.composite
def strips(draw: st.DrawFn) -> tuple[Map, list[int]]:
    height, width = draw(st.integers(4, 60)), draw(st.integers(1, 14))
    density = draw(st.floats(0.05, 0.6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    probability = np.where(rng.random((height, width)) < density, rng.integers(128, 256), 0)
    cuts = draw(st.sets(st.integers(1, height - 1), max_size=8))
    return probability.astype(np.uint8), [0, *sorted(cuts), height]


@given(strips(), st.sampled_from([None, 1.5, 3.0]))
def test_components_are_those_of_the_whole_strip(
    strip: tuple[Map, list[int]], min_diameter: float | None
) -> None:
    probability, bounds = strip
    particle_filter = ParticleFilter(0.5, min_diameter)
    mask = particle_filter.mask(probability)
    whole = find_particles(probability, mask)
    made = results(probability, bounds, BeltStage(), particle_filter)
    together = np.zeros_like(mask)
    records = []
    for result in made:
        assert len(result.to_coco()["annotations"]) == len(result.particles)
        first = result.frame.first_row  # type: ignore[attr-defined]
        together[first : first + len(result.mask)] += result.mask
        assert np.array_equal(
            result.probability, probability[first : first + len(result.mask)]
        )  # fmt: skip
        records += result.records(0.5)
    assert np.array_equal(together, mask)
    found = sorted((r["downweb_px"], r["crossweb_px"], r["area_px"]) for r in records)
    expected = sorted((round(p.y, 2), p.x, p.area_px) for p in whole)
    assert np.allclose(found, expected, atol=0.011)
    for record in records:
        assert record["y_px"] == record["downweb_px"]
        assert record["y_mm"] == pytest.approx(record["downweb_px"] / 2, abs=0.01)
        assert record["passed_s"] == pytest.approx(record["downweb_px"] / 10, abs=0.002)
    ids = [record["id"] for record in records]
    assert len(set(ids)) == len(ids)


@given(strips(), st.integers(1, 80))
def test_segments_count_what_is_in_the_whole_strip(
    strip: tuple[Map, list[int]], length_px: int
) -> None:
    probability, bounds = strip
    height, width = probability.shape
    made = results(probability, bounds, BeltStage(segment_px=length_px), ParticleFilter(0.5))
    segments = [segment for result in made for segment in result.segments]  # type: ignore[attr-defined]
    assert [segment.begin for segment in segments] == [0, *(one.end for one in segments[:-1])]
    assert segments[-1].end == height
    whole = find_particles(probability, ParticleFilter(0.5).mask(probability))
    rows = [round(particle.y) for particle in whole]
    lanes = [int(particle.x * LANES / width) for particle in whole]
    for number, segment in enumerate(segments):
        assert segment.number == number
        assert segment.end == min((number + 1) * length_px, height)
        inside = [lane for row, lane in zip(rows, lanes, strict=True)
                  if segment.begin <= row < segment.end]  # fmt: skip
        assert segment.lanes == tuple(inside.count(lane) for lane in range(LANES))
        record = segment.record(0.5)
        assert record["passed_s"] == pytest.approx((segment.end - 1) / 10)
        area_m2 = (segment.end - segment.begin) * width * 0.0005**2
        assert record["particles_per_m2"] == pytest.approx(len(inside) / area_m2, abs=1e-3)


def test_what_is_too_long_is_cut() -> None:
    probability = np.zeros((400, 9), np.uint8)
    probability[:, 4] = 255
    probability[100:103, 7] = 255
    stage = BeltStage(max_component_rows=50)
    made = results(probability, [*range(0, 400, 20), 400], stage, ParticleFilter(0.5))
    assert max(len(result.mask) for result in made) <= 70
    areas = [particle.area_px for result in made for particle in result.particles]
    assert sum(areas) == 403
    assert areas.count(3) == 1


def test_an_interrupted_strip_closes_its_components() -> None:
    probability = np.zeros((40, 9), np.uint8)
    probability[15:25, 4] = 255
    stage = BeltStage()
    made = results(probability[:20], [0, 18], stage, ParticleFilter(0.5))
    assert [len(result.particles) for result in made] == [0]
    made = results(probability, [22, 40], stage, ParticleFilter(0.5))
    assert [[p.area_px for p in result.particles] for result in made] == [[3], [3]]
