"""The tables of the mapping benchmark on real lists, as Markdown."""

from benchmarks.mapping_figures import FoldResult

FIRMS_TO_POOL = 10


def print_tables(results: list[FoldResult]) -> None:
    """Print every firm by itself, and then on how many of them ours is ahead."""
    for dataset in dict.fromkeys(result.dataset for result in results):
        folds = [result for result in results if result.dataset == dataset]
        print(f"\n## {dataset} ({len(folds[0].task.chart)} targets)\n")
        for note in folds[0].task.notes:
            print(f"- {note}")
        print("\n| held out | method | n | top-1 | top-5 | unseen names | automatic at 95 % | of it right | ECE |")
        print("|---|---|---|---|---|---|---|---|---|")
        for result in folds:
            _print_methods(result)
        print("\n| held out | best baseline | its top-1 | ours | difference | interval |\n|---|---|---|---|---|---|")
        for result in folds:
            gain = result.gain
            print(
                f"| {result.fold} | {result.best} | {result.top1(result.best):.3f} | "
                f"{result.top1(result.ours):.3f} | {gain.value:+.3f} | {gain.low:+.3f} to {gain.high:+.3f} |"
            )
        ahead = sum(result.gain.value > 0 for result in folds)
        clear = sum(result.gain.low > 0 for result in folds)
        print(f"\nOurs is ahead on {ahead} of {len(folds)}, with the interval above 0 on {clear}.")
        if len(folds) < FIRMS_TO_POOL:
            print(f"Fewer than {FIRMS_TO_POOL} held out: each stands for itself, no pooled figure is claimed.")


def print_mistakes(results: list[FoldResult], count: int) -> None:
    """Print where ours was surest and wrong, of each data set without own labels: to be read, not to be kept."""
    for dataset in dict.fromkeys(result.task.name for result in results):
        found = [
            (confidence, result, int(row), int(said))
            for result in results
            if result.dataset == dataset
            for asked in [result.asked[result.ours]]
            for row, said, right, confidence in zip(
                asked.rows, asked.said, asked.first_right, asked.confidence, strict=True
            )
            if not right
        ]
        found.sort(key=lambda mistake: -mistake[0])
        print(f"\n## The {count} surest mistakes on {dataset}\n")
        print("| firm | name | said | confidence | filed under |\n|---|---|---|---|---|")
        for confidence, result, row, said in found[:count]:
            targets, label = result.task.chart.targets, result.task.labels[row]
            name = result.task.queries[row].source.name
            print(f"| {result.fold} | {name} | {targets[said].name} | {confidence:.2f} | {targets[label].name} |")


def _print_methods(result: FoldResult) -> None:
    for r in result.records:
        name = f"**{r.method}**" if r.is_ours else r.method
        print(
            f"| {r.fold} | {name} | {r.n} | {r.top1:.3f} | {r.top5:.3f} | {_cell(r.unseen_top1)} | "
            f"{r.coverage_at_95:.3f} | {_cell(r.automatic_right)} | {r.ece:.3f} |"
        )


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
