"""Fine-tuning methods, one file each: a file with a `METHOD` is a method, and nothing else needs to know of it."""
