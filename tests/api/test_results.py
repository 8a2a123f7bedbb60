"""What every verb gives back: a line, a table for a notebook, a dict and a table of figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.results import Result

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pydoc-4x128.pth"
TEXT = "The return value is"


@pytest.fixture(scope="module")
def graph() -> sgn.SpikingGraph:
    return sgn.convert(str(EXAMPLE))


def results(graph: sgn.SpikingGraph) -> list[Result]:
    return [
        sgn.generate(graph, "The", tokens=4),
        sgn.evaluate(graph, TEXT),
        sgn.place(graph, "loihi2", optimize="cores"),
        sgn.profile(graph, TEXT),
        sgn.profile(graph, TEXT, backend="cycle", hw="loihi2"),
        sgn.simulate(graph, TEXT, backend="cycle", hw="loihi2"),
    ]


def test_whatever_people_get_shows_itself_in_one_short_line(graph: sgn.SpikingGraph) -> None:
    model = sgn.float_model(str(EXAMPLE))
    placed = sgn.place(graph, "loihi2", optimize="cores")
    run = sgn.run(graph, TEXT, backend="cycle")
    found: list[object] = [*results(graph), graph, model, model.model, run, run.simulation]
    found += [
        placed.mapped,
        placed.placement,
        placed.profile,
        graph.vocabulary,
        *graph.populations,
        *graph.projections,
    ]
    for value in found:
        assert "\n" not in repr(value), value
        assert len(repr(value)) <= 250, value


def test_a_run_says_how_much_it_holds(graph: sgn.SpikingGraph) -> None:
    shown = repr(sgn.run(graph, [1, 2, 3]))
    assert shown.startswith("Run(3 tokens, 96 token ids, 9 populations recorded, ")


def test_results_are_dicts_tables_and_html_of_the_same_figures(graph: sgn.SpikingGraph) -> None:
    for result in results(graph):
        figures = result.to_dict()
        assert json.loads(json.dumps(figures)) == figures
        assert all(name in figures for name in result.HEADLINE)
        frame = result.to_frame()
        assert frame.attrs["units"] == {
            name: unit for name, unit in result.UNITS.items() if name in frame.columns
        }
        html = result._repr_html_()
        assert f"<caption>{type(result).__name__}</caption>" in html
        assert html.count("<tr>") == html.count("</tr>") >= 2
