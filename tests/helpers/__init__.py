"""What tests of several rooms share; imported as `helpers`, as tests cannot import each other by path."""
