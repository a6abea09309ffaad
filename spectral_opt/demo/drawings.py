"""The demonstration's drawn graph and its spectrum, for one matrix."""

import numpy as np

from paramgraph.display import Curve, FigureView, draw_curves, new_figure, themed_svg
from paramgraph.plotting import draw_graph
from paramgraph.spectra import eigenpairs, laplacian
from spectral_opt.demo.graph_evidence import CONSTRUCTIONS, build_graph
from spectral_opt.demo.parts import Demo


def example_drawings(demo: Demo) -> list[FigureView]:
    """Draw the graph of gradients of the smallest measured matrix, and the spectra of every Laplacian on it."""
    setting, (name, features) = demo.setting, demo.example_features()
    table = setting.tables[name]
    drawn: list[FigureView] = []
    curves = []
    for colour, construction in enumerate(CONSTRUCTIONS):
        if construction.builder == "gram":
            continue  # its shift operator is the adjacency: another scale of eigenvalues
        graph = build_graph(construction, table, features[construction.source, construction.batches][name])
        spectrum = eigenpairs(laplacian(graph))
        values = spectrum.eigenvalues.numpy()
        curves.append(Curve(construction.name, np.linspace(0, 1, len(values)), values, colour=colour))
        if construction.name == "cosine of gradients":
            # The first vector that is not constant on components splits the graph where it is thinnest.
            fiedler = spectrum.eigenvectors[:, min(spectrum.components, len(values) - 1)].numpy()
            quarter = np.digitize(fiedler, np.quantile(fiedler, [0.25, 0.5, 0.75])) + 1
            figure = new_figure(4.6, 4.0)
            draw_graph(graph, figure.axes[0], color=quarter, seed=setting.options.seed)
            drawn.append(
                FigureView(
                    f"The graph of gradients: {name}",
                    themed_svg(figure, "graph"),
                    f"{table.shape[0]} rows, {graph.edge_index.shape[1] // 2} edges; colours are quarters of the first "
                    "oscillating eigenvector.",
                )
            )
    spectra = draw_curves(curves, "spectrum", x_label="share of modes", y_label="eigenvalue")
    return [
        *drawn,
        FigureView(
            f"Spectra: {name}",
            spectra,
            "Of the normalized Laplacian; a graph with clusters has many small ones.",
        ),
    ]
