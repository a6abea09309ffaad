"""What the README shows of a study's records, tried on records that are made up."""

from pathlib import Path

import study_results

from spectral_opt.study import save_plan, write_record

from helpers.study_records import synthetic_plan, synthetic_records


def test_table_and_front_come_from_the_records_of_a_folder(tmp_path: Path) -> None:
    plan = synthetic_plan(3, methods=("adamw",), after=("product",), nulls=("permuted",))
    records = synthetic_records(plan)
    cells = {cell.key: cell for job in plan.jobs() for cell in job.cells}
    save_plan(tmp_path, plan)
    for key, record in records.items():
        write_record(tmp_path, cells[key], record)
    overview = study_results.read(tmp_path)
    assert overview is not None
    table = study_results.results_table(overview)
    assert [row[0] for row in table.rows] == ["adamw+product", "adamw+product (permuted)"]
    assert table.muted == {1}
    # A third is lost, at nearly the score.
    assert all(0.3 < float(cell.split()[0]) < 0.6 for cell in table.rows[0][1:])
    assert all(float(cell.split()[0]) > 0.8 for cell in table.rows[1][1:])
    assert f"{len(records)} of {len(records)} cells" in study_results.readme_part(overview)
    drawn = study_results.write_figure(overview, tmp_path)
    assert drawn is not None
    assert drawn.read_text(encoding="utf-8").startswith("<?xml")


def test_without_records_the_readme_says_so(tmp_path: Path) -> None:
    assert study_results.readme_part(study_results.read(tmp_path)) == study_results.NOTHING_YET
