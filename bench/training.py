"""Overhead of the training framework against a plain PyTorch loop."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from bench.machine import memory_mb
from bench.tables import table
from train.data.augment import Augmentation, normalisation_of, normalised
from train.data.crops import Crops
from train.data.samples import Sample
from train.data.synth import scene
from train.fit import Settings, fit
from train.loss import weighted_bce
from train.models.registry import build, open_model
from train.module import BETAS, EPSILON, LOG_STEPS
from train.recipe import RECIPES

# 200 crops: an epoch of 50 steps, five intervals of ten between validations.
PHOTOS, SIDE, CROP, BATCH = 9, 256, 64, 4


@dataclass(frozen=True)
class TrainingResult:
    """`repeats` of `epochs` epochs each, ours and a plain loop interleaved.

    `images_per_s` and `plain_images_per_s` hold a number a repeat, from the median of ten steps.
    `memory_mb` is resident memory after each epoch of all our runs, MB of 10**6 bytes.
    """

    model: str
    device: str
    epochs: int
    batch: int
    crop: int
    images_per_s: list[float]
    plain_images_per_s: list[float]
    memory_mb: list[float]

    @property
    def ratio(self) -> float:
        """Ours over the plain loop's, median of the pairs."""
        return float(np.median(np.divide(self.images_per_s, self.plain_images_per_s)))

    @property
    def memory_slope_mb(self) -> float:
        """MB an epoch, straight line through the last repeat."""
        last = self.memory_mb[-self.epochs :]
        return float(np.polyfit(range(len(last)), last, 1)[0])

    def describe(self) -> str:
        """The result for a terminal."""
        pairs = zip(self.images_per_s, self.plain_images_per_s, strict=True)
        rows = [
            (str(n), f"{a:.2f}", f"{b:.2f}", f"{a / b:.3f}") for n, (a, b) in enumerate(pairs, 1)
        ]
        rows.append(("median", "", "", f"{self.ratio:.3f}"))
        return "\n\n".join(
            [
                f"{self.model} on {self.device}, batch {self.batch}, crops {self.crop}x{self.crop}",
                table(("repeat", "ours, crops/s", "plain loop, crops/s", "ratio"), rows),
                f"memory after each epoch {', '.join(f'{mb:.0f}' for mb in self.memory_mb)} MB; "
                f"{self.memory_slope_mb:+.2f} MB an epoch in the last run",
            ]
        )


def measure(model: str, epochs: int, repeats: int) -> TrainingResult:
    """Train `model` on rendered photos, with `train.fit` and with a plain loop, interleaved.

    Both augment, take the same crops and step by the same loss and optimiser; ours logs, validates
    and keeps checkpoints beside that, of which a step's time sees the logging only.

    Raises:
        BadArgumentError: there is no such model.
        EdgeError: memory cannot be read on this system.
    """
    spec = open_model(model)
    rng = np.random.default_rng(0)
    photos = []
    for number in range(PHOTOS):
        rendered = scene(rng, SIDE, SIDE, particles=10)
        photos.append(Sample(str(number), rendered.image, (rendered.mask > 0).astype(np.uint8)))
    ours, plain, memory = [], [], []
    settings = Settings("rendered", epochs=epochs, batch=BATCH, crop=CROP, devices=1)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            with _resident() as samples, contextlib.redirect_stdout(io.StringIO()):
                fit(spec, RECIPES["paper"], photos[:-1], photos[-1:], out, settings)
            events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
            events.Reload()
            logged = [(event.step, event.wall_time) for event in events.Scalars("loss")]
            ours.append(_images_per_s(logged))
            memory += [
                next(mb for at, mb in reversed(samples) if at <= event.wall_time)
                for event in events.Scalars("rw_f1")
            ]
        crops = Crops(photos[:-1], spec.multiple, CROP, normalisation_of(photos[:-1]).mean)
        ended = _plain_loop(model, crops, photos[:-1], epochs)
        plain.append(_images_per_s([(step, ended[step]) for step, _ in logged]))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    threads = f", {torch.get_num_threads()} thread(s)" if device == "CPU" else ""
    return TrainingResult(model, device + threads, epochs, BATCH, CROP, ours, plain, memory)


def _images_per_s(logged: list[tuple[int, float]]) -> float:
    """From (step, Unix time) every ten steps: the slow intervals hold validation or warming up."""
    return LOG_STEPS * BATCH / float(np.median([b[1] - a[1] for a, b in pairwise(logged)]))


def _plain_loop(model: str, crops: Crops, photos: list[Sample], epochs: int) -> list[float]:
    """A loop without a framework; Unix time at the end of each step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(open_model(model)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(
        network.parameters(), RECIPES["paper"].learning_rate, BETAS, EPSILON
    )
    augment, normalisation = Augmentation(), normalisation_of(photos)
    ended = []
    for _ in range(epochs):
        order = [crops.grid[i] for i in torch.randperm(len(crops.grid)).tolist()]
        for image, target in DataLoader(crops, BATCH, sampler=order):
            image, target = image.to(device), target.to(device)
            image, target = augment(normalised(image, normalisation), target)
            loss = weighted_bce(network(image), target)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            loss.item()
            ended.append(time.time())
    return ended


@contextlib.contextmanager
def _resident() -> Iterator[list[tuple[float, float]]]:
    """(Unix time, MB) of this process's resident memory, every 20 ms while the block runs."""
    memory_mb("self", "VmRSS")  # says so here where it cannot be read
    samples: list[tuple[float, float]] = []
    stop = threading.Event()

    def sample() -> None:
        while True:
            samples.append((time.time(), memory_mb("self", "VmRSS")))
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=sample, name="memory")
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
