"""Where results go, and how they look."""

import os
import pty
import subprocess
import sys

import pytest

from churn_pipeline.cli import report
from churn_pipeline.cli.output import Output, PlaceNotWritable
from churn_pipeline.io_managers.exports import UnknownExportFormat


def test_a_file_of_a_known_ending_takes_predictions_and_anything_else_is_for_the_tables(tmp_path):
    assert Output.read(str(tmp_path / "new" / "scores.parquet")).file == tmp_path / "new" / "scores.parquet"
    assert Output.read(str(tmp_path / "tables")) == Output(tables=str(tmp_path / "tables"))
    assert Output.read("s3://bucket/tables") == Output(tables="s3://bucket/tables")
    assert Output.read(f"{tmp_path}/odd.csv/") == Output(tables=str(tmp_path / "odd.csv"))
    assert Output.read(None) == Output()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_ending_is_no_folder(tmp_path):
    with pytest.raises(UnknownExportFormat, match=r"\.csv, \.parquet"):
        Output.read(str(tmp_path / "scores.xlsx"))


def test_a_place_that_cannot_be_written_is_found_out_before_the_run(tmp_path):
    (tmp_path / "file").touch()
    for place in ("file/scores.csv", "file", "file/tables"):
        with pytest.raises(PlaceNotWritable, match="is no folder"):
            Output.read(str(tmp_path / place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_found_out_before_the_run(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PlaceNotWritable, match="may not write"):
        Output.read(str(tmp_path / "scores.csv"))


def test_numbers_are_told_as_people_read_them():
    assert report.count(1, "row") == "1 row" and report.count(2000, "batch") == "2,000 batches"
    assert report.share(0.265) == "26.5 %" and report.share(None) == "–"
    assert report.amount(25310.4, "dollars a month") == "25,310 dollars a month"
    assert [report.size(n) for n in (0, 34_826, 5_200_000_000_000)] == ["0 bytes", "34.8 kB", "5.2 TB"]


def test_a_customers_value_cannot_move_the_cursor():
    assert report.cell("\x1b[2Jmine\n") == "�[2Jmine�"


def test_progress_is_drawn_on_a_terminal_and_nowhere_else():
    code = (
        "from churn_pipeline.cli.progress_bar import progress_bar\n"
        "with progress_bar('Starting') as p:\n"
        "    p.advance('read', 65536); p.advance('read', 1); p.advance('score', 65537)\n"
    )
    silent = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert silent.stderr == silent.stdout == b""
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=follower, env={**os.environ, "TERM": "xterm"}, check=True)
    os.close(follower)
    drawn = os.read(leader, 100_000).decode()
    assert "Reading" in drawn and "65,537 rows" in drawn and "Scoring" in drawn
