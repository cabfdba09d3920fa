import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from bench.energy import IDLE_S, MIN_FRAMES, measure
from bench.power import (
    Ina3221Meter,
    NvmlMeter,
    TegrastatsMeter,
    joules,
    open_meter,
    tegrastats_rails,
    whole_module,
)
from edge.errors import EdgeError
from edge.files import atomic_write
from edge.gpu import find_gpu

# Lines as boards print them, from public test data, forum posts and manuals.
NANO = (
    "RAM 534/3964MB (lfb 98x4MB) SWAP 5/1982MB (cached 1MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [16%@204,9%@204,0%@204,0%@204] EMC_FREQ 0%@204 GR3D_FREQ 0%@76 APE 25 PLL@34C "
    "CPU@36.5C PMIC@100C GPU@36C AO@39.5C thermal@36.25C POM_5V_IN 1022/1022 POM_5V_GPU 0/0 "
    "POM_5V_CPU 204/204"
)
TX1 = (
    "RAM 1179/3983MB (lfb 120x4MB) IRAM 0/252kB(lfb 252kB) CPU [1%@102,4%@102,0%@102,0%@102] "
    "EMC_FREQ 7%@408 GR3D_FREQ 0%@76 APE 25 AO@42.5C CPU@37.5C GPU@39C PLL@37C Tdiode@42.75C "
    "PMIC@100C Tboard@42C thermal@38.5C VDD_IN 2532/2698 VDD_CPU 76/178 VDD_GPU 19/19"
)
TX2 = (
    "RAM 2344/7852MB (lfb 1154x4MB) SWAP 0/3926MB (cached 0MB) "
    "CPU [1%@345,off,off,1%@345,0%@345,2%@345] EMC_FREQ 4%@1600 GR3D_FREQ 0%@624 APE 150 "
    "PLL@37.5C MCPU@37.5C PMIC@100C Tboard@32C GPU@35C BCPU@37.5C thermal@36.5C Tdiode@34.25C "
    "VDD_SYS_GPU 152/152 VDD_SYS_SOC 687/687 VDD_4V0_WIFI 0/0 VDD_IN 3056/3056 "
    "VDD_SYS_CPU 152/152 VDD_SYS_DDR 883/883"
)
XAVIER_NX = (
    "RAM 4412/7772MB (lfb 237x4MB) SWAP 139/3886MB (cached 2MB) "
    "CPU [9%@1190,6%@1190,6%@1190,5%@1190,4%@1190,8%@1267] EMC_FREQ 10%@1600 GR3D_FREQ 62%@306 "
    "APE 150 MTS fg 0% bg 0% AO@41.5C GPU@43C PMIC@100C AUX@41.5C CPU@43.5C thermal@42.55C "
    "VDD_IN 4067/4067 VDD_CPU_GPU_CV 738/738 VDD_SOC 1353/1353"
)
AGX_XAVIER = (
    "RAM 4083/31919MB (lfb 6179x4MB) SWAP 0/15959MB (cached 0MB) "
    "CPU [0%@1190,0%@1190,0%@1190,1%@1190,off,off,off,off] EMC_FREQ 0% GR3D_FREQ 0% AO@42C "
    "GPU@42C Tdiode@44.75C PMIC@100C AUX@41.5C CPU@42C thermal@41.6C Tboard@41C GPU 0/16 "
    "CPU 310/432 SOC 931/953 CV 0/0 VDDRQ 466/488 SYS5V 1522/1559"
)
ORIN_NX = (
    "RAM 6334/15388MB (lfb 1770x4MB) SWAP 491/7694MB (cached 0MB) "
    "CPU [6%@729,9%@729,5%@729,16%@729,off,off,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 0%@611 "
    "VIC_FREQ 729 APE 174 CV0@45.812C CPU@47.937C SOC2@46.093C SOC0@46.968C CV1@46.406C "
    "GPU@45.875C tj@48.875C SOC1@48.875C CV2@45.75C VDD_IN 5299mW/5299mW "
    "VDD_CPU_GPU_CV 773mW/773mW VDD_SOC 1424mW/1424mW"
)
ORIN_NANO = (
    "07-14-2025 10:29:36 RAM 2147/7620MB (lfb 2x4MB) SWAP 1476/3810MB (cached 1MB) "
    "CPU [0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] GR3D_FREQ 0% cpu@47.687C soc2@46.718C "
    "soc0@47.468C gpu@48.625C tj@48.625C soc1@48.25C VDD_IN 4556mW/4556mW "
    "VDD_CPU_GPU_CV 483mW/483mW VDD_SOC 1451mW/1451mW"
)
AGX_ORIN = (
    "10-16-2023 10:59:22 RAM 1205/30623MB (lfb 6429x4MB) SWAP 0/15311MB (cached 0MB) "
    "CPU [0%@729,0%@729,1%@729,0%@729,0%@729,0%@730,0%@730,0%@729,0%@729,0%@729,0%@729,0%@729] "
    "EMC_FREQ 0%@204 GR3D_FREQ 0%@114 GR3D2_FREQ 0%@114 NVJPG1 729 VIC_FREQ 729 APE 233 "
    "CV0@-256C CPU@43.5C Tdiode@32.5C SOC2@40.062C SOC0@40.5C CV1@-256C GPU@38.156C "
    "SOC1@39.125C CV2@-256C VDD_GPU_SOC 4788mW/4788mW VDD_CPU_CV 798mW/798mW "
    "VIN_SYS_5V0 3842mW/3842mW NC 0mW/0mW VDDQ_VDD2_1V8AO 707mW/707mW NC 0mW/0mW"
)
AGX_ORIN_JETPACK_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201,4%@2201,14%@2201,"
    "30%@2201,18%@2201,10%@2201,10%@2201,33%@2201,7%@2201,5%@2201,27%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] NVENC0 off NVDEC0 off NVJPG0 off NVJPG1 off VIC off OFA off "
    "NVDLA0 off NVDLA1 off PVA0_FREQ off APE 174 cpu@52.968C/52.968C soc2@48.406C/48.406C "
    "soc0@49.531C/49.531C gpu@47.625C/47.625C VDD_GPU_SOC 5139mW/5139mW/5139mW "
    "VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
THOR = (
    "07-31-2026 14:45:55 RAM 86905/125772MB (lfb 368x4MB) CPU [12%@972,10%@972,off,33%@1890] "
    "cpu@39.812C tj@39.906C soc012@38.812C gpu@39.906C soc345@38.625C VDD_GPU 3561mW/3561mW "
    "VDD_CPU_SOC_MSS 7910mW/7910mW VIN_SYS_5V0 7620mW/7620mW VIN 26686mW/26686mW"
)


@pytest.mark.parametrize(
    ("line", "count", "rails", "watts"),
    [
        pytest.param(NANO, 3, ("POM_5V_IN",), 1.022, id="Nano"),
        pytest.param(TX1, 3, ("VDD_IN",), 2.532, id="TX1, of 2532/2698 the one of now"),
        pytest.param(TX2, 6, ("VDD_IN",), 3.056, id="TX2"),
        pytest.param(XAVIER_NX, 3, ("VDD_IN",), 4.067, id="Xavier NX"),
        pytest.param(
            AGX_XAVIER, 6, ("CPU", "CV", "GPU", "SOC", "SYS5V", "VDDRQ"), 3.229, id="AGX Xavier"
        ),
        pytest.param(ORIN_NX, 3, ("VDD_IN",), 5.299, id="Orin NX"),
        pytest.param(ORIN_NANO, 3, ("VDD_IN",), 4.556, id="Orin Nano"),
        pytest.param(
            AGX_ORIN, 5, ("VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"), 9.428, id="AGX Orin"
        ),
        pytest.param(
            AGX_ORIN_JETPACK_7,
            *(3, ("VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"), 13.907),
            id="AGX Orin, JetPack 7",
        ),
        pytest.param(THOR, 4, ("VIN",), 26.686, id="AGX Thor"),
    ],
)
def test_a_line_of_tegrastats(line: str, count: int, rails: tuple[str, ...], watts: float) -> None:
    found = tegrastats_rails(line)
    assert len(found) == count
    assert whole_module(found) == rails
    assert sum(found[rail] for rail in rails) == pytest.approx(watts)


@pytest.mark.parametrize(
    "line", ["", XAVIER_NX.partition("VDD_IN")[0]], ids=["empty", "a board without sensors"]
)
def test_a_line_without_rails(line: str) -> None:
    assert whole_module(tegrastats_rails(line)) == ()


def test_energy_is_the_area_under_the_power() -> None:
    samples = [(0.0, 1.0), (1.0, 3.0), (3.0, 3.0), (4.0, 9.0)]
    assert joules(samples, 0, 4) == pytest.approx(2 + 6 + 6)
    assert joules(samples, 0.5, 2) == pytest.approx(1.25 + 3)
    assert joules(samples, -1, 5) == pytest.approx(1 + 14 + 9)
    assert joules(samples, 1.5, 1.75) == pytest.approx(0.75)


def hwmon(sysfs: Path, address: str, number: int, *rails: tuple[str, int, int] | str) -> Path:
    """A chip as JetPack 5 and 6 show it: (name, mV, mA) of each channel, or a name without."""
    device = sysfs / f"devices/platform/c240000.i2c/i2c-1/{address}"
    folder = device / f"hwmon/hwmon{number}"
    files: dict[str, object] = {"in7_label": "sum of shunt voltages", "in7_input": 760}
    for channel, rail in enumerate(rails, 1):
        if isinstance(rail, str):
            files[f"in{channel}_label"] = rail
        else:
            names = (f"in{channel}_label", f"in{channel}_input", f"curr{channel}_input")
            files |= zip(names, rail, strict=True)
    write(folder, files)
    # The driver's folder holds links to its devices.
    driver = sysfs / "bus/i2c/drivers/ina3221"
    driver.mkdir(parents=True, exist_ok=True)
    (driver / address).symlink_to(device)
    return folder


def iio(sysfs: Path, address: str, number: int, *rails: tuple[str, int]) -> None:
    """A chip as JetPack 4 shows it: (name, mW) of each channel."""
    files: dict[str, object] = {}
    for channel, (name, milliwatts) in enumerate(rails):
        files |= {f"rail_name_{channel}": name, f"in_power{channel}_input": milliwatts}
    write(sysfs / f"bus/i2c/drivers/ina3221x/{address}/iio:device{number}", files)


def write(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n", encoding="utf-8")


def orin_nano(sysfs: Path) -> Path:
    rails = ("VDD_IN", 4984, 960), ("VDD_CPU_GPU_CV", 4976, 120), ("VDD_SOC", 4976, 304)
    return hwmon(sysfs, "1-0040", 1, *rails)


def agx_orin(sysfs: Path) -> None:
    rails = ("VDD_GPU_SOC", 12008, 280), ("VDD_CPU_CV", 12008, 40), ("VIN_SYS_5V0", 4968, 980)
    hwmon(sysfs, "1-0040", 3, *rails)
    hwmon(sysfs, "1-0041", 4, "NC", ("VDDQ_VDD2_1V8AO", 4968, 80), "NC")


def nano(sysfs: Path) -> None:
    iio(sysfs, "6-0040", 0, ("POM_5V_IN", 2875), ("POM_5V_GPU", 0), ("POM_5V_CPU", 492))


def tx2(sysfs: Path) -> None:
    iio(sysfs, "0-0040", 0, ("VDD_SYS_GPU", 152), ("VDD_SYS_SOC", 687), ("VDD_4V0_WIFI", 0))
    iio(sysfs, "0-0041", 1, ("VDD_IN", 3056), ("VDD_SYS_CPU", 152), ("VDD_SYS_DDR", 883))


def agx_xavier(sysfs: Path) -> None:
    iio(sysfs, "1-0040", 0, ("GPU", 465), ("CPU", 310), ("SOC", 1242))
    iio(sysfs, "1-0041", 1, ("CV", 0), ("VDDRQ", 155), ("SYS5V", 1776))


@pytest.mark.parametrize(
    ("board", "words", "watts"),
    [
        pytest.param(orin_nano, "INA3221, rail VDD_IN", 4.78464, id="Orin Nano"),
        pytest.param(
            agx_orin,
            "INA3221, sum of the rails VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0 (none is the whole)",
            3.36224 + 0.48032 + 4.86864,
            id="AGX Orin",
        ),
        pytest.param(nano, "INA3221, rail POM_5V_IN", 2.875, id="Nano"),
        pytest.param(tx2, "INA3221, rail VDD_IN", 3.056, id="TX2"),
        pytest.param(
            agx_xavier,
            "INA3221, sum of the rails CPU, CV, GPU, SOC, SYS5V, VDDRQ (none is the whole)",
            3.948,
            id="AGX Xavier",
        ),
    ],
)
def test_rails_of_a_board_in_sysfs(
    board: Callable[[Path], object], words: str, watts: float, tmp_path: Path
) -> None:
    assert Ina3221Meter.find(tmp_path) is None
    board(tmp_path)
    meter = Ina3221Meter.find(tmp_path)
    assert meter is not None
    assert meter.description == words
    assert not meter.gpu_only
    with meter.measure() as energy:
        time.sleep(0.1)
    assert energy.watts == pytest.approx(watts)
    assert energy.seconds == pytest.approx(0.1, abs=0.1)


def test_power_that_changes_meanwhile(tmp_path: Path) -> None:
    current = orin_nano(tmp_path) / "curr1_input"
    meter = Ina3221Meter.find(tmp_path)
    assert meter is not None
    with meter.measure() as energy:
        start = time.perf_counter()
        time.sleep(0.3)
        with atomic_write(current) as temporary:
            temporary.write_text("2960\n", encoding="utf-8")
        changed = time.perf_counter()
        time.sleep(0.5)
        end = time.perf_counter()
    low, high = 4.984 * 0.96, 4.984 * 2.96
    expected = low * (changed - start) + high * (end - changed)
    # The change lies somewhere between two samples, which the busy machine may set apart.
    assert energy.joules == pytest.approx(expected, abs=(high - low) * 0.1)


def test_a_rail_that_fails_meanwhile(tmp_path: Path) -> None:
    current = orin_nano(tmp_path) / "curr1_input"
    meter = Ina3221Meter.find(tmp_path)
    assert meter is not None
    block = meter.measure()
    block.__enter__()
    current.unlink()
    time.sleep(0.2)
    with pytest.raises(FileNotFoundError):
        block.__exit__(None, None, None)


def test_rails_that_may_not_be_read(tmp_path: Path) -> None:
    # A file that is missing, as root reads what it may not.
    (orin_nano(tmp_path) / "curr1_input").unlink()
    assert Ina3221Meter.find(tmp_path) is None


def tegrastats(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of that name on the PATH, `script` being what it does each time."""
    program = folder / "tegrastats"
    program.write_text(f"#!/bin/sh\ncd {folder}\n{script}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


# What it prints when it is started for the first time, for the second, and from then on.
LINES = """
echo >> starts
[ $(wc -l < starts) -gt 2 ] && line='{busy}' || line='{idle}'
[ "$*" = "--interval 100" ] || exit 2
while :; do echo "$line"; sleep 0.05; done
"""


@pytest.mark.skipif(find_gpu() is not None, reason="its NVML comes first")
def test_energy_of_an_engine_from_tegrastats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, busy = ORIN_NX, ORIN_NX.replace("VDD_IN 5299mW", "VDD_IN 9299mW")
    tegrastats(tmp_path, monkeypatch, LINES.format(idle=idle, busy=busy))
    start = time.perf_counter()
    result = measure("quarter_mrunet", 0.2, side=96)
    assert time.perf_counter() - start > IDLE_S + result.seconds
    assert result.meter == "tegrastats, rail VDD_IN"
    assert "CPU" in result.device
    assert result.frames >= MIN_FRAMES
    assert result.seconds >= 0.2
    assert (result.idle_watts, result.watts) == (5.299, 9.299)
    a_frame = result.seconds / result.frames
    assert result.joules_per_frame == pytest.approx(9.299 * a_frame, rel=0.01)
    assert result.joules_per_frame_above_idle == pytest.approx(4 * a_frame, rel=0.01)
    text = result.describe()
    assert "tegrastats, rail VDD_IN" in text
    assert f"{result.frames} frames of 96x96" in text
    assert "9.30 W, idle 5.30 W" in text


def test_tegrastats_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tegrastats(tmp_path, monkeypatch, f"echo $$ > pid; {LINES.format(idle=TX2, busy=TX2)}")
    meter = TegrastatsMeter.find()
    assert meter is not None
    with pytest.raises(RuntimeError, match="in the block"), meter.measure():
        raise RuntimeError("in the block")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text(encoding='utf-8').strip()}").exists()


@pytest.mark.parametrize(
    "lines", [f"echo '{NANO}'", f"[ $(wc -l < starts) = 1 ] && echo '{NANO}'"], ids=["one", "none"]
)
def test_tegrastats_that_ends_too_early(
    lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tegrastats(tmp_path, monkeypatch, f"echo >> starts\n{lines}\n")
    meter = TegrastatsMeter.find()
    assert meter is not None
    with pytest.raises(EdgeError, match="ended before the work"), meter.measure():
        time.sleep(0.3)


def test_a_line_that_was_cut_off_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = AGX_XAVIER.partition("SOC")[0]
    script = f"echo '{AGX_XAVIER}'; while :; do echo '{cut}'; sleep 0.02; done\n"
    tegrastats(tmp_path, monkeypatch, script)
    meter = TegrastatsMeter.find()
    assert meter is not None
    with meter.measure() as energy:
        time.sleep(0.1)
    assert energy.watts == pytest.approx(3.229)


def test_tegrastats_without_rails_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tegrastats(tmp_path, monkeypatch, "echo 'RAM 1345/7829MB (lfb 1290x4MB) SWAP 0/512MB'\n")
    assert TegrastatsMeter.find() is None


@pytest.mark.skipif(find_gpu() is not None, reason="energy is measurable with a GPU")
def test_where_nothing_is_readable_no_engine_is_opened() -> None:
    assert shutil.which("tegrastats") is None
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlInit()
    assert NvmlMeter.find() is None
    with pytest.raises(EdgeError, match="energy is not measurable here") as failure:
        measure("absent.onnx", 1)
    assert failure.value.exit_code == 1
    for needed in ("NVML", "driver", "INA3221", "tegrastats"):
        assert needed in str(failure.value)


@pytest.mark.skipif(find_gpu() is None, reason="no GPU")
def test_the_energy_of_a_real_card() -> None:
    meter = open_meter()
    assert meter.description.startswith("NVML")
    with meter.measure() as energy:
        time.sleep(1)
    assert 1 < energy.watts < 1500


# Two cards, of which NVML counts the one at 0000:65:00.0 second, and CUDA first. The counter of
# that one runs with 50 W, its power is 30 W; TELLS says what can be asked.
CUDA = """
#include <string.h>
int cuInit(unsigned f) { return f; }
int cuDeviceGetCount(int *n) { return *n = 2, 0; }
int cuDeviceGet(int *d, int i) { return *d = i, 0; }
int cuDeviceGetName(char *t, int n, int d) { return strncpy(t, "GeForce", n), d; }
int cuDeviceGetAttribute(int *v, int a, int d) { return *v = a == 75 ? 8 : 6, d; }
int cuDeviceGetPCIBusId(char *t, int n, int d) { return strncpy(t, "0000:65:00.0", n), d; }
"""
NVML = """
#include <stdlib.h>
#include <string.h>
#include <time.h>
enum { NOT_SUPPORTED = 3, NOT_FOUND = 6 };
static int second;
static int tells(const char *what) { return strstr(getenv("TELLS"), what) != NULL; }
int nvmlInitWithFlags(unsigned f) { return f; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **card) {
    *card = &second;
    return strcmp(address, "0000:65:00.0") ? NOT_FOUND : 0;
}
int nvmlDeviceGetName(void *card, char *t, unsigned n) {
    return strncpy(t, "NVIDIA GeForce", n), card != &second;
}
int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *mj) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *mj = 7000000 + 50ull * (t.tv_sec * 1000ull + t.tv_nsec / 1000000);
    return tells("energy") ? card != &second : NOT_SUPPORTED;
}
int nvmlDeviceGetPowerUsage(void *card, unsigned *mw) {
    return *mw = 30000, tells("power") ? card != &second : NOT_SUPPORTED;
}
"""
MEASURED = """
import time
from bench.power import NvmlMeter
meter = NvmlMeter.find()
if meter:
    with meter.measure() as energy:
        time.sleep(0.5)
    print(meter.description, meter.gpu_only, energy.watts)
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stand-ins for libcuda.so.1 and libnvidia-ml.so.1."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("libraries")
    for name, source in {"libcuda.so.1": CUDA, "libnvidia-ml.so.1": NVML}.items():
        command = ["cc", "-std=gnu11", "-shared", "-fPIC", "-x", "c", "-", "-o", folder / name]
        subprocess.run(command, input=source, text=True, check=True)
    return folder


@pytest.mark.parametrize(
    ("tells", "words", "watts"),
    [
        ("energy and power", "NVML energy counter of NVIDIA GeForce, the card alone", 50),
        ("power", "NVML power of NVIDIA GeForce, the card alone", 30),
    ],
)
def test_nvml_tells_energy_or_power(tells: str, words: str, watts: float, libraries: Path) -> None:
    output = in_a_process(MEASURED, libraries, tells)
    match = re.fullmatch(rf"{re.escape(words)} True ([\d.]+)\n", output)
    assert match, output
    assert float(match[1]) == pytest.approx(watts, rel=0.05)


def test_nvml_that_tells_neither_is_none(libraries: Path) -> None:
    assert in_a_process(MEASURED, libraries, "nothing") == ""


def test_a_cards_energy_is_not_that_of_an_engine_on_the_cpu(libraries: Path) -> None:
    code = "from bench.energy import measure\nmeasure('quarter_mrunet', 1, side=96)"
    with pytest.raises(subprocess.CalledProcessError) as failure:
        in_a_process(code, libraries, "energy")
    assert "quarter_mrunet: runs on the CPU" in failure.value.stderr


def in_a_process(code: str, libraries: Path, tells: str) -> str:
    """What `code` prints in a process that finds the stand-ins."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries), "TELLS": tells},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
