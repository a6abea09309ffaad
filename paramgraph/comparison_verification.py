"""Random cells of a recorded comparison, measured again."""
