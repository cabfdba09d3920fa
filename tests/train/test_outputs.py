from pathlib import Path

import pytest
from click.testing import CliRunner

from train.cli import train as cli


@pytest.mark.parametrize(
    "command",
    [
        ["check", ".", "--page", "absent/page.html"],
        ["evaluate", "quarter_mrunet", "--data", ".", "--curve", "absent/curve.png"],
        ["evaluate", "quarter_mrunet", "--data", ".", "--save", "absent/mine.pt"],
        ["rank", "quarter_mrunet", ".", "--out", "absent/rank.csv"],
        ["report", ".", "--out", "absent/report.html"],
        ["samples", ".", "--out", "absent/samples.png"],
    ],
)
def test_a_folder_to_write_to_is_looked_for_before_the_work(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 2, done.output
    assert "absent: no such folder" in done.output
