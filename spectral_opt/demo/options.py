"""What a demonstration runs on, and how large it is."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DemoOptions:
    """What a demonstration runs on, and how long it may take.

    Model and texts are embedded names, local folders or files, or Hugging Face names. `preserve` is the text
    from which the graphs of the refinement are made; on `retention` retention is measured: where both are the same,
    on other texts of it. Sizes are in texts, batches, steps and tokens; `matrices`, evenly spread over depth, are what
    the graph measurement looks at. Every learning rate is tried for every method. What is refined is one more
    fine-tune, on up to `long_texts` further texts, that is long and fast enough to forget. With shuffled labels, a
    control, every accuracy has to be at chance.
    """

    model: str = "embedded"
    data: str = "rotten_tomatoes"
    text_column: str = "text"
    label_column: str = "label"
    preserve: str = "bbc"
    retention: str = "bbc"
    seed: int = 0
    per_class: int = 64
    test_size: int = 1000
    retention_size: int = 200
    preserve_size: int = 96
    graph_batches: int = 24
    steps: int = 32
    batch_size: int = 16
    max_length: int = 48
    learning_rates: tuple[float, ...] = (5e-5, 1e-4)
    matrices: int = 12
    permutations: int = 199
    long_texts: int = 1000
    long_steps: int = 160
    long_rate: float = 2e-4
    shuffle_labels: bool = False

    def quick(self) -> "DemoOptions":
        """Return the same demonstration at a fraction of the size, too small for conclusions."""
        return replace(
            self,
            per_class=16,
            test_size=200,
            retention_size=80,
            preserve_size=32,
            graph_batches=4,
            steps=6,
            learning_rates=(1e-4,),
            matrices=6,
            long_texts=200,
            long_steps=24,
        )
