"""Four packages, each standing on the ones before it."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("edge", "train", "export", "bench")
# What edge may import anywhere, and what only inside a function or backend that uses it.
EDGE_AT_TOP = {"click", "numpy", "cv2", "edge"}
EDGE_WHERE_USED = EDGE_AT_TOP | {
    "av", "cuda", "genicam", "harvesters", "onnxruntime", "openpyxl", "openvino", "paho",
    "pillow_heif", "prometheus_client", "pycuda", "pynvml", "supervision",
}  # fmt: skip
# edge/server is imported where a page is served, and only there.
EDGE_SERVER = {"starlette", "uvicorn"}


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Top-level packages a file imports: (at module level, anywhere)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def named(nodes: list[ast.AST]) -> set[str]:
        found = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
        return found

    return named(list(tree.body)), named(list(ast.walk(tree)))


@pytest.mark.parametrize("package", ORDER)
def test_no_import_runs_the_other_way(package: str) -> None:
    above = set(ORDER[ORDER.index(package) + 1 :])
    for path in (ROOT / package).rglob("*.py"):
        assert not imports(path)[1] & above, path


def test_edge_imports_heavy_packages_only_where_used() -> None:
    for path in (ROOT / "edge").rglob("*.py"):
        at_top, anywhere = (names - sys.stdlib_module_names for names in imports(path))
        server = EDGE_SERVER if path.parent.name == "server" else set()
        assert at_top <= EDGE_AT_TOP | server, path
        assert anywhere <= EDGE_WHERE_USED | server, path


@pytest.mark.parametrize(
    "module", ["edge.runner", "train.data.synth", "train.metrics", "bench.demo"]
)
def test_the_demo_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["edge-run", "train", "export-trt", "bench"])
def test_help_answers_at_once(command: str) -> None:
    script = Path(sys.executable).with_name(command)
    assert script.exists(), "install the project first: make test does"
    for _ in range(5):  # the best of five: the machine may be busy
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if seconds < 0.5:
            break
    assert "Usage:" in done.stdout
    assert seconds < 0.5, "seconds of the CPU"


# Runs `commands`, each the words of one, where `package` is not installed.
HIDDEN = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
from {module} import {function}
codes = set()
for sys.argv in {commands!r}:
    try:
        {function}()
    except SystemExit as ended:
        codes.add(ended.code)
(code,) = codes
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("package", "module", "function", "argv", "extra"),
    [
        ("cv2", "edge.cli", "edge_run", ["edge-run", "--source", "x.png"], "cpu"),
        ("av", "edge.cli", "edge_run", ["edge-run", "--source", "rtsp://127.0.0.1/x"], "live"),
        ("harvesters", "edge.cli", "edge_run", ["edge-run", "--source", "genicam:0"], "genicam"),
        ("onnxruntime", "edge.cli", "edge_run", ["edge-run", "--source", "PHOTO", "--backend",
                                                 "onnxruntime"], "cpu"),
        ("openvino", "edge.cli", "edge_run", ["edge-run", "--source", "PHOTO", "--backend",
                                              "openvino"], "openvino"),
        ("av", "edge.cli", "edge_run", ["edge-run", "--source", "PHOTO", "--engine",
                                        "quarter_mrunet", "--sink", "video:x.mp4"], "live"),
        ("paho", "edge.cli", "edge_run", ["edge-run", "--source", "PHOTO", "--engine",
                                          "quarter_mrunet", "--sink", "mqtt://h/t"], "live"),
        ("prometheus_client", "edge.cli", "edge_run",
         ["edge-run", "--source", "PHOTO", "--engine", "quarter_mrunet", "--sink",
          "prometheus://:0"], "live"),
        ("starlette", "edge.cli", "edge_run", ["edge-run", "--source", "PHOTO", "--engine",
                                               "quarter_mrunet", "--serve", "0"], "live"),
        ("uvicorn", "edge.cli", "edge_run", ["edge-run", "view", "."], "live"),
        ("openpyxl", "edge.cli", "edge_run", ["edge-run", "report", "."], "report"),
        ("torch", "train.cli", "train", ["train", "fit", "--model", "unet", "--data", ".",
                                         "--out", "x.pt"], "train"),
        ("torch", "export.cli", "export_trt", ["export-trt", "x.pt", "--out", "x.onnx"], "export"),
        ("onnx", "export.cli", "export_trt", ["export-trt", "x.pt", "--out", "x.onnx"], "export"),
        ("cv2", "export.cli", "export_trt", ["export-trt", "x.pt", "--out", "x.onnx"], "export"),
        ("cv2", "bench.cli", "bench", ["bench", "latency"], "cpu"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_extra(
    package: str, module: str, function: str, argv: list[str], extra: str, photo: Path
) -> None:
    argv = [str(photo) if word == "PHOTO" else word for word in argv]
    code = HIDDEN.format(package=package, module=module, function=function, commands=[argv])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"pip install '.[{extra}]'" in done.stderr
    assert package in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["train", "fit", "--data", "", "--out", "x"],
        ["train", "synth", ""],
        ["train", "evaluate", "", "--data", "."],
        ["export-trt", "half_mrunet", "--out", ""],
        ["export-trt", "inspect", ""],
        ["bench", "accuracy", ""],
        ["bench", "--all-models", "--out", ""],
    ],
)
def test_an_unset_variable_is_no_argument(words: list[str]) -> None:
    script = Path(sys.executable).with_name(words[0])
    done = subprocess.run([script, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is empty" in done.stderr
