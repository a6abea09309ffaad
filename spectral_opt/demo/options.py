"""What a demonstration runs on, and how large it is."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DemoOptions:
    """What a demonstration runs on, and how long it may take.

    Parameters
    ----------
    model : str, default "embedded"
        Embedded model, local folder or Hugging Face name.
    data, text_column, label_column : str
        Labelled text: embedded name, CSV or JSONL file, or Hugging Face name.
    preserve : str, default "sotu"
        Unlabelled text from which the column graphs of the refinement are made.
    retention : str, default "bbc"
        Unlabelled text of another task, on which retention is measured.
    seed : int, default 0
        Seed of split, batches, dropout and nulls.
    per_class, test_size, retention_size, preserve_size, graph_batches, steps, batch_size, max_length : int
        Sizes, in texts, batches, steps and tokens.
    learning_rates : tuple of float
        Tried for every method, chosen on dev.
    matrices : int, default 12
        How many matrices, evenly spread over depth, the graph measurement looks at.
    shuffle_labels : bool, default False
        A control: with shuffled labels every accuracy has to be at chance.
    """

    model: str = "embedded"
    data: str = "rotten_tomatoes"
    text_column: str = "text"
    label_column: str = "label"
    preserve: str = "sotu"
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
    shuffle_labels: bool = False

    def quick(self) -> "DemoOptions":
        """Return the same demonstration at a fraction of the size: about three minutes, and no conclusions."""
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
        )
