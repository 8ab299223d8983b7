"""Each module measures one thing against a peer: `run_benchmark()` returns its figures, `summarize(figures)` a text."""

from inference.engine.library_logs import mute_libraries

mute_libraries()
