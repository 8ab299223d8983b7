"""Each module measures one thing against a peer: `run_benchmark()` returns its figures, `summarize(figures)` a text."""
