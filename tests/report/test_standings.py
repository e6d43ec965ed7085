from collections.abc import Callable
from pathlib import Path

from benchgen.report.findings import disagreements, finding, unsettled
from benchgen.report.standings import Standings
from benchgen.runs.comparison import Comparison

from .conftest import SCORES


def test_generators_are_ranked_without_the_bounds(comparison: Comparison) -> None:
    standings = Standings(comparison)
    fid = standings.columns[0]
    assert [(c.row.name, c.rank, c.best) for c in fid.cells] == [
        ("gan", "1", True),
        ("vae", "2", False),
        ("real", "", False),
        ("noise", "", False),
    ]
    assert [row.name for row in standings.rows] == ["gan", "vae", "real", "noise"]


def test_finding_names_the_leader_the_score_and_n(comparison: Comparison) -> None:
    assert finding(Standings(comparison)) == (
        "gan leads on FID with 12.84 ± 0.33 (N = 200, digits features), ahead of vae with "
        "21.37 ± 0.41. For scale: real 1.020 ± 0.060, noise 412.60 ± 0.90."
    )


def test_disagreements_explain_themselves(comparison: Comparison) -> None:
    found = {d.metric: d for d in disagreements(Standings(comparison))}
    assert "Precision puts vae ahead of gan; FID has it the other way round." in (
        found["Precision"].statements
    )
    assert "vae scores better on Density than real, which are real images." in (
        found["Density"].statements
    )
    assert "fidelity" in found["Precision"].reads
    assert "Recall" not in found


def test_noise_ahead_of_a_generator_is_pointed_out(make_run: Callable[..., Path]) -> None:
    scores = {"gan": {"is": (1.0, 0.01)}, "noise": {"is": (2.0, 0.01)}}
    (found,) = disagreements(Standings(Comparison.of([make_run(scores=scores)])))
    assert found.statements == ("noise scores better on IS than gan, though it shows nothing.",)


def test_tie_is_said_and_marked(make_run: Callable[..., Path]) -> None:
    scores = {
        "a": {"fid": (10.0, 1.0), "is": (5.0, 0.5)},
        "b": {"fid": (10.5, 1.0), "is": (5.2, 0.5)},
    }
    standings = Standings(Comparison.of([make_run(scores=scores)]))
    assert "but is statistically tied with b at this N" in finding(standings)
    best, tied = standings.columns[0].cells
    assert (best.best, tied.tied, tied.rank) == (True, True, "1–2")
    assert unsettled(standings) == ["IS"]
    assert disagreements(standings) == []


def test_a_significant_difference_from_the_best_is_no_tie(make_run: Callable[..., Path]) -> None:
    """a and c differ on IS though the rank interval of the uncertain b touches both."""
    scores = {
        "a": {"fid": (5.0, 0.1), "is": (5.0, 0.05)},
        "b": {"fid": (7.0, 0.1), "is": (5.4, 0.8)},
        "c": {"fid": (9.0, 0.1), "is": (5.8, 0.05)},
    }
    standings = Standings(Comparison.of([make_run(scores=scores)]))
    assert unsettled(standings) == []
    (found,) = disagreements(standings)
    assert found.statements == ("IS puts c ahead of a; FID has it the other way round.",)


def test_another_n_is_shown_but_not_ranked(make_run: Callable[..., Path]) -> None:
    scores = {name: {"fid": SCORES["gan"]["fid"]} for name in ("a", "b")}
    standings = Standings(Comparison.of([make_run(scores=scores, n={"b": 100})]))
    cell = standings.columns[0].cells[-1]
    assert (cell.row.name, cell.rank, cell.text) == ("b", "", "12.84 ± 0.33")
    assert cell.footnote is not None
    assert "n is 100" in cell.footnote
    assert finding(standings).startswith("a is the only generator ranked")


def test_finding_without_generators_or_metrics(make_run: Callable[..., Path]) -> None:
    bounds = {"real": SCORES["real"], "noise": SCORES["noise"]}
    assert "No generator" in finding(Standings(Comparison.of([make_run("a", scores=bounds)])))
    nothing = make_run("b", scores={"gan": {}}, errors={"gan": "boom"})
    assert finding(Standings(Comparison.of([nothing]))) == "No metric was computed."
