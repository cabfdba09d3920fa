"""What a camera is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CameraSettings:
    """None leaves it to the camera.

    Attributes:
        size_wh: (width, height), px.
        fps: frames per second.
        pixel_format: FOURCC such as MJPG or YUYV; of a GenICam camera, such as Mono8.
        exposure_ms: time of exposure, which also turns the automatic exposure off.
        gain: in the driver's own unit.
        encoder: chunk of a GenICam camera's frames that holds the counts of an encoder, such as
            EncoderValue or CounterValue.
    """

    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None
    exposure_ms: float | None = None
    gain: float | None = None
    encoder: str | None = None

    def differences(self, given: CameraSettings) -> list[str]:
        """What a camera gave in place of what was asked for, a few words each; what is unknown
        of `given` is not said."""
        found = []
        if self.size_wh and given.size_wh and self.size_wh != given.size_wh:
            asked, got = ("x".join(map(str, size)) for size in (self.size_wh, given.size_wh))
            smaller = any(a > b for a, b in zip(self.size_wh, given.size_wh, strict=True))
            found.append(f"frames of {got}, {'smaller than' if smaller else 'not'} {asked}")
        if self.pixel_format and given.pixel_format and self.pixel_format != given.pixel_format:
            found.append(f"format {given.pixel_format}, not {self.pixel_format}")
        for name, unit in (("fps", ""), ("exposure_ms", " ms"), ("gain", "")):
            wanted, got_value = getattr(self, name), getattr(given, name)
            # Drivers round to what their clocks can count.
            if None not in (wanted, got_value) and abs(got_value - wanted) > 0.02 * abs(wanted):
                what = name.removesuffix("_ms")
                found.append(f"{what} {got_value:g}{unit}, not {wanted:g}{unit}")
        return found
