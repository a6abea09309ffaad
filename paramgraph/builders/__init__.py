"""Graph builders, one file each; every module in this folder is found by `paramgraph.graphs.registry`."""
