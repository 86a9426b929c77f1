"""Plots of the sync health benchmark."""

from pathlib import Path

from benchmarks.sync_health_tables import Results
from crewflow_assets.evaluation.plots import precision_recall_plot, reliability_plot


def write_plots(results: Results, folder: Path) -> None:
    """Write reliability of ours and precision against recall of every method, for each row set."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, methods in results.items():
        ours = methods["ours"]
        plot = reliability_plot(
            ours.probability, ours.failed, title=f"{part} rows: reliability", xlabel="said to fail", ylabel="failed"
        )
        (folder / f"sync-health-{part}-reliability.png").write_bytes(plot)
        curves = {name: (judged.probability, judged.failed) for name, judged in methods.items()}
        plot = precision_recall_plot(curves, title=f"{part} rows: precision against recall")
        (folder / f"sync-health-{part}-precision-recall.png").write_bytes(plot)
