import pytest

from spectral_opt.study.report import Overview, forest_figures, marks_of_parts

from helpers.study_records import diverged, synthetic_plan, synthetic_records


def drawn(ended: int) -> str:
    """Draw the forest of few-shot, of eight seeds; so many runs of one method have diverged."""
    plan = synthetic_plan(8, ("rotten_tomatoes",), ("linear_probe", "adamw", "soap"), ())
    records = synthetic_records(plan)
    own = [key for key, one in records.items() if (one.part, one.method) == ("fewshot", "soap")]
    records |= {key: diverged(records[key]) for key in own[:ended]}
    overview = Overview(plan, records, {})
    figures = forest_figures(overview, marks_of_parts(overview))
    return next(figure.svg for figure in figures if figure.title.startswith("fewshot"))


@pytest.mark.parametrize(("ended", "dotted"), [(0, 0), (3, 2), (8, 0)])
def test_an_interval_without_bound_is_drawn_dotted_to_the_edge(ended: int, dotted: int) -> None:
    # Of three runs of eight that diverged the interval of the median has one end, in both columns; of all eight none.
    assert drawn(ended).count("stroke-dasharray") - drawn(0).count("stroke-dasharray") == dotted
