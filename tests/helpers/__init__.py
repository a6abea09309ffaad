"""What tests of several rooms share; imported as `helpers`, as tests cannot import each other by path."""

# jaxtyping's flag in pyproject.toml looks its type checker up as an attribute, also where no conftest was read.
from helpers import type_checks as type_checks
